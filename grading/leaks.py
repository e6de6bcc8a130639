"""Looks for whole solutions in the notebooks that students get: an author can forget a marker or paste a cell."""

import re

from labutils._support.stubs import SOLUTION, regions

ALLOWED = "repeats-solution"  # tag of a cell in which the instructor shows a solution on purpose
SHORT = 12  # characters; a shorter line may be in another cell by chance
MARKER = re.compile(r"\b(?:BEGIN|END)[ _](?:SOLUTION|HIDDEN)", re.IGNORECASE)


def secrets_of(cell):
    """The solutions in an answer cell: a list of pairs (cell id, lines without blank space and comment signs).

    Raises:
        ValueError: a solution is empty.
    """
    lines, found = cell.source.split("\n"), []
    for begin, end in regions(cell.source, SOLUTION):
        inside = [squeezed(line.split("  #")[0]) for line in lines[begin : end - 1]]
        if not any(line != "pass" and re.search(r"\w", line) for line in inside):
            raise ValueError(f"the solution that begins in line {begin} is empty")
        found.append((cell.id, [line for line in inside if len(line) >= SHORT]))
    return found


def trace_in(cell, secrets):
    """What a released cell reveals, as the end of a sentence; None if it reveals nothing."""
    if found := MARKER.search(cell.source):
        return f"has the marker {found.group()}"
    if ALLOWED not in cell.metadata.get("tags", []):
        text = squeezed(cell.source)
        for where, lines in secrets:
            if lines and all(line in text for line in lines):
                return f"repeats the solution of {where}: {lines[-1]}"
    return None


def squeezed(text):
    """The text without blank space and comment signs."""
    return re.sub(r"[\s#]", "", text)
