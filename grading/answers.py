"""What the source of a cell says about an answer: whether it is one, what it defines, which exercise it is like.

Nothing is executed, and what is compared is limited: students may send anything.
"""

import ast
import difflib
import re
import warnings

from grading.stubs import PLACEHOLDER

# The parser takes memory that grows with the square of some lines (import a.a.a…), so it reads no more than this.
PARSED = 20_000
COMPARED = 1_000  # characters, for likeness
# Blank space, signs of zero width, and the signs by which Markdown emphasises.
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
    """The text without all that cannot be seen when a cell is rendered."""
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
    """Names of the functions, classes and imports that a cell offers to those after it, as a set."""
    return {name for found in BINDING.findall(source[:PARSED]) for name in WORD.findall(" ".join(found))}


def words(source):
    """The names in a cell, and all else that looks like one, as a set."""
    return set(WORD.findall(source[:PARSED]))


def is_answered(source, question):
    """Whether a cell says more than the stub; comments, blank lines and calls of the check do not count.

    Args:
        source: of the cell.
        question: as in the manifest.
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
    # The two quick ones are upper bounds; most cells end here.
    return 0.0 if matcher.real_quick_ratio() < 0.5 or matcher.quick_ratio() < 0.5 else matcher.ratio()


def _text(source, question):
    return squeeze(source).replace(squeeze(question["marker"]), "").replace(squeeze(PLACEHOLDER), "")


def _head(source, lines):
    """The first lines that say something, without what every stub has."""
    found = (line.rstrip() for line in source[: 10 * COMPARED].split("\n"))
    found = [line for line in found if line.strip() and not line.lstrip().startswith(("#", "<!--", "import ", "from "))]
    found = [line for line in found if "raise NotImplementedError" not in line and PLACEHOLDER not in line]
    return "\n".join(found[:lines])[:COMPARED]


def _statements(source, question):
    """The syntax of all top statements that do something, as a set; None if that cannot be known."""
    if len(source) > PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would be about the student's code
            body = ast.parse(MAGIC.sub(r"\1pass", source)).body
        # Beside a function, what only calls or shows something is no part of the answer.
        return {
            ast.dump(node)
            for node in body
            if not _is_hollow(node) and not (question["function"] and isinstance(node, ast.Expr))
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_hollow(node):
    """Whether a statement leaves all to be done, as stubs do."""
    if isinstance(node, DEFINITION):
        return all(_is_hollow(inner) for inner in node.body)
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(error, ast.Name) and error.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
