"""Looks for whole solutions in the notebooks that students get: an author can forget a marker or paste a cell."""

import re

from lab.stubs import SOLUTION, in_cell, is_answer, regions

ALLOWED = "repeats-solution"  # tag of a cell in which the instructor shows a solution on purpose
SHORT = 12  # characters; a shorter line may be in another cell by chance
UNSEEN = re.compile(r"[\s#]")  # blank space and comment signs do not count
MARKER = re.compile(r"\b(?:BEGIN|END)[ _](?:SOLUTION|HIDDEN)", re.IGNORECASE)


def check_no_traces(books, students):
    """Refuse students' notebooks that show a marker, or a solution of any of the instructor's notebooks.

    Args:
        books, students: dicts lesson → notebook.

    Raises:
        ValueError: names the notebook and the cell.
    """
    answers = [(lesson, cell) for lesson, book in books.items() for cell in filter(is_answer, book.cells)]
    secrets = [(cell.id, in_cell(lesson, cell, _secret, cell)) for lesson, cell in answers]
    for lesson, student in students.items():
        for cell in student.cells:
            text = "" if ALLOWED in cell.metadata.get("tags", []) else UNSEEN.sub("", cell.source)
            found = [answer for answer, lines in secrets if lines and all(line in text for line in lines)]
            if found or MARKER.search(cell.source):
                what = f"the solution of {found[0]}" if found else "a marker of a solution"
                raise ValueError(f"{lesson}.ipynb, cell {cell.id} shows {what}")


def _secret(cell):
    lines = [UNSEEN.sub("", line.split("  #")[0]) for line in cell.source.split("\n")]
    inside = [line for begin, end in regions(cell.source, SOLUTION) for line in lines[begin : end - 1]]
    if not any(line != "pass" and re.search(r"\w", line) for line in inside):
        raise ValueError("the solution is empty")
    return [line for line in inside if len(line) >= SHORT]
