"""Cells as the book shows them: setup and solutions are folded, links to files stand in place of badges."""

import re

import nbformat

from lab.address import colab_page
from lab.stubs import SOLUTION, is_answer, is_check

WRITTEN = re.compile(rf"<!-- ### BEGIN {SOLUTION} -->(.*)<!-- ### END {SOLUTION} -->", re.DOTALL)
FOLDED = r"<details><summary>Show the solution</summary>\n\1\n</details>"


def setup(app):
    """Listen for pages that are about to be read."""
    app.connect("source-read", show)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def show(app, docname, source):
    """Change the cells of a notebook, whose text is ``source[0]``."""
    if app.env.doc2path(docname).suffix != ".ipynb":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        if "badges" in tags:
            cell.source = links(docname)
        elif "setup" in tags:
            fold(cell, "setup code")
        elif is_answer(cell) and cell.cell_type == "code":
            fold(cell, "solution")
        elif is_answer(cell):
            cell.source = WRITTEN.sub(FOLDED, cell.source)
        elif is_check(cell):
            tags.append("check")  # the style knows checks by it
    source[0] = nbformat.writes(notebook)


def fold(cell, what):
    """The code of a cell opens with a click."""
    cell.metadata.tags.append("hide-input")
    cell.metadata["mystnb"] = {"code_prompt_show": f"Show the {what}", "code_prompt_hide": f"Hide the {what}"}


def links(lesson):
    """The row of links at the top of a lesson."""
    row = [f"[open in Colab]({colab_page(lesson)})"] if colab_page(lesson) else []
    row += [
        f"{{download}}`this notebook <downloads/{lesson}.ipynb>`",
        f"{{download}}`one file for Colab <downloads/colab/{lesson}.ipynb>`, to upload there",
        f"{{download}}`text source <downloads/{lesson}.py>`",
    ]
    return "**Work with it:** " + " · ".join(row)
