"""Reads the source of a cell: whether it is an answer, what it defines, whether it calls the lab's own solution.

Nothing is executed. Students may send anything: the length of parsed code is limited, and everything else takes time in
proportion to the length.
"""

import ast
import re
import warnings

from labutils._support.stubs import PLACEHOLDER

# Characters. For some lines (import a.a.a…) the memory of the parser grows with the square of the length.
PARSED = 20_000
# Blank space, characters without width, and the characters for emphasis in Markdown.
NOTHING = re.compile(r"[\s*_\u200b-\u200d\u2060\ufeff]+")
WORD = re.compile(r"[^\W\d]\w*")
HELPERS = {"captions", "data", "plots", "presets"}  # modules of labutils that hold no solution
DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def squeeze(text):
    """The text without the characters that are invisible in a rendered cell."""
    return NOTHING.sub("", text)


def words(text):
    """All names in a text, as a set. Other words, in comments for example, are in it too."""
    return set(WORD.findall(text[:PARSED]))


def bindings(source):
    """Names that a cell defines for later cells, as a set: functions, classes, imports and variables.

    It looks at the beginnings of lines, so that it also finds them in code that cannot be parsed.
    """
    found = set()
    for line in source[:PARSED].splitlines():
        first, _, rest = line.removeprefix("async ").partition(" ")
        if line.lstrip().startswith(("def ", "class ", "async def ")):  # perhaps under a condition
            first, _, rest = line.lstrip().removeprefix("async ").partition(" ")
        if first in ("def", "class"):
            found |= set(WORD.findall(rest)[:1])
        elif first in ("import", "from"):
            found |= words(rest.partition("import ")[2] if first == "from" else rest)
        elif first.isidentifier() and rest.lstrip()[:1] in ("=", ":") and not rest.lstrip().startswith("=="):
            found.add(first)
    return found


def is_answered(source, question):
    """Whether a cell has more content than the stub. Comments, blank lines and calls of the check do not count.

    Args:
        source: of the cell.
        question: dict of the manifest.
    """
    if question["kind"] == "code" and (said := _statements(source, question)) is not None:
        return not said <= _statements(question["stub"], question)
    return _text(source, question) != _text(question["stub"], question)


def uses_the_labs_own(source, entry, question):
    """Whether an answer uses something of labutils that the lab's own answer does not use.

    It looks for imports, for the lesson's names of labutils, and for an attribute with the name of the exercise's
    function. This finds what a student writes openly. Hidden ways remain, and a text that names labutils counts too.
    """
    cells = {cell["id"]: cell for cell in entry["cells"]}
    trees = [_tree(cell["source"]) for cell in cells.values() if cell["type"] == "code"]
    names = {name for tree in trees for name, _ in _imports(tree)}
    allowed = _uses(_tree(cells[question["cell"]]["source"]), names)
    tree = _tree(source)
    own = f".{question['function']}" if question.get("function") else None
    return bool(_uses(tree, names) - allowed) or any(
        (isinstance(node, ast.Attribute) and f".{node.attr}" == own)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str) and "labutils" in node.value)
        or (isinstance(node, ast.Name) and node.id in ("__import__", "importlib"))
        for node in ast.walk(tree)
    )


def _imports(tree):
    """Pairs (name in the cell, what it is) of all that is imported from labutils."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            for alias in node.names:
                whole = f"{module}.{alias.name}" if module else alias.name
                first, second = (*whole.split("."), "")[:2]
                if first in ("labutils", "grading") and second not in HELPERS:
                    yield alias.asname or (alias.name if module else "labutils"), whole


def _uses(tree, names):
    """What of labutils a tree uses, as a set of texts: its imports, and names with the attribute that follows."""
    found = {whole for _, whole in _imports(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            found.add(f"{node.value.id}.{node.attr}")
    inside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    loaded = (n for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return found | {node.id for node in loaded if node.id in names and id(node) not in inside}


def _tree(source):
    """The syntax tree of a cell; an empty one if it is too long or not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the student's code are not for the instructor
            lines = source.splitlines() if len(source) <= PARSED else []
            return ast.parse("\n".join(map(_without_magic, lines)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def _without_magic(line):
    start = line.lstrip()
    return line.replace(start, "pass") if start[:1] in ("%", "!") else line


def _text(source, question):
    return squeeze(source).replace(squeeze(question["marker"]), "").replace(squeeze(PLACEHOLDER), "")


def _statements(source, question):
    """The syntax of all top-level statements that do something, as a set. None if the source cannot be parsed."""
    body = _tree(source).body
    if not body and _text(source, question):
        return None if any(line.strip()[:1] not in ("", "#") for line in source.splitlines()) else set()
    # If the answer is a function, statements that only call or show something do not belong to it.
    try:
        return {
            ast.dump(node)
            for node in body
            if not _is_hollow(node) and not (question["function"] and isinstance(node, ast.Expr))
        }
    except RecursionError:
        return None


def _is_hollow(node):
    """Whether a statement does nothing yet, like the statements of a stub."""
    if isinstance(node, DEFINITION):
        return all(_is_hollow(inner) for inner in node.body)
    if isinstance(node, ast.Raise):
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return isinstance(error, ast.Name) and error.id == "NotImplementedError"
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
