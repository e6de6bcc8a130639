"""Docstrings are written for people who read the code; three habits in them mean something else to Sphinx."""

import itertools
import re

LONE_BAR = re.compile(r"(?<![`|])\|(?![`|])")


def setup(app):
    """Listen for docstrings."""
    app.connect("autodoc-process-docstring", translate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def translate(app, what, name, obj, options, lines):
    """Rewrite a docstring in place: tables and sources become such, and ``|x|`` stays an absolute value."""
    lines[:] = as_list(as_tables([line if in_table(line) else LONE_BAR.sub(r"\\|", line) for line in lines]))


def in_table(line):
    """Whether a line is a row of a Markdown table."""
    return line.startswith("| ") and line.endswith(" |")


def as_tables(lines):
    """Turn Markdown's tables into Sphinx' tables."""
    result = []
    for table, rows in itertools.groupby(lines, in_table):
        if not table:
            result += rows
            continue
        result += ["", ".. list-table::", "   :header-rows: 1", ""]
        for row in rows:
            if not set(row) <= set("|-: "):  # the line below the head
                first, *rest = (cell.strip() for cell in row.strip("|").split(" | "))
                result += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
        result.append("")
    return result


def as_list(lines):
    """Give each entry under ``Sources:`` a bullet; a deeper line continues the entry before it."""
    result, indent = [], None  # indent: of the entries, while inside the section
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if re.fullmatch(r"Sources?:", line):
            result += [f"**{line}**", ""]
            indent = 0
        elif indent is not None and line.strip() and depth:
            indent = indent or depth
            result.append(("- " if depth == indent else "  ") + line.strip())
        else:
            indent = indent if indent is not None and not line.strip() else None
            result.append(line)
    return result
