"""Reads the cells of a notebook that a student sent, of whatever format and however damaged; executes nothing."""

import json
import re
from dataclasses import dataclass, field

SURROGATE = re.compile("[\ud800-\udfff]")
TYPES = {"code": "code", "raw": "raw"} | dict.fromkeys(["markdown", "text", "html", "heading", "rst"], "markdown")


class Unreadable(ValueError):
    """A file that is no notebook; says why."""


@dataclass(frozen=True)
class Cell:
    """One cell; what the student's file says of it in wrong types is left empty."""

    id: str
    type: str  # code, markdown or raw
    source: str
    tags: tuple[str, ...] = ()
    nbgrader: dict = field(default_factory=dict)  # its text and truth values
    language: str = ""  # in small letters; empty if the notebook does not say


def read_cells(content):
    """All cells in the order of the notebook; what is no cell becomes an empty raw one, so that positions stay.

    Args:
        content: the bytes of the file, of notebook format 1 to 4.

    Raises:
        Unreadable: not a notebook.
    """
    notebook = _parse(content)
    if not isinstance(notebook, dict):
        raise Unreadable("is JSON, but not a notebook")
    sheets = [notebook, *_list(notebook.get("worksheets"))]  # format 2 and 3 keep the cells in sheets
    sheets = [sheet["cells"] for sheet in sheets if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)]
    if not sheets:
        raise Unreadable("has no list of cells, so it is not a notebook")
    metadata = _dict(notebook.get("metadata"))
    names = (_dict(metadata.get("kernelspec")).get("language"), _dict(metadata.get("language_info")).get("name"))
    language = next((name for name in map(_text, names) if name), "")
    return [_cell(cell, language) for sheet in sheets for cell in sheet]


def _parse(content):
    if not content.strip():
        raise Unreadable("is empty")
    try:
        return _loads(content)
    except UnicodeDecodeError:
        pass
    # Not what it says it is. A few wrong bytes among many right ones are damage, otherwise it is an old encoding.
    text = content.decode("utf-8", "replace")
    damage = text.count("\ufffd")
    foreign = sum(char > "\x7f" for char in text) - damage
    return _loads(text if foreign > damage else content.decode("latin-1"))


def _loads(data):
    """Parse text, or bytes of which the JSON standard tells the encoding.

    ``strict=False`` allows control characters in texts, ``parse_int=float`` numbers of any length.
    """
    try:
        return json.loads(data, strict=False, parse_int=float)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise Unreadable(f"is not JSON: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise Unreadable("is nested too deeply") from error


def _cell(cell, language):
    cell = _dict(cell)
    metadata = _dict(cell.get("metadata"))
    source = next((cell[key] for key in ("source", "input", "code", "text") if key in cell), "")
    source = "".join(map(_text, source)) if isinstance(source, list) else _text(source)
    return Cell(
        id=_text(cell.get("id")) or _text(metadata.get("id")),  # Colab moves it into the metadata
        type=TYPES.get(_text(cell.get("cell_type")), "raw"),
        source=source,
        tags=tuple(filter(None, map(_text, _list(metadata.get("tags"))))),
        nbgrader={
            _text(key): _text(value) if isinstance(value, str) else value
            for key, value in _dict(metadata.get("nbgrader")).items()
            if isinstance(value, str | bool)
        },
        language=(_text(cell.get("language")) or language).lower(),
    )


def _text(value):
    """The text, if it is one; half a character, which no file can store, becomes the sign for what is unknown."""
    return SURROGATE.sub("\ufffd", value) if isinstance(value, str) else ""


def _dict(value):
    return value if isinstance(value, dict) else {}


def _list(value):
    return value if isinstance(value, list) else []
