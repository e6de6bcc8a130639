"""Marks the outputs of an executed notebook, for instructors who trust their students. Nothing is run again.

A question gets its points if the output of its check cell says that all tests passed. The notebook must also show other
outputs of the lesson: figures, a number of parameters, a loss that fell. If one is missing, a human decides.
"""

import re

from grading.cells import outputs_of
from grading.sources import squeeze
from grading.verdicts import Status, first_verdict, short

NOT_RUN_AGAIN = "nothing was re-run"
NOT_EXECUTED = "not executed"
FALLS = "falls"  # tag of a cell that prints the first and the last loss of a run
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?")


def shows(cell):
    """What a cell of the instructor's executed notebook shows. A student's notebook should show the same.

    Args:
        cell: cell of nbformat without nbgrader's metadata.

    Returns:
        dict with the keys that apply: ``figure`` (True), ``text`` (a text that is always the same), ``falls`` (True).
    """
    tags, outputs, found = cell.metadata.get("tags", []), outputs_of(cell), {}
    if _has_figure(outputs):
        found["figure"] = True
    if "nbval-check-output" in tags:
        found["text"] = _text(outputs)
    if FALLS in tags:
        found["falls"] = True
    return found


def judge_shown(entry, answers, cells):
    """Verdicts and evidence from the outputs of a student's notebook.

    Args:
        entry: of the lesson in the manifest.
        answers: dict question → grading.verdicts.Answer.
        cells: list that grading.cells.read_cells returns.

    Returns:
        dict with ``verdicts`` (as :func:`grading.judging.judge` returns them) and ``evidence`` (a list of dicts with
        ``text``, ``holds``, ``found`` for the other outputs of the lesson).
    """
    sources = {cell["id"]: cell["source"] for cell in entry["cells"]}
    checks = {(cell["nbgrader"] or {}).get("grade_id"): cell["id"] for cell in entry["cells"]}
    verdicts = []
    for question in entry["questions"]:
        verdict, decided = first_verdict(question, answers[question["answer"]])
        if not decided:
            cell = _find(cells, checks[question["check"]], sources[checks[question["check"]]])
            verdict |= _of_check(question, cell)
        verdicts.append(verdict | {"note": "; ".join(filter(None, (verdict["note"], NOT_RUN_AGAIN)))})
    evidence = [
        {"text": text, "holds": not problem, "found": problem}
        for cell in entry["cells"]
        for text, problem in _evidence(cell, _find(cells, cell["id"], cell["source"]))
    ]
    return {"verdicts": verdicts, "evidence": evidence}


def _of_check(question, cell):
    if cell is None:
        return {"status": Status.HUMAN, "found": "the cell that checks this answer is missing"}
    if errors := [output for output in cell.outputs if output.get("output_type") == "error"]:
        return {"status": Status.WRONG, "found": short(errors[0].get("evalue") or errors[0].get("ename"))}
    passed = re.search(r"^All tests in `\w+` passed!$", _text(cell.outputs), re.MULTILINE)
    if not passed:
        return {"status": Status.EMPTY, "found": f"the cell that checks this answer was {NOT_EXECUTED}"}
    return {"status": Status.RIGHT, "points": float(question["points"]), "found": passed[0]}


def _evidence(cell, sent):
    """Pairs (what a cell should show, what is wrong with it or "")."""
    what = cell["shows"]
    outputs = sent.outputs if sent else ()
    nothing = "" if outputs else f"the cell was {NOT_EXECUTED}" if sent else "the cell is missing"
    if what.get("figure"):
        yield f"figure of cell {cell['id']}", nothing or ("" if _has_figure(outputs) else "there is no figure")
    if "text" in what:
        same = _text(outputs).split() == what["text"].split()
        yield f"output of cell {cell['id']}", nothing or ("" if same else "the output is another one")
    if what.get("falls"):
        numbers = [float(number) for number in NUMBER.findall(_text(outputs))]
        fell = len(numbers) > 1 and numbers[-1] < numbers[0]
        yield f"loss of cell {cell['id']}", nothing or ("" if fell else f"does not fall: {short(_text(outputs))}")


def _find(cells, cell_id, source):
    """Find the student's cell by its id, else by its source. None if there is none."""
    wanted = squeeze(source)
    signs = (lambda cell: cell.id == cell_id, lambda cell: squeeze(cell.source) == wanted)
    return next((cell for sign in signs for cell in cells if sign(cell)), None)


def _has_figure(outputs):
    return any(output.get("data", {}).get("image/png") for output in outputs)


def _text(outputs):
    return "".join(output.get("text", "") for output in outputs if output.get("name") != "stderr")
