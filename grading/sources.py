"""Reads the source of a cell: whether it is an answer, what it defines, which exercise it is like.

Nothing is executed. The length of compared texts is limited, because students may send anything.
"""

import ast
import difflib
import re
import warnings

from labutils._support.stubs import PLACEHOLDER

# Characters. For some lines (import a.a.a…) the memory of the parser grows with the square of the length.
PARSED = 20_000
COMPARED = 1_000  # characters, for likeness
# Blank space, characters without width, and the characters for emphasis in Markdown.
NOTHING = re.compile(r"[\s*_\u200b-\u200d\u2060\ufeff]+")
MARKER = re.compile(r"^[ \t]*(?:#|<!--)[ \t]*exercise:[ \t]*([\w-]+?)[ \t]*(?:-->)?[ \t\r]*$", re.MULTILINE)
WORD = re.compile(r"[^\W\d]\w*")
MAGIC = re.compile(r"^([ \t]*)[%!].*$", re.MULTILINE)
BINDING = re.compile(
    r"^(?:(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)|(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+(.+))", re.MULTILINE
)
CHECK_CALL = re.compile(r"^checks\.check_\w+\(", re.MULTILINE)
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def squeeze(text):
    """The text without the characters that are invisible in a rendered cell."""
    return NOTHING.sub("", text)


def markers(source):
    """The answers' names in the marker lines of a cell, as a set."""
    return set(MARKER.findall(source)) if "exercise:" in source else set()


def defines(source, function):
    """Whether a cell defines a function: by ``def``, as a class, or as ``function = …``."""
    if function not in source:
        return False
    name = re.escape(function)
    by_def = rf"[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{name}\b"
    return bool(re.search(rf"^(?:{by_def}|{name}[ \t]*(?::[^=\n]*)?=(?!=))", source, re.MULTILINE))


def helpers(source):
    """Names of the functions, classes and imports that a cell defines for later cells, as a set."""
    return {name for found in BINDING.findall(source[:PARSED]) for name in WORD.findall(" ".join(found))}


def words(source):
    """All names in a cell, as a set. Other words, in comments for example, are in it too."""
    return set(WORD.findall(source[:PARSED]))


def is_answered(source, question):
    """Whether a cell has more content than the stub. Comments, blank lines and calls of the check do not count.

    Args:
        source: of the cell.
        question: dict of the manifest.
    """
    if question["kind"] == "code" and (said := _statements(source, question)) is not None:
        return not said <= _statements(question["stub"], question)
    return _text(source, question) != _text(question["stub"], question)


def likeness(source, question):
    """How much the beginning of a cell is like the stub's signature and docstring, from 0 to 1."""
    stub = _head(question["stub"], None)
    if not stub:
        return 0.0
    matcher = difflib.SequenceMatcher(None, _head(source, stub.count("\n") + 1), stub, autojunk=False)
    # The two quick ratios are upper bounds. They are enough for most cells.
    return 0.0 if matcher.real_quick_ratio() < 0.5 or matcher.quick_ratio() < 0.5 else matcher.ratio()


def _text(source, question):
    return squeeze(source).replace(squeeze(question["marker"]), "").replace(squeeze(PLACEHOLDER), "")


def _head(source, lines):
    """The first lines with content, without the lines that every stub has."""
    found = (line.rstrip() for line in source[: 10 * COMPARED].split("\n"))
    found = [line for line in found if line.strip() and not line.lstrip().startswith(("#", "<!--", "import ", "from "))]
    found = [line for line in found if "raise NotImplementedError" not in line and PLACEHOLDER not in line]
    return "\n".join(found[:lines])[:COMPARED]


def _statements(source, question):
    """The syntax of all top-level statements that do something, as a set. None if the source cannot be parsed."""
    if len(source) > PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the student's code are not for the instructor
            body = ast.parse(MAGIC.sub(r"\1pass", source)).body
        # If the answer is a function, statements that only call or show something do not belong to it.
        return {
            ast.dump(node)
            for node in body
            if not _is_hollow(node) and not (question["function"] and isinstance(node, ast.Expr))
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_hollow(node):
    """Whether a statement does nothing yet, like the statements of a stub."""
    if isinstance(node, DEFINITION):
        return all(_is_hollow(inner) for inner in node.body)
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(error, ast.Name) and error.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
