"""Docstrings are written for people who read the code; two habits in them mean something else to Sphinx."""

import re

LONE_BAR = re.compile(r"(?<![`|])\|(?![`|])")


def setup(app):
    """Listen for docstrings."""
    app.connect("autodoc-process-docstring", translate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def translate(app, what, name, obj, options, lines):
    """Rewrite a docstring in place: ``|x|`` stays an absolute value, and the sources become a list."""
    lines[:] = as_list([LONE_BAR.sub(r"\\|", line) for line in lines])


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
