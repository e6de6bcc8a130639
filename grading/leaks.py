"""Looks for pieces of solutions in the notebooks that students get.

An author can forget a marker or copy a line. So this module compares syntax trees: in them, comments, blank space and
unnecessary brackets do not count.
"""

import ast
import re

from labutils._support.stubs import SOLUTION, parse, regions

ALLOWED = "repeats-solution"  # tag of a cell in which the instructor shows lines of a solution on purpose
RUN = 8  # this many equal words in a row are a copy, not chance
SHORT = 15  # characters; a shorter line may be in a comment by chance
MARKER = re.compile(r"\b(BEGIN|END)[ _]+(SOLUTION|HIDDEN)", re.IGNORECASE)
# A statement that contains only these nodes reveals nothing: pass, an import, a docstring, return x, x = 0.
PLAIN = (
    ast.Pass,
    ast.Break,
    ast.Continue,
    ast.Import,
    ast.ImportFrom,
    ast.alias,
    ast.Global,
    ast.Nonlocal,
    ast.Return,
    ast.Expr,
    ast.Assign,
    ast.Name,
    ast.Constant,
    ast.Attribute,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.expr_context,
    ast.UnaryOp,
    ast.unaryop,
)


class Solutions:
    """Everything that students must not see. Add every answer cell of the instructor, then test every released cell."""

    def __init__(self):
        self._syntax = {}  # syntax → (answer cell, code)
        self._lines = {}  # code without blank space → answer cell
        self._whole = {}  # whole solution without blank space → answer cell
        self._words = {}  # run of words → answer cell

    def add(self, cell):
        """Remember the solutions of an answer cell.

        Raises:
            ValueError: a solution is empty.
        """
        tree = parse(cell.source) if cell.cell_type == "code" else None
        for begin, end in regions(cell.source, SOLUTION):
            text = "\n".join(cell.source.split("\n")[begin : end - 1])
            if tree is None:
                words = _words(text)
                found = words
                runs = (words[i : i + RUN] for i in range(max(len(words) - RUN, 0) + 1))
                self._words.update({f" {' '.join(run)} ": cell.id for run in runs if len(run) > 2})
            else:
                found = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and begin < n.lineno < end]
                found = [node for node in found if not isinstance(node, ast.Pass)]
                self._add_code(cell, [node for node in found if not _is_plain(node)])
                if len(_squeeze(text)) >= SHORT:
                    self._whole[_squeeze(text)] = cell.id
            if not found:
                raise ValueError(f"the solution that begins in line {begin} is empty")

    def _add_code(self, cell, statements):
        for node in statements:
            self._syntax[ast.dump(node)] = (cell.id, ast.unparse(node))
            if isinstance(node, ast.Return):  # also find the returned value in other code: f(answer), lambda: answer
                node = node.value
                self._syntax[ast.dump(node)] = (cell.id, ast.unparse(node))
            line = _squeeze(ast.get_source_segment(cell.source, node) or "")
            if not hasattr(node, "body") and len(line) >= SHORT:
                self._lines[line] = cell.id

    def trace_in(self, cell):
        """What a released cell reveals, as the end of a sentence; None if it reveals nothing.

        Raises:
            ValueError: a code cell is not Python.
        """
        if found := MARKER.search(cell.source):
            return f"has the marker {found.group()}"
        if ALLOWED in cell.metadata.get("tags", []):
            return None
        words = f" {' '.join(_words(cell.source))} "
        for run, where in self._words.items():
            if run in words:
                return f"repeats the answer of {where}: …{run}…"
        return self._code_in(cell)

    def _code_in(self, cell):
        for node in ast.walk(parse(cell.source)) if cell.cell_type == "code" else ():
            if isinstance(node, ast.stmt | ast.expr) and (found := self._syntax.get(ast.dump(node))):
                return f"repeats the solution of {found[0]}: {found[1]}"
        # Comments and text cells have no syntax tree, so compare text. A text cell may quote single lines.
        text, secrets = _squeeze(cell.source), self._lines if cell.cell_type == "code" else self._whole
        for line, where in secrets.items():
            if line in text:
                return f"repeats the text of the solution of {where}: {line}"
        return None


def _is_plain(statement):
    return all(isinstance(part, PLAIN) for part in ast.walk(statement))


def _squeeze(text):
    return re.sub(r"[\s#]", "", text)


def _words(text):
    return re.findall(r"\w+", text.lower())
