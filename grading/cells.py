"""Reads the cells of a student's notebook, in any format of Jupyter. Nothing is executed.

The formats differ little in what is read here. A library that converts them copies every part of the file, so one
student's file could take all of the memory.
"""

import json
from dataclasses import dataclass, field

from grading.verdicts import short

MOST_PARTS = 2_000_000  # lists and objects in a file: each takes about 100 bytes
MOST_CELLS = 200_000  # cells, or outputs, in a file


class Unreadable(ValueError):
    """The file is not a notebook. The message says why."""


@dataclass(frozen=True)
class Cell:
    """One cell. A field is empty if the student's file stores it in a wrong type."""

    id: str
    type: str  # code, markdown or raw
    source: str
    nbgrader: dict = field(default_factory=dict)
    language: str = ""  # of the kernel, in lower case; empty if the notebook does not say it
    outputs: tuple[dict, ...] = ()  # keys: output_type, name, text, ename, evalue; all values are texts


def read_cells(content, outputs=True):
    """List of :class:`Cell`, in the order of the notebook.

    Args:
        content: the bytes of the file.
        outputs: whether to read the outputs.

    Raises:
        Unreadable: this is not a notebook, or it has too many parts.
    """
    try:
        text = content.decode(json.detect_encoding(content))
        if text.count("{") + text.count("[") > MOST_PARTS:
            raise Unreadable(f"cannot be read: it has more than {MOST_PARTS:,} lists and objects")
        notebook = json.loads(text)
        metadata = _dict(notebook.get("metadata"))
        names = (_dict(metadata.get("kernelspec")).get("language"), _dict(metadata.get("language_info")).get("name"))
        language = next(filter(None, map(_text, names)), "").lower()
        if notebook.get("nbformat", 1) not in (1, 2, 3, 4):
            raise ValueError(f"unknown nbformat {notebook['nbformat']}")
        sheets = notebook.get("worksheets", [notebook])  # formats 2 and 3 have sheets
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
        count = max(len(cells), sum(len(cell.get("outputs", ())) for cell in cells) if outputs else 0)
        if count > MOST_CELLS:
            raise Unreadable(f"cannot be read: it has more than {MOST_CELLS:,} cells or outputs")
        return [_cell(cell, language, outputs) for cell in cells]
    except Unreadable:
        raise
    except RecursionError as error:
        raise Unreadable("cannot be read: it is nested too deeply") from error
    except Exception as error:  # a file that is no notebook raises many types
        raise Unreadable(f"cannot be read as a notebook: {type(error).__name__}: {short(error)}") from error


def _cell(cell, language, outputs):
    metadata = _dict(cell.get("metadata"))
    tags = _dict(metadata.get("nbgrader"))
    source = next((cell[key] for key in ("source", "input", "code", "text") if key in cell), "")  # 4 and 3, 2, 1, 1
    return Cell(
        id=_text(cell.get("id")) if "id" in cell else _text(metadata.get("id")),  # Colab moves the id
        type=_text(cell.get("cell_type")),
        source=_lines(source),
        nbgrader={key: value for key, value in tags.items() if isinstance(value, str | bool)},
        language=language,
        outputs=tuple(map(_output, cell.get("outputs", ()))) if outputs else (),
    )


def _output(output):
    kind = _text(output.get("output_type"))
    return {
        "output_type": "error" if kind == "pyerr" else kind,  # until format 3
        "name": _text(output.get("name", output.get("stream"))),  # "stream" until format 3
        "text": _lines(output.get("text")),
        "ename": _text(output.get("ename")),
        "evalue": _text(output.get("evalue")),
    }


def _lines(value):
    return _text("".join(value) if isinstance(value, list) else value)


def _text(value):
    """The value if it is a text, else "". Lone surrogates become question marks, because no file can store them."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _dict(value):
    return value if isinstance(value, dict) else {}
