"""Reads the cells of a student's notebook. Nothing is executed.

A library that reads notebooks copies every part of the file, so one student's file could take all of the memory.
"""

import json
from dataclasses import dataclass, field

from grading.sources import PARSED
from grading.verdicts import short

MOST_PARTS = 2_000_000  # lists and objects in a file: each takes about 100 bytes
MOST_CELLS = 200_000  # cells, or outputs, in a file
MOST_CODE = 1_000_000  # characters of code that is read; an honest notebook has 100,000


class Unreadable(ValueError):
    """The file is not a notebook. The message says why."""


@dataclass(frozen=True)
class Cell:
    """One cell. A field is empty if the student's file stores it in a wrong type."""

    id: str
    type: str  # code, markdown or raw
    source: str
    nbgrader: dict = field(default_factory=dict)
    outputs: tuple[dict, ...] = ()  # keys: output_type, name, text, ename, evalue; all values are texts


def read_cells(content, outputs=True):
    """List of :class:`Cell`, in the order of the notebook.

    Args:
        content: the bytes of the file.
        outputs: whether to read the outputs.

    Raises:
        Unreadable: this is not a notebook of format 4, or it has too many parts.
    """
    try:
        text = content.decode(json.detect_encoding(content))
        if text.count("{") + text.count("[") > MOST_PARTS:
            raise Unreadable(f"cannot be read: it has more than {MOST_PARTS:,} lists and objects")
        notebook = json.loads(text)
        if notebook.get("nbformat", 4) != 4:
            raise ValueError(f"its nbformat is {short(notebook['nbformat'])}, not 4: save it with a newer Jupyter")
        cells = notebook["cells"]
        count = max(len(cells), sum(len(cell.get("outputs", ())) for cell in cells) if outputs else 0)
        if count > MOST_CELLS:
            raise Unreadable(f"cannot be read: it has more than {MOST_CELLS:,} cells or outputs")
        found = [_cell(cell, outputs) for cell in cells]
    except Unreadable:
        raise
    except RecursionError as error:
        raise Unreadable("cannot be read: it is nested too deeply") from error
    except Exception as error:  # a file that is no notebook raises many types
        raise Unreadable(f"cannot be read as a notebook: {type(error).__name__}: {short(error)}") from error
    if sum(min(len(cell.source), PARSED) for cell in found if cell.type == "code") > MOST_CODE:
        raise Unreadable(f"cannot be read: it has more than {MOST_CODE:,} characters of code")
    return found


def _cell(cell, outputs):
    metadata = _dict(cell.get("metadata"))
    tags = _dict(metadata.get("nbgrader"))
    return Cell(
        id=_text(cell["id"] if "id" in cell else metadata.get("id")),  # Colab moves the id
        type=_text(cell.get("cell_type")),
        source=_text(cell.get("source")),
        nbgrader={key: value for key, value in tags.items() if isinstance(value, str | bool)},
        outputs=tuple(map(_output, cell.get("outputs", ()))) if outputs else (),
    )


def _output(output):
    return {key: _text(output.get(key)) for key in ("output_type", "name", "text", "ename", "evalue")}


def _text(value):
    """The text, or the lines of a text, else "". Lone surrogates become question marks: no file can store them."""
    value = "".join(value) if isinstance(value, list) else value
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _dict(value):
    return value if isinstance(value, dict) else {}
