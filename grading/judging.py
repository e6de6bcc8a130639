"""Judges the answers of one notebook: they run in the student's process, and labutils.checks tries them from here.

The instructor's cells come from the manifest; the answers come from the student. Each question runs in a process of its
own: first the earlier cells that it needs, then the answer. So no answer loses points for the mistakes of another one,
and the time for one question is not used up by another one.
"""

import ast
import time
from functools import partial

import numpy as np

from grading.bench import Bench, NotReady, start_candidate
from grading.context import needed
from grading.degenerate import is_trivial
from grading.examiner import Ended
from grading.sandbox import NO_MEMORY
from grading.sources import uses_the_labs_own
from grading.verdicts import Status, first_verdict, short
from labutils import checks

FOUND = 3000  # most characters of one finding; an honest process sends less
SIZE = 'PRESET, DATASET = "smoke", "digits"'  # is run after the cell of parameters
OWN = "uses the lab's own solution"
TRIES = 3  # if the machine is at fault: another student's process may have used all its memory for a moment


def judge_student(tasks, entries, level, seeds):
    """Judge the notebooks of one student. The result depends only on the arguments, not on the machine.

    Args:
        tasks: list of (key, lesson, answers); ``answers`` as for :func:`judge`.
        entries: dict lesson → entry of the manifest.
        level: "required" or "off", see grading.sandbox.
        seeds: list of the seeds, as for :func:`judge`.

    Returns:
        list of (key, dict with ``verdicts`` and ``seconds``, and ``again`` if the process could not be started).
    """
    results = []
    with Bench(partial(start_candidate, level)) as bench:
        for key, lesson, answers in tasks:
            started = time.perf_counter()
            verdicts = judge(entries[lesson], answers, bench, seeds)
            again = any(verdict.pop("again", False) for verdict in verdicts)
            found = {"verdicts": verdicts, "seconds": round(time.perf_counter() - started, 1)}
            results.append((key, found | ({"again": True} if again else {})))
    return results


def judge(entry, answers, bench, seeds=(0,)):
    """The verdicts on all questions of a notebook.

    Args:
        entry: of the manifest, ``manifest["notebooks"][lesson]``.
        answers: dict question's ``answer`` → grading.verdicts.Answer.
        bench: :class:`Bench` of the student.
        seeds: for the inputs; a property must hold for all of them.

    Returns:
        list of dicts, one for each question in order. Keys: ``question``, ``title``, ``points``, ``max_points``,
        ``status``, ``found`` (a sentence), ``matched``, ``note``, and ``properties`` (a list of dicts with ``text``,
        ``holds``, ``found``).
    """
    cells = entry["cells"]
    sources = [_runnable(cell, answers) for cell in cells]
    verdicts = []
    for question in entry["questions"]:
        answer = answers[question["answer"]]
        verdict, decided = first_verdict(question, answer)
        if not decided:
            position = next(i for i, cell in enumerate(cells) if cell["id"] == question["cell"])
            before = [sources[i] for i in needed(sources, position)]
            verdict |= _judge_one(question, answer, entry, before, bench, seeds)
        verdicts.append(verdict)
    return verdicts


def _runnable(cell, answers):
    """The code to run for a cell: the student's for an answer cell, otherwise ours. None if there is nothing to run."""
    meta = cell["nbgrader"] or {}
    if cell["type"] != "code" or (meta.get("grade") and not meta.get("solution")):
        return None
    if meta.get("solution"):
        answer = answers.get(meta["grade_id"])
        return None if answer is None or answer.empty else answer.source
    return f"{cell['source']}\n{SIZE}" if "parameters" in cell["tags"] else cell["source"]


def _judge_one(question, answer, entry, before, bench, seeds):
    """A dict with the changes to the first verdict."""
    check, function = _check_of(question, entry["cells"])
    if uses_the_labs_own(answer.source, entry, question):
        return {"status": Status.HUMAN, "found": OWN}
    for attempt in range(1, TRIES + 1):
        try:
            properties = _properties(check, function, [*before, answer.source], bench, seeds)
            break
        except NotReady as error:
            if attempt == TRIES:
                return {"status": Status.HUMAN, "found": f"the grader could not run it: {error}", "again": True}
    holding = {place for place, each in enumerate(properties) if each["holds"]}
    found = next((each["found"] for each in properties if each["found"]), "")
    if not holding and answer.helpers and any("NameError" in each["found"] for each in properties):
        return {"status": Status.HUMAN, "found": "it uses a name that another cell of the student defines"}
    if all(is_trivial(check, place) for place in holding):  # an answer that computes nothing has them, too
        holding = set()
    all_hold = len(holding) == len(properties)
    return {
        "points": round(question["points"] * len(holding) / len(properties), 2),
        "status": Status.RIGHT if all_hold else Status.PARTLY if holding else Status.WRONG,
        "found": found,
        "properties": properties,
    }


def _properties(check, function, sources, bench, seeds):
    """Run the cells of an answer, and try each property of the check: a list of dicts.

    Raises:
        NotReady: the machine is at fault.
    """
    conversation, properties = bench.fresh(), []
    failure = _try(bench, lambda: [conversation.run(source) for source in sources])
    for each in check.properties:
        found, ended = failure, bench.conversation is None
        for seed in seeds if not failure else ():
            test = partial(each.test, conversation.function(function), np.random.default_rng(seed))
            if found := _try(bench, test):
                break
        if bench.conversation is None and not ended:
            failure = found
        properties.append({"text": each.text, "holds": not found, "found": found[:FOUND]})
    return properties


def _check_of(question, cells):
    """(check, name of the function), read from the check cell ``checks.check_NAME(function)`` of the manifest."""
    (source,) = (c["source"] for c in cells if (c["nbgrader"] or {}).get("grade_id") == question["check"])
    call = ast.parse(source).body[0].value
    return getattr(checks, call.func.attr), call.args[0].id


def _try(bench, work):
    """Do something with the student's process. Returns a sentence that says what is wrong, or "" if nothing is.

    Raises:
        NotReady: the machine is at fault.
    """
    try:
        work()
    except Ended as error:
        reason = bench.why(error)
        if reason == NO_MEMORY:  # other programs may have used it
            raise NotReady(reason) from error
        return f"running your code ended the process: {reason}"
    except checks.CheckFailed as error:
        return str(error)
    except NotImplementedError:
        return "not written yet"
    except Exception as error:  # the cell itself raised it, in the student's process
        return f"the cell stopped with {type(error).__name__}: {short(error)}"
    return ""
