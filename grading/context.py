"""Finds the cells that an answer needs before it can run: the cells that define the names it uses."""

import ast
import symtable

from labutils._support.stubs import parse


def needed(sources, position):
    """Earlier cells that define, directly or indirectly, what the cell at ``position`` uses.

    Args:
        sources: list of the code of all cells, in order; None for a cell that must not run.
        position: index of the cell in ``sources``.

    Returns:
        sorted list of indexes. If several cells define a name, all are in the list: one may use another.
    """
    tables = [names(source) if source is not None else (set(), set()) for source in sources]
    wanted, found = set(tables[position][1]), set()
    for index in range(position - 1, -1, -1):
        defined, used = tables[index]
        if defined & wanted:
            found.add(index)
            wanted |= used
    return sorted(found)


def names(source):
    """Two sets: names that a cell defines for others, and names that it uses. Both are empty if it is not Python."""
    try:
        tree = parse(source)
        return _defined(tree.body), _used(symtable.symtable(ast.unparse(tree), "cell", "exec"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return set(), set()


def _used(scope):
    """Names that a scope, or a scope inside it, takes from the notebook. Arguments and local variables do not count."""
    top = scope.get_type() == "module"
    found = {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found.union(*map(_used, scope.get_children()))


def _defined(statements):
    found = set()
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        else:
            stored = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            found.update(n.id for n in stored)
            for part in ("body", "orelse", "finalbody"):
                found |= _defined(getattr(node, part, []))
    return found
