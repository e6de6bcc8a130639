"""Reads the cells of a student's notebook, in any format that nbformat can upgrade. Nothing is executed."""

import json
from dataclasses import dataclass, field

import nbformat

from grading.verdicts import short


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
    outputs: tuple[dict, ...] = ()  # keys: output_type, name, text, ename, evalue (all texts), and data (dict of texts)


def read_cells(content):
    """List of :class:`Cell`, in the order of the notebook.

    Args:
        content: the bytes of the file.

    Raises:
        Unreadable: this is not a notebook.
    """
    try:
        notebook = nbformat.convert(nbformat.reader.reads(content.decode(json.detect_encoding(content))), 4)
        metadata = _dict(notebook.get("metadata"))
        names = (_dict(metadata.get("kernelspec")).get("language"), _dict(metadata.get("language_info")).get("name"))
        language = next(filter(None, map(_text, names)), "").lower()
        return [_cell(cell, language) for cell in notebook["cells"]]
    except RecursionError as error:
        raise Unreadable("cannot be read: it is nested too deeply") from error
    except Exception as error:  # nbformat raises many types for a file that is no notebook
        raise Unreadable(f"cannot be read as a notebook: {type(error).__name__}: {short(error)}") from error


def _cell(cell, language):
    metadata = _dict(cell.get("metadata"))
    tags = _dict(metadata.get("nbgrader"))
    return Cell(
        id=_text(cell.get("id")) if "id" in cell else _text(metadata.get("id")),  # Colab moves the id
        type=_text(cell.get("cell_type")),
        source=_text(cell.get("source")),
        nbgrader={key: value for key, value in tags.items() if isinstance(value, str | bool)},
        language=language,
        outputs=outputs_of(cell),
    )


def outputs_of(cell):
    """The outputs of a cell of nbformat, in the types of :class:`Cell`."""
    return tuple(
        {key: _text(output.get(key)) for key in ("output_type", "name", "text", "ename", "evalue")}
        | {"data": {str(kind): _text(value) for kind, value in _dict(output.get("data")).items()}}
        for output in cell.get("outputs", ())
    )


def _text(value):
    """The value if it is a text, else "". Lone surrogates become question marks, because no file can store them."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _dict(value):
    return value if isinstance(value, dict) else {}
