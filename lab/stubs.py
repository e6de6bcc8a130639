"""Makes a student's copy of a notebook: without solutions and outputs, and "Run All" goes on after a failed check."""

import ast
import contextlib
import copy
import functools
import hashlib
import json
import re

import nbformat

SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
PLACEHOLDER = "*Your answer here.*"
NO_LINKS = "No account or GPU needed."
# Magics whose code runs in the notebook: as the first line of a cell, and as the head of a line.
WHOLE_CELL = re.compile(r"\A(?:[ \t]*\n)*%%(?:time|capture|prun)\b[^\n]*\n?")
ONE_LINE = re.compile(r"^([ \t]*)%(?:time|prun)[ \t]+(?=\w)", re.MULTILINE)
FOR_IPYTHON = re.compile(r"^.*?[%!?]", re.MULTILINE)  # a line that may be for IPython
MOST_LINES = 50  # for IPython in a cell; the time of its transformer grows with the square of their number
GOES_ON = "raises-exception"  # tag: after an error in this cell, Jupyter and nbclient still run the next one


def regions(source, kind):
    """The places of ``### BEGIN kind`` … ``### END kind`` in a cell.

    Returns:
        list of pairs: the line numbers, from 1, of the two markers.

    Raises:
        ValueError: a region inside another, one that is not closed, or an end without a beginning.
    """
    found, begin = [], None
    for number, line in enumerate(source.split("\n"), start=1):
        if f"### BEGIN {kind}" in line:
            if begin is not None:
                raise ValueError(f"### BEGIN {kind} in line {number} stands inside the region of line {begin}")
            begin = number
        elif f"### END {kind}" in line:
            if begin is None:
                raise ValueError(f"### END {kind} in line {number} closes nothing")
            found.append((begin, number))
            begin = None
    if begin is not None:
        raise ValueError(f"### BEGIN {kind} in line {begin} is not closed")
    return found


@functools.lru_cache(maxsize=1000)
def python_of(source):
    """The code of a cell as plain Python: what IPython makes of it, with calls of get_ipython.

    The code of ``%%time``, ``%time`` and the like stays code.

    Raises:
        ValueError: there are more than MOST_LINES lines for IPython.
        SyntaxError: IPython cannot read it.
    """
    with contextlib.suppress(SyntaxError):
        ast.parse(source)
        return source
    from IPython.core.inputtransformer2 import TransformerManager

    if len(FOR_IPYTHON.findall(source)) > MOST_LINES:
        raise ValueError(f"more than {MOST_LINES} lines are for IPython")
    return TransformerManager().transform_cell(ONE_LINE.sub(r"\1", WHOLE_CELL.sub("", source)))


def parse(source):
    """The syntax tree of a code cell; lines for IPython (``%``, ``!``, ``?``) are allowed.

    Raises:
        ValueError: not Python.
    """
    try:
        return ast.parse(python_of(source))
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno} is not Python: {error.msg}") from error


def is_answer(cell):
    """Whether the student writes this cell."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_check(cell):
    """Whether this cell checks the answer before it."""
    meta = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(meta.get("grade") and not meta.get("solution"))


def marker(cell):
    """The line that identifies an answer cell even if its metadata are lost."""
    comment = f"exercise: {cell.metadata.nbgrader.grade_id}"
    return f"# {comment}" if cell.cell_type == "code" else f"<!-- {comment} -->"


def function_name(cell):
    """The function (or class) that a code answer defines around its solution; None if there is none."""
    if cell.cell_type != "code":
        return None
    begin, _ = regions(cell.source, SOLUTION)[0]
    for node in parse(cell.source).body:
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        if isinstance(node, kinds) and node.lineno <= begin <= node.end_lineno:
            return node.name
    return None


def code_hash(notebook):
    """SHA-256 of the code that the outputs come from: each code cell but the setup cell, which ``address`` rewrites."""
    code = [
        cell.source.rstrip()
        for cell in notebook.cells
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", [])
    ]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def student_copy(lesson, notebook):
    """The notebook as students get it. Its metadata keep the :func:`code_hash` of the lesson, under ``lab``.

    Raises:
        ValueError: a fault in the markers, or an answer cell without a solution; names the cell.
    """
    cells = [in_cell(lesson, cell, student_cell, cell) for cell in notebook.cells]
    metadata = {key: value for key, value in notebook.metadata.items() if key != "widgets"}  # widgets are outputs
    metadata["lab"] = {**metadata.get("lab", {}), "code_hash": code_hash(notebook)}
    return nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell for cell in cells if cell]}
    )


def in_cell(lesson, cell, function, *arguments):
    """Call a function; add the name of the cell to its ``ValueError``."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{lesson}.ipynb, cell {cell.id}: {error}") from error


def student_cell(cell):
    """A copy of a cell without its solution, hidden tests and outputs; None if nothing is left of it.

    A check gets the tag GOES_ON.

    Raises:
        ValueError: an answer cell without a solution, a solution elsewhere, or a fault in the markers.
    """
    student = copy.deepcopy(cell)
    if is_answer(cell):
        student.source = _stub(cell)
        student.pop("attachments", None)  # pictures of the answer
    elif regions(cell.source, SOLUTION):
        raise ValueError("holds a solution, but its metadata do not make it an answer cell")
    if "badges" in cell.metadata.get("tags", []):
        student.source = NO_LINKS  # its links lead to the notebook with the solutions
    hidden = regions(student.source, HIDDEN)
    student.source = _replace(student.source, hidden, lambda indent: [])
    if hidden and not student.source.strip() and "nbgrader" not in cell.metadata:
        return None
    if student.cell_type == "code":
        student.outputs, student.execution_count = [], None
    if is_check(cell):  # "Run All" goes on after an exercise that is not solved yet
        student.metadata.tags = [*cell.metadata.get("tags", []), GOES_ON]
    return student


def _stub(cell):
    solutions = regions(cell.source, SOLUTION)
    if not solutions:
        raise ValueError("is an answer cell, but there is no solution between ### BEGIN SOLUTION and ### END SOLUTION")
    if cell.cell_type == "code":
        name = function_name(cell) or cell.metadata.nbgrader.grade_id
        text = _replace(cell.source, solutions, lambda indent: [f'{indent}raise NotImplementedError("{name}")'])
    else:
        text = _replace(cell.source, solutions, lambda indent: [PLACEHOLDER])
    return f"{marker(cell)}\n{text}"


def _replace(source, found, lines_for):
    """Replace each region, with its markers, by ``lines_for(indent)``."""
    lines = source.split("\n")
    for begin, end in reversed(found):
        first = lines[begin - 1]
        lines[begin - 1 : end] = lines_for(first[: len(first) - len(first.lstrip())])
    return "\n".join(lines)
