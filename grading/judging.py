"""Judges the answers of one notebook: they run in the student's process, and labutils.checks tries them from here.

The instructor's cells come from the manifest; the answers come from the student. If an answer ends the process or takes
too long, its remaining properties fail. A right answer counts at once. Any other answer gets a second try in a new
process, unless the first process ran nothing else. So no answer loses points for the mistakes of another answer, and
TensorFlow does not start more often than necessary.
"""

import ast
import time
from functools import partial

import numpy as np

from grading.bench import Bench, start_candidate
from grading.context import needed
from grading.examiner import Ended
from grading.sources import PARSED
from grading.verdicts import HUMAN, PARTLY, RIGHT, WRONG, first_verdict, short
from labutils import checks

FOUND = 3000  # most characters of one finding; an honest process sends less
SIZE = 'PRESET, DATASET = "smoke", "digits"'  # is run after the cell of parameters


def judge_student(tasks, entries, level, seeds):
    """Judge the notebooks of one student. The result depends only on the arguments, not on the machine.

    Args:
        tasks: list of (key, lesson, answers); ``answers`` as for :func:`judge`.
        entries: dict lesson → entry of the manifest.
        level: one of grading.sandbox.LEVELS.
        seeds: list of the seeds, as for :func:`judge`.

    Returns:
        list of (key, dict with ``verdicts``, ``seconds`` and ``sandbox``).
    """
    results = []
    with Bench(partial(start_candidate, level)) as bench:
        for key, lesson, answers in tasks:
            started = time.perf_counter()
            verdicts = judge(entries[lesson], answers, bench, seeds)
            seconds = round(time.perf_counter() - started, 1)
            results.append((key, {"verdicts": verdicts, "seconds": seconds, "sandbox": level}))
    return results


def judge(entry, answers, bench, seeds=(0,)):
    """The verdicts on all questions of a notebook.

    Args:
        entry: of the manifest, ``manifest["notebooks"][lesson]``.
        answers: dict question's ``answer`` → grading.verdicts.Answer.
        bench: :class:`Bench` of the student.
        seeds: for the inputs; a property must hold for all of them.

    Returns:
        list of dicts, one for each question in order. Keys: ``question``, ``points``, ``max_points``, ``status``,
        ``found`` (a sentence), ``matched``, ``note``, and ``properties`` (a list of dicts with ``text``, ``holds``,
        ``found``).
    """
    cells = entry["cells"]
    sources = [_runnable(cell, answers) for cell in cells]
    bench.open_notebook()
    verdicts = []
    for question in entry["questions"]:
        verdict, decided = first_verdict(question, answers[question["answer"]])
        if not decided:
            position = next(i for i, cell in enumerate(cells) if cell["id"] == question["cell"])
            before = [sources[i] for i in needed(sources, position)]
            fresh = bench.is_fresh([*before, answers[question["answer"]].source])
            found = _judge_one(question, answers[question["answer"]], cells, before, bench, seeds)
            if found["status"] != RIGHT and not fresh:
                bench.stop()
                found = _judge_one(question, answers[question["answer"]], cells, before, bench, seeds)
            verdict |= found
        verdicts.append(verdict)
    return verdicts


def _runnable(cell, answers):
    """The code to run for a cell: the student's for an answer cell, otherwise ours. None if there is nothing to run."""
    meta = cell["nbgrader"] or {}
    if cell["type"] != "code" or (meta.get("grade") and not meta.get("solution")):
        return None
    if meta.get("solution"):
        answer = answers.get(meta["grade_id"])
        usable = answer is not None and not answer.empty and len(answer.source or "") <= PARSED
        return answer.source if usable else None
    return f"{cell['source']}\n{SIZE}" if "parameters" in cell["tags"] else cell["source"]


def _judge_one(question, answer, cells, before, bench, seeds):
    """A dict with the changes to the first verdict."""
    if len(answer.source) > PARSED:
        return {"status": HUMAN, "found": f"longer than {PARSED:,} characters"}
    check, function = _check_of(question, cells)
    properties, ended = [], ""
    for each in check.properties:
        try:
            found = ended or _try(bench, before, answer.source, function, each, seeds)
        except Ended as error:
            found = ended = f"running your code ended the process: {error}"
        properties.append({"text": each.text, "holds": not found, "found": found[:FOUND]})
    holding = sum(each["holds"] for each in properties)
    if not holding and answer.helpers and any("NameError" in each["found"] for each in properties):
        return {"status": HUMAN, "found": "it uses a name that another cell of the student defines"}
    status = RIGHT if holding == len(properties) else PARTLY if holding else WRONG
    return {
        "points": round(question["points"] * holding / len(properties), 2),
        "status": status,
        "found": next((each["found"] for each in properties if each["found"]), ""),
        "properties": properties,
    }


def _check_of(question, cells):
    """(check, name of the function), read from the check cell ``checks.check_NAME(function)`` of the manifest."""
    (source,) = (c["source"] for c in cells if (c["nbgrader"] or {}).get("grade_id") == question["check"])
    call = ast.parse(source).body[0].value
    return getattr(checks, call.func.attr), call.args[0].id


def _try(bench, before, source, function, each, seeds):
    """Try one property. Returns a sentence that says what is wrong, or "" if the property holds.

    Raises:
        Ended: see :meth:`Bench.attempt`.
    """

    def work(conversation):
        for seed in seeds:
            each.test(conversation.function(function), np.random.default_rng(seed))

    try:
        bench.attempt([*before, source], work)
    except checks.CheckFailed as error:
        return str(error)
    except NotImplementedError:
        return "not written yet"
    except Exception as error:  # the cell itself raised it, in the student's process
        return f"the cell stopped with {type(error).__name__}: {short(error)}"
    return ""
