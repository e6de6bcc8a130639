"""Finds the answers in the cells of a student's notebook. Nothing is executed.

An answer is found by its grade_id, else by its cell id, else by the name of its function. If these signs do not lead to
one cell, a human decides. The answer is then not counted as missing.
"""

import itertools
from collections import Counter
from dataclasses import replace

from grading.context import helpers, names
from grading.sources import PARSED, is_answered, squeeze
from grading.verdicts import Answer, Status

SIGNS = {  # whether a cell claims the answer to a question
    "grade_id": lambda cell, question: cell.nbgrader.get("grade_id") == question["answer"],
    "cell id": lambda cell, question: cell.id == question["cell"],
    "name of the function": lambda cell, question: _defines(cell.source, question),
}


def identify(cells, name, manifest):
    """Find out which lesson a notebook is: the one that has the most cells in common with it.

    Args:
        cells: list that :func:`grading.cells.read_cells` returns.
        name: of the file.
        manifest: the dict that ``release`` wrote.

    Returns:
        tuple (lesson or None, what a human should decide, in words, or "").
    """
    signs = {
        lesson: set().union(*(_signs(cell["nbgrader"] or {}, cell["id"], cell["source"]) for cell in entry["cells"]))
        for lesson, entry in manifest["notebooks"].items()
    }
    lessons_with = Counter(sign for its in signs.values() for sign in its)
    seen = set().union(*(_signs(cell.nbgrader, cell.id, cell.source) for cell in cells))
    seen = {sign for sign in seen if lessons_with[sign] == 1}
    hits = {lesson: len(seen & its) for lesson, its in signs.items()}
    best = [lesson for lesson in hits if hits[lesson] == max(hits.values())]
    if not seen or len(best) > 1:
        return None, "this is none of the notebooks that were handed out"
    named = [lesson for lesson in hits if lesson in name.lower()]
    if named and best[0] not in named:
        return best[0], f"its cells are those of {best[0]}, but its name is that of {named[0]}"
    return best[0], ""


def _signs(nbgrader, cell_id, source):
    return {nbgrader.get("grade_id"), cell_id, squeeze(source)} - {None, ""}


def match(cells, entry):
    """Find every answer of a lesson.

    Args:
        cells: list that :func:`grading.cells.read_cells` returns.
        entry: of the lesson in the manifest.

    Returns:
        dict grade_id of the answer → :class:`grading.verdicts.Answer`, in the order of the questions.
    """
    # An unchanged cell of the handout is no answer, even if its tags claim one.
    given = {squeeze(cell["source"]) for cell in entry["cells"] if not (cell["nbgrader"] or {}).get("solution")} - {""}
    mine = [place for place, cell in enumerate(cells) if squeeze(cell.source) not in given]
    tags = {question[key] for question in entry["questions"] for key in ("answer", "cell")}
    added = [i for i in mine if cells[i].source.strip() and not {cells[i].nbgrader.get("grade_id"), cells[i].id} & tags]
    beside = {cell.source for i in added for cell in cells[max(i - 1, 0) : i + 2]}
    answers, chosen = {}, set()
    for question in entry["questions"]:
        answer = _find(question, [cells[i] for i in mine])
        chosen.add(answer.source)
        if question["kind"] == "text":
            if answer.empty and answer.source in beside:
                answer = _human("its cell is empty, but the student wrote a cell beside it")
        elif answer.source and not answer.empty:
            end_of_answer = _place_of_check(cells, entry, question)
            own = ((cells[i].source, i < end_of_answer) for i in mine if cells[i].type == "code")
            own = [pair for pair in own if pair[0] not in chosen]
            known = _defined_before(entry, question).union(*(names(source or "").defined for source in chosen))
            answer = replace(answer, helpers=tuple(helpers(answer.source, known, own)))
        answers[question["answer"]] = answer
    return answers


def find_check(cells, check):
    """The place of a student's cell that is the check: by its id, else by its source. None if there is none.

    Args:
        cells: list that :func:`grading.cells.read_cells` returns.
        check: the cell of the manifest.
    """
    signs = (lambda cell: cell.id == check["id"], lambda cell: squeeze(cell.source) == squeeze(check["source"]))
    return next((place for sign in signs for place, cell in enumerate(cells) if sign(cell)), None)


def _place_of_check(cells, entry, question):
    check = next(cell for cell in entry["cells"] if (cell["nbgrader"] or {}).get("grade_id") == question["check"])
    place = find_check(cells, check)
    return len(cells) if place is None else place


def _defined_before(entry, question):
    """Names that the lesson's own cells define before an answer, and the functions of the exercises before it."""
    functions, known = {each["cell"]: each["function"] for each in entry["questions"]}, set()
    for cell in itertools.takewhile(lambda cell: cell["id"] != question["cell"], entry["cells"]):
        if cell["type"] == "code":
            known |= {functions[cell["id"]]} if cell["id"] in functions else names(cell["source"]).defined
    return known


def _find(question, cells):
    """Look for an answer that defines the function, then for any answer, then for the stub."""
    claims = {how: [cell for cell in cells if sign(cell, question)] for how, sign in SIGNS.items()}
    for is_such in (_is_whole, is_answered, lambda source, question: True):
        for how, its in claims.items():
            # Cells with equal source are one answer.
            found = {cell.source.strip(): cell for cell in its if is_such(cell.source, question)}
            if len(found) > 1:
                return _human(f"{len(found)} different cells claim this answer by their {how}")
            for cell in found.values():
                if len(cell.source) > PARSED:
                    return _human(f"its cell has more than {PARSED:,} characters")
                return Answer(cell.source, how, empty=not is_answered(cell.source, question))
    return _human("no cell could be matched with this answer")


def _human(reason):
    return Answer(None, Status.HUMAN, reason)


def _is_whole(source, question):
    return is_answered(source, question) and (question["kind"] == "text" or _defines(source, question))


def _defines(source, question):
    function = question["function"]
    return bool(function) and function in source and function in names(source).defined
