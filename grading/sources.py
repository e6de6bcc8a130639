"""Reads the source of a cell: whether it is an answer, and which statements it has.

Nothing is executed. Students may send anything: what is read has a greatest length, and the time grows in proportion
to it.
"""

import ast
import contextlib
import re
import warnings

from lab.stubs import PLACEHOLDER, python_of

# Characters. For some lines (import a.a.a…) the memory of the parser grows with the square of the length.
PARSED = 20_000
# Blank space, characters without width, and the characters for emphasis in Markdown.
NOTHING = re.compile(r"[\s*_\u200b-\u200d\u2060\ufeff]+")
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
    # Deep nesting ends with a RecursionError or a MemoryError; IPython's transformer raises a RuntimeError.
    with contextlib.suppress(SyntaxError, ValueError, RuntimeError, MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about the student's code are not for the instructor
        return reader(python_of(source))
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


def statements(source):
    """The top-level statements of a cell, as a list of texts. A cell that cannot be read is one statement."""
    return read(source, lambda code: [ast.unparse(node) for node in ast.parse(code).body]) or [source]


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
