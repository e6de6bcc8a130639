"""Judges the answers of one notebook: runs them in the student's process, and asks labutils.checks about them here.

The instructor's cells come from the manifest, the answers from the student. A question whose answer ends the process,
or takes too long, is lost. After an answer that is not right the next question gets a new process.
"""

import ast
import re
import threading
from dataclasses import dataclass

import numpy as np

from grading.answers import PARSED
from grading.asking import Conversation, Ended
from grading.context import needed
from grading.matching import HUMAN
from labutils import checks

RIGHT, PARTLY, WRONG, EMPTY, BY_HAND = "right", "partly right", "wrong", "not answered", "to be marked by hand"
SIZE = 'PRESET, DATASET = "smoke", "digits"'  # run after the cell of parameters


@dataclass(frozen=True)
class Answer:
    """What a student gave to one question.

    Attributes:
        source: of the answer cell; None if it was not found.
        how: by what it was found.
        note: what a human should know about that.
        empty: nothing was answered.
        helpers: other cells of the student's define names that the answer may need.
    """

    source: str | None
    how: str
    note: str = ""
    empty: bool = False
    helpers: bool = False


class Bench:
    """The student's process with the cells that were run in it; a new one after the old one has ended.

    Args:
        start: function that starts a confined process (grading.sandbox).
        seconds: for the cells and calls of one question.
    """

    def __init__(self, start, seconds):
        self.start, self.seconds = start, seconds
        self.process = self.conversation = None
        self.ran = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """End the process, if there is one."""
        if self.process is not None:
            self.process.close()
        self.process = self.conversation = None
        self.ran = []

    def attempt(self, sources, work):
        """Run cells that have not been run yet, then ``work(conversation)``.

        Raises:
            Ended: the process ended, or time was up; says why.
            Exception: what a cell or the work raised.
        """
        late = threading.Event()

        def give_up():
            late.set()
            self.process.kill()

        if self.process is None:
            self.process = self.start()
        timer = threading.Timer(self.seconds, give_up)
        timer.start()
        try:
            if self.conversation is None:
                self.conversation = Conversation(self.process)
            for source in sources:
                if source not in self.ran:
                    self.conversation.run(source)
                    self.ran.append(source)
            return work(self.conversation)
        except Ended as error:
            reason = f"time limit of {self.seconds:g} s" if late.is_set() else self.process.wait(5) or str(error)
            self.stop()
            raise Ended(reason) from error
        finally:
            timer.cancel()


def judge(entry, answers, start, seeds=(0,), seconds=60):
    """The verdicts on all questions of a notebook.

    Args:
        entry: of the manifest, ``manifest["notebooks"][lesson]``.
        answers: dict question's ``answer`` → :class:`Answer`.
        start: function that starts a confined process.
        seeds: of the inputs; a property must hold for all of them.
        seconds: wall time for one question.

    Returns:
        list of dicts, one for each question in order: ``question``, ``points``, ``max_points``, ``status``, ``found``
        (a sentence), ``matched``, ``note``, and ``properties``, a list of dicts ``text``, ``holds``, ``found``.
    """
    cells = entry["cells"]
    sources = [_runnable(cell, answers) for cell in cells]
    verdicts = []
    with Bench(start, seconds) as bench:
        for question in entry["questions"]:
            answer = answers[question["answer"]]
            position = next(i for i, cell in enumerate(cells) if cell["id"] == question["cell"])
            verdicts.append(_judge_one(question, answer, cells, sources, position, bench, seeds))
            if verdicts[-1]["status"] in (PARTLY, WRONG):
                bench.stop()  # who knows what it left behind: processes, a changed NumPy, replies without a question
    return verdicts


def _runnable(cell, answers):
    """The code that stands for a cell; None where nothing is to be run."""
    meta = cell["nbgrader"] or {}
    if cell["type"] != "code" or (meta.get("grade") and not meta.get("solution")):
        return None
    if meta.get("solution"):
        answer = answers.get(meta["grade_id"])
        usable = answer is not None and not answer.empty and len(answer.source or "") <= PARSED
        return answer.source if usable else None
    return f"{cell['source']}\n{SIZE}" if "parameters" in cell["tags"] else cell["source"]


def _judge_one(question, answer, cells, sources, position, bench, seeds):
    verdict = {
        "question": question["answer"], "points": 0.0, "max_points": question["points"], "status": EMPTY, "found": "",
        "matched": answer.how, "note": answer.note, "properties": [],
    }  # fmt: skip
    if answer.source is None:
        return verdict | {"status": HUMAN, "found": answer.note}
    if question["kind"] == "text":
        return verdict | ({"found": "nothing was written"} if answer.empty else {"status": BY_HAND, "points": None})
    if answer.empty:
        return verdict | {"found": "not written yet"}
    if len(answer.source) > PARSED:
        return verdict | {"status": HUMAN, "found": f"longer than {PARSED:,} characters"}
    check, function = _check_of(question, cells)
    before = [sources[i] for i in needed(sources, position)]
    properties, ended = [], ""
    for each in check.properties:
        try:
            found = ended or _try(bench, before, answer.source, function, each, seeds)
        except Ended as error:
            found = ended = f"running your code ended the process: {error}"
        properties.append({"text": each.text, "holds": not found, "found": found})
    holding = sum(each["holds"] for each in properties)
    if not holding and answer.helpers and any("NameError" in each["found"] for each in properties):
        return verdict | {"status": HUMAN, "found": "it uses a name from a cell of the student's own"}
    status = RIGHT if holding == len(properties) else PARTLY if holding else WRONG
    return verdict | {
        "points": round(question["points"] * holding / len(properties), 2),
        "status": status,
        "found": next((each["found"] for each in properties if each["found"]), ""),
        "properties": properties,
    }


def _check_of(question, cells):
    """(check, name of the function) of the manifest's check cell, ``checks.check_NAME(function)``."""
    (source,) = (c["source"] for c in cells if (c["nbgrader"] or {}).get("grade_id") == question["check"])
    call = ast.parse(source).body[0].value
    return getattr(checks, call.func.attr), call.args[0].id


def _try(bench, before, source, function, each, seeds):
    """What is wrong, as a sentence; "" if the property holds.

    Raises:
        Ended: by :meth:`Bench.attempt`.
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
    except Exception as error:  # of the cell itself, under the name it had there
        return f"the cell stopped with {type(error).__name__}: {_short(error)}"
    return ""


def _short(error):
    return re.sub(r"\s+", " ", str(error))[:300]
