"""Finds the code that an answer needs before it can run: what defines the names that it uses."""

import builtins
import symtable
from typing import NamedTuple

from grading.sources import read, statements

# Calls that may define names which no parser sees: lines for IPython (%pylab, %run), and Python's own.
HIDDEN = {"get_ipython", "exec", "globals", "vars", "setattr"}
KNOWN = {*dir(builtins), "get_ipython", "display"}  # names that every notebook has


class Names(NamedTuple):
    """What a piece of code has to do with names.

    Attributes:
        defined: names that it defines for others.
        used: names that it takes from the notebook. None if the code cannot be read: it may use any.
        hidden: whether it may define names that no parser sees, as ``from math import *`` does.
    """

    defined: set
    used: set | None
    hidden: bool


def needed(sources, position):
    """Earlier cells that define, directly or indirectly, what the cell at ``position`` uses.

    Args:
        sources: list of the code of all cells, in order; None for a cell that must not run.
        position: index of the cell in ``sources``.

    Returns:
        sorted list of indexes. If several cells define a name, all are in the list: one may use another. If the cell
        cannot be read, all cells that import something are in the list.
    """
    wanted, found = _used(sources[position], sources[:position]), []
    for index in reversed(range(position)):
        its = names(sources[index] or "")
        if its.defined & wanted:
            found.append(index)
            wanted = wanted | _used(sources[index], sources[:index])
    return sorted(found)


def definitions(sources, name):
    """The statements of cells that define a name and, directly or indirectly, what it uses: a list of texts, in order.

    What stands beside a function is not in it: a demonstration, a figure, an assert.
    """
    pieces = [piece for source in sources for piece in statements(source)]
    stars = [index for index, piece in enumerate(pieces) if "import *" in piece]
    return [pieces[index] for index in sorted({*stars, *needed([*pieces, name], len(pieces))})]


def helpers(source, known, cells):
    """Cells of a student that define what an answer uses and the lesson does not define.

    Args:
        source: of the answer.
        known: names that the lesson defines before the answer.
        cells: iterable of pairs: source of a cell, and whether it stands before the check of the answer.

    Returns:
        list of sources, in order. If no such cell defines a name, cells that may define it without saying so are taken.
    """
    known, first = known | KNOWN, names(source)
    missing, chosen = (first.used or set()) - first.defined - known, set()
    cells = list(cells) if missing else []
    every = [names(text) for text, _ in cells]
    while missing:
        new = {i for i, its in enumerate(every) if its.defined & missing} - chosen
        new = {i for i in new if cells[i][1]} or new  # what stands below counts if nothing above defines it
        new = new or {i for i, its in enumerate(every) if its.hidden} - chosen
        if not new:
            break
        chosen |= new
        missing = missing.union(*(every[i].used or set() for i in new)) - known
        missing -= set().union(*(every[i].defined for i in chosen))
    return [cells[i][0] for i in sorted(chosen)]


def names(source):
    """The :class:`Names` of the code of a cell."""
    return read(source, _names) or Names(set(), None, True)


def _names(code):
    scope = symtable.symtable(code, "cell", "exec")
    used = _names_used(scope)
    defined = {s.get_name() for s in scope.get_symbols() if s.is_assigned() or s.is_imported()}
    return Names(defined, used, bool(used & HIDDEN) or "import *" in code)


def _names_used(scope):
    """Names that a scope, or a scope inside it, takes from the notebook. Arguments and local variables do not count."""
    top = scope.get_type() == "module"
    found = {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found.union(*map(_names_used, scope.get_children()))


def _used(source, before):
    """Names that a cell uses. If it cannot be read, these are all names of the cells before it that import."""
    used = names(source).used
    if used is not None:
        return used
    return set().union(*(names(text).defined for text in before if text and "import" in text))
