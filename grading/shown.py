"""Marks the outputs of an executed notebook, for instructors who trust their students. Nothing is run again.

A question gets its points if the output of its check cell says that all tests passed.
"""

import re

from grading.matching import find_check
from grading.verdicts import Status, first_verdict, short

NOT_RUN_AGAIN = "nothing was re-run"


def judge_shown(entry, answers, cells):
    """The verdicts that the outputs of a student's notebook give.

    Args:
        entry: of the lesson in the manifest.
        answers: dict question → grading.verdicts.Answer.
        cells: list that grading.cells.read_cells returns.

    Returns:
        dict with ``verdicts``, as :func:`grading.judging.judge` returns them.
    """
    checks = {(cell["nbgrader"] or {}).get("grade_id"): cell for cell in entry["cells"]}
    verdicts = []
    for question in entry["questions"]:
        verdict, decided = first_verdict(question, answers[question["answer"]])
        if not decided:
            place = find_check(cells, checks[question["check"]])
            verdict |= _of_check(question, None if place is None else cells[place])
        verdicts.append(verdict | {"note": "; ".join(filter(None, (verdict["note"], NOT_RUN_AGAIN)))})
    return {"verdicts": verdicts}


def _of_check(question, cell):
    if cell is None:
        return {"status": Status.HUMAN, "found": "the cell that checks this answer is missing"}
    if errors := [output for output in cell.outputs if output["output_type"] == "error"]:
        return {"status": Status.WRONG, "found": short(errors[0]["evalue"] or errors[0]["ename"])}
    printed = "".join(output["text"] for output in cell.outputs if output["name"] != "stderr")
    if passed := re.search(r"^All tests in `\w+` passed!$", printed, re.MULTILINE):
        return {"status": Status.RIGHT, "points": float(question["points"]), "found": passed[0]}
    return {"status": Status.EMPTY, "found": "the cell that checks this answer was not executed"}
