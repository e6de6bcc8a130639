"""Finds the cells that an answer needs before it can run: the cells that define the names it uses."""

import symtable

from grading.sources import read


def needed(sources, position):
    """Earlier cells that define, directly or indirectly, what the cell at ``position`` uses.

    Args:
        sources: list of the code of all cells, in order; None for a cell that must not run.
        position: index of the cell in ``sources``.

    Returns:
        sorted list of indexes. If several cells define a name, all are in the list: one may use another.
    """
    wanted, found = names(sources[position])[1], []
    for index in reversed(range(position)):
        defined, used = names(sources[index] or "")
        if defined & wanted:
            found.append(index)
            wanted = wanted | used
    return sorted(found)


def names(source):
    """Two sets: names that a cell defines for others, and names that it uses. Both are empty if it is not Python."""
    return read(source, _names) or (set(), set())


def _names(code):
    scope = symtable.symtable(code, "cell", "exec")
    return {s.get_name() for s in scope.get_symbols() if s.is_assigned() or s.is_imported()}, _used(scope)


def _used(scope):
    """Names that a scope, or a scope inside it, takes from the notebook. Arguments and local variables do not count."""
    top = scope.get_type() == "module"
    found = {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found.union(*map(_used, scope.get_children()))
