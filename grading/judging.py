"""Judges the answers of one notebook: they run in the student's process, and labutils.checks tries them from here.

The instructor's cells come from the manifest; the answers come from the student. Each question runs in a process of its
own: first the code that it needs, then the answer. So no answer loses points for the mistakes of another one, and the
time for one question is not used up by another one.

A function is judged, not the lines beside it. If a cell fails or takes too long before the function is defined, only
the definitions are run, in a new process.
"""

import ast
import re
import time
from functools import partial

import numpy as np

from grading.bench import Bench, NotReady, start_candidate
from grading.context import definitions, names, needed
from grading.examiner import Ended, OwnFault, RemoteError
from grading.sandbox import NO_MEMORY, NOT_BY_US
from grading.sources import statements
from grading.verdicts import Status, first_verdict, short
from labutils import checks

FOUND = 3000  # most characters of one finding; an honest process sends less
SIZE = 'PRESET, DATASET = "smoke", "digits"'  # is run after the cell of parameters
TRIES = 3  # if the machine is at fault: another program may have used all its memory for a moment
EACH = 600  # seconds for all questions of one student together, as long as it is the turn of the student's process
USED_UP = f"the {EACH} s for the questions of one student were used up by other answers"
LACKS = re.compile(r"\b(ModuleNotFoundError|ImportError)\b")  # in a finding: a package that this machine lacks


def judge_student(tasks, entries, level, seeds):
    """Judge the notebooks of one student. The result depends only on the arguments, not on the machine.

    Args:
        tasks: list of (key, lesson, answers); ``answers`` as for :func:`judge`.
        entries: dict lesson → entry of the manifest.
        level: "required" or "off", see grading.sandbox.
        seeds: list of the seeds, as for :func:`judge`.

    Returns:
        list of (key, dict with ``verdicts`` and ``seconds``, and ``again``: whether the grader itself failed).
    """
    results = []
    with Bench(partial(start_candidate, level)) as bench:
        for key, lesson, answers in tasks:
            started = time.perf_counter()
            verdicts = judge(entries[lesson], answers, bench, seeds)
            again = any(verdict.pop("again", False) for verdict in verdicts)
            found = {"verdicts": verdicts, "seconds": round(time.perf_counter() - started, 1), "again": again}
            results.append((key, found))
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
    cells, right = entry["cells"], set()
    verdicts = []
    for question in entry["questions"]:
        answer = answers[question["answer"]]
        verdict, decided = first_verdict(question, answer)
        if not decided:
            verdict |= _judge_one(question, answer, cells, _before(question, cells, answers, right), bench, seeds)
        if verdict["status"] == Status.RIGHT:
            right.add(question["answer"])
        verdicts.append(verdict)
    return verdicts


def _before(question, cells, answers, right):
    """The code before an answer, in order, as a list of pairs: source, and whether it is the lesson's own.

    An earlier answer is the student's if it is right. Otherwise its function is the lab's, and what else the student's
    cell defines stays.
    """
    found = []
    for cell in cells:
        meta = cell["nbgrader"] or {}
        if cell["id"] == question["cell"]:
            break
        if cell["type"] != "code" or (meta.get("grade") and not meta.get("solution")):
            continue
        if not meta.get("solution"):
            found.append((f"{cell['source']}\n{SIZE}" if "parameters" in cell["tags"] else cell["source"], True))
            continue
        answer = answers.get(meta["grade_id"])
        source = "" if answer is None or answer.empty else answer.source or ""
        if meta["grade_id"] in right:
            found.append((source, False))
        else:
            its = names(cell["source"]).defined
            found += [(piece, False) for piece in statements(source) if not names(piece).defined & its]
            found.append((cell["source"], True))
    return found


def _judge_one(question, answer, cells, before, bench, seeds):
    """A dict with the changes to the first verdict."""
    if bench.used() > EACH:
        return {"status": Status.HUMAN, "found": USED_UP}
    check, function = _check_of(question, cells)
    sources, mine = [source for source, _ in before], [*answer.helpers, answer.source]
    wanted = set().union(*(needed([*sources, source], len(sources)) for source in mine))
    code = [*(before[index] for index in sorted(wanted)), *((source, False) for source in mine)]
    for _ in range(TRIES):
        try:
            tried = _try_all(check, function, code, bench, seeds)
            return _verdict(question, answer, check, *tried)
        except Exception as error:  # the machine's fault, or the judge's: a check that met something unexpected
            bench.stop()
            why = str(error) if isinstance(error, NotReady) else f"{type(error).__name__}: {short(error)}"
    return {"status": Status.HUMAN, "found": f"the grader could not run it: {why}", "again": True}


def _verdict(question, answer, check, properties, ours, theirs):
    """A dict with the changes to the first verdict; the last three arguments are what :func:`_try_all` returns."""
    holding = {place for place, each in enumerate(properties) if each["holds"]}
    all_hold = len(holding) == len(properties)
    found = next((each["found"] for each in properties if each["found"]), "")
    note = theirs and f"beside the function: {theirs}"
    changes = {"properties": properties, "note": "; ".join(filter(None, (answer.note, note)))}
    human = ""
    if ours:
        human = f"a cell of the lesson did not run here: {ours}"
    elif LACKS.search(found + theirs):
        human = f"this machine may lack a package: {found}"
    elif not holding and answer.helpers and theirs and "NameError" in found:
        human = f"{found}; another cell of the student: {theirs}"
    if human and not all_hold:
        return changes | {"status": Status.HUMAN, "found": human, "again": True}
    if not any(check.properties[place].alone for place in holding):  # an answer that computes nothing has them, too
        holding = set()
    return changes | {
        "points": round(question["points"] * len(holding) / len(properties), 2),
        "status": Status.RIGHT if all_hold else Status.PARTLY if holding else Status.WRONG,
        "found": found,
    }


def _try_all(check, function, code, bench, seeds):
    """Run the code of an answer, and try each property of its check.

    Args:
        check: labutils.checks.Check.
        function: name of the student's function.
        code: list of pairs: source of a cell, and whether it is the lesson's own.
        bench, seeds: as for :func:`judge`.

    Returns:
        tuple (list of dicts, what went wrong in the lesson's own cells, what went wrong in the student's cells).

    Raises:
        NotReady: the machine is at fault.
    """
    ours, theirs = _run(code, bench)
    failure = ours or theirs
    if failure and not _is_defined(function, bench):
        pieces = definitions([source for source, _ in code], function)
        _run([(piece, False) for piece in pieces], bench)
    if _is_defined(function, bench):
        failure = ""
    properties = []
    for each in check.properties:
        found = failure
        for seed in seeds if not failure else ():
            test = partial(each.test, bench.conversation.function(function), np.random.default_rng(seed))
            if found := _try(bench, test):
                break
        if bench.conversation is None:
            failure = found
        properties.append({"text": each.text, "holds": not found, "found": found[:FOUND]})
    return properties, ours, theirs


def _run(code, bench):
    """Run cells in a new process, up to the end of the process. What went wrong first: (in ours, in the student's)."""
    conversation, wrong = bench.fresh(), {True: "", False: ""}
    for source, is_ours in code:
        found = _try(bench, partial(conversation.run, source))
        wrong[is_ours] = wrong[is_ours] or found
        if bench.conversation is None:
            break
    return wrong[True], wrong[False]


def _is_defined(function, bench):
    return bench.conversation is not None and not _try(bench, partial(bench.conversation.find, function))


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
        if reason == NO_MEMORY or reason.startswith(NOT_BY_US):  # other programs may have used it
            raise NotReady(reason) from error
        return f"running your code ended the process: {reason}"
    except OwnFault as error:
        raise NotReady(str(error)) from error
    except checks.CheckFailed as error:
        return str(error)
    except NotImplementedError:
        return "not written yet"
    except RemoteError as error:
        if type(error).__name__ == "CheckFailed":  # the part of a check that runs in the student's process
            return f"your code said: {error}"
        return f"the cell stopped with {type(error).__name__}: {short(error)}{error.where}"
    return ""
