"""Reads the source of a cell: whether it is an answer, and whether it calls the lab's own solution.

Nothing is executed. Students may send anything: what is read has a greatest length, and the time grows in proportion
to it.
"""

import ast
import contextlib
import re
import warnings

from labutils._support.stubs import PLACEHOLDER

# Characters. For some lines (import a.a.a…) the memory of the parser grows with the square of the length.
PARSED = 20_000
# Blank space, characters without width, and the characters for emphasis in Markdown.
NOTHING = re.compile(r"[\s*_\u200b-\u200d\u2060\ufeff]+")
# A line for IPython: %magic, !command, name = !command, name?
MAGIC = re.compile(r"^([ \t]*(?:\w+ *= *)?)[%!].*$|^[ \t]*[\w.]+\?+ *$", re.MULTILINE)
HELPERS = {"captions", "data", "plots", "presets"}  # modules of labutils that hold no solution
LIBRARIES = {"np", "numpy", "tf", "tensorflow", "keras"}
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def squeeze(text):
    """The beginning of a text, without the characters that are invisible in a rendered cell."""
    return NOTHING.sub("", text[:PARSED])


def read(source, reader):
    """What a function finds in the code of a cell. Lines for IPython become calls of get_ipython.

    Args:
        source: of the cell.
        reader: function of the code, for example ``ast.parse``. It raises SyntaxError for what is not Python.

    Returns:
        what the reader returns; None if the source is too long or not Python.
    """
    if len(source) > PARSED:
        return None
    for change in (str, lambda text: MAGIC.sub(r"\1get_ipython()", text)):
        # Deep nesting ends with a RecursionError or a MemoryError.
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the student's code are not for the instructor
            return reader(change(source))
    return None


def is_answered(source, question):
    """Whether a cell has more content than the stub. Comments, blank lines and calls of the check do not count.

    Code that is not Python counts as an answer.

    Args:
        source: of the cell.
        question: dict of the manifest.
    """
    stub = question["stub"]
    if question["kind"] == "text":
        return _text(source, question) != _text(stub, question)
    return read(source, lambda code: bool(_statements(code) - _statements(stub))) is not False


def uses_the_labs_own(source, entry, question):
    """Whether an answer uses something of labutils that the lab's own answer does not use.

    It looks for the word labutils, for names that the lesson imports from labutils, and for an attribute with the name
    of the exercise's function. This finds what a student writes openly. Hidden ways remain.
    """
    cells = {cell["id"]: cell["source"] for cell in entry["cells"] if cell["type"] == "code"}
    own = cells[question["cell"]]
    imported = set().union(*(read(code, _imports) or () for code in cells.values()))
    more = [use.split(".") for use in (read(source, _uses) or set()) - (read(own, _uses) or set())]
    if "labutils" in source and "labutils" not in own:
        return True
    return any(first in imported or rest == [question["function"]] for first, *rest in more)


def _imports(code):
    """Names that are imported from labutils, as a set."""
    return {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "labutils"
        for alias in node.names
        if f"{node.module}.{alias.name}".split(".")[1] not in HELPERS
    }


def _uses(code):
    """Names and attributes, as a set of texts: ``name``, ``name.attribute``, and ``.attribute`` of all else.

    The functions of LIBRARIES are not in it: they may have the name of an exercise.
    """
    return {
        node.id if isinstance(node, ast.Name) else f"{getattr(node.value, 'id', '')}.{node.attr}"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Name | ast.Attribute) and _root(node) not in LIBRARIES
    }


def _root(node):
    while isinstance(node, ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _text(source, question):
    return squeeze(source).replace(squeeze(question["marker"]), "").replace(squeeze(PLACEHOLDER), "")


def _statements(code):
    """The syntax of all top-level statements that do something, as a set. Calls in a line of their own do not count."""
    body = [node for node in ast.parse(code).body if not isinstance(node, ast.Expr)]
    return {ast.dump(node) for node in body if not _is_hollow(node)}


def _is_hollow(node):
    """Whether a statement does nothing yet, like the statements of a stub."""
    if isinstance(node, DEFINITION):
        return all(_is_hollow(inner) for inner in node.body)
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(error, ast.Name) and error.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
