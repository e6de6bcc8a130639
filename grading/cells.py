"""Reads the cells of a student's notebook, in any format and even if it is damaged. Nothing is executed."""

import json
import re
from dataclasses import dataclass, field

SURROGATE = re.compile("[\ud800-\udfff]")
TYPES = {"code": "code", "raw": "raw"} | dict.fromkeys(["markdown", "text", "html", "heading", "rst"], "markdown")


class Unreadable(ValueError):
    """The file is not a notebook. The message says why."""


@dataclass(frozen=True)
class Cell:
    """One cell. A field is empty if the student's file stores it in a wrong type."""

    id: str
    type: str  # code, markdown or raw
    source: str
    tags: tuple[str, ...] = ()
    nbgrader: dict = field(default_factory=dict)  # its metadata that are text or truth values
    language: str = ""  # in lower case; empty if the notebook does not say it
    outputs: tuple[dict, ...] = ()  # keys: output_type, name, text, ename, evalue (all texts), and data (dict of texts)


def read_cells(content):
    """All cells in the order of the notebook. Anything else becomes an empty raw cell, so that positions stay right.

    Args:
        content: the bytes of the file, in notebook format 1 to 4.

    Returns:
        list of :class:`Cell`.

    Raises:
        Unreadable: this is not a notebook.
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
    # The file is not valid Unicode. Few wrong bytes among many right ones are damage; otherwise it is an old encoding.
    text = content.decode("utf-8", "replace")
    damage = text.count("\ufffd")
    foreign = sum(char > "\x7f" for char in text) - damage
    return _loads(text if foreign > damage else content.decode("latin-1"))


def _loads(data):
    """Parse text, or bytes in an encoding of the JSON standard.

    ``strict=False`` allows control characters in texts. ``parse_int=float`` allows numbers of any length.
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
    return Cell(
        id=_text(cell.get("id")) or _text(metadata.get("id")),  # Colab moves the id into the metadata
        type=TYPES.get(_text(cell.get("cell_type")), "raw"),
        source=_joined(source),
        tags=tuple(filter(None, map(_text, _list(metadata.get("tags"))))),
        nbgrader={
            _text(key): _text(value) if isinstance(value, str) else value
            for key, value in _dict(metadata.get("nbgrader")).items()
            if isinstance(value, str | bool)
        },
        language=(_text(cell.get("language")) or language).lower(),
        outputs=outputs_of(cell),
    )


def outputs_of(cell):
    """The outputs of ``cell``, which is a dict as in the file, in the types of :class:`Cell`."""
    return tuple(_output(output) for output in _list(cell.get("outputs")) if isinstance(output, dict))


def _output(output):
    """One output in the types of notebook format 4, with all values as text."""
    plain = {key: _joined(output.get(key)) for key in ("output_type", "name", "text", "ename", "evalue")}
    return plain | {"data": {_text(kind): _joined(value) for kind, value in _dict(output.get("data")).items()}}


def _joined(value):
    """A text. Notebooks may store it as a list of lines."""
    return "".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _text(value):
    """The value if it is a text, else "". Lone surrogates become U+FFFD, because no file can store them."""
    return SURROGATE.sub("\ufffd", value) if isinstance(value, str) else ""


def _dict(value):
    return value if isinstance(value, dict) else {}


def _list(value):
    return value if isinstance(value, list) else []
