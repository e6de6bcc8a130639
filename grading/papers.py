"""Reads what students sent as answers to the questions of a lesson. Nothing is judged or executed here."""

import itertools
from dataclasses import dataclass, replace
from functools import partial

from grading.matching import Unreadable, identify, match, read_cells
from grading.shown import judge_shown
from grading.verdicts import HUMAN, Answer

UNREADABLE, IGNORED = "unreadable", "not counted"


@dataclass(frozen=True)
class Paper:
    """One notebook of one student.

    Attributes:
        student, name: who sent it, under which file name.
        lesson: of the manifest; None if it is not known.
        answers: dict question → Answer; None if the notebook is not judged.
        status: why it is not judged: "unreadable", "needs a human" or "not counted". Otherwise "".
        problem: the reason for the status, in words.
        shown: what its outputs show (grading.shown); None if the outputs were not read.
    """

    student: str
    name: str
    lesson: str | None
    answers: dict | None
    status: str = ""
    problem: str = ""
    shown: dict | None = None


def read_papers(submissions, manifest, execute=True):
    """Read all notebooks, in the order of students and lessons.

    Args:
        submissions: iterable of grading.submissions.Submission. Their content is not kept in memory.
        manifest: the dict that ``release`` wrote.
        execute: False to judge by the outputs of the notebook.

    Returns:
        list of :class:`Paper`.
    """
    return settle([read_paper(submission, manifest, execute) for submission in submissions])


def read_paper(submission, manifest, execute=True):
    """Read one notebook. If something is wrong with it, its status says so."""
    paper = partial(Paper, submission.student, submission.name)
    named = submission.name if submission.name in manifest["notebooks"] else None
    if submission.problem:
        return paper(named, None, UNREADABLE, submission.problem)
    try:
        cells = read_cells(submission.content)
    except Unreadable as error:
        return paper(named, None, UNREADABLE, str(error))
    found = identify(cells, submission.name, manifest)
    if found is None:
        return paper(None, None, HUMAN, "this is none of the notebooks that were handed out")
    lesson, _ = found
    entry = manifest["notebooks"][lesson]
    matches = match(cells, entry)
    answers = {q: Answer(m.source, m.how, m.note, not m.answered, bool(m.helpers)) for q, m in matches.items()}
    return paper(lesson, answers, shown=None if execute else judge_shown(entry, answers, cells))


def settle(papers):
    """Choose which notebook counts if one student sent several for one lesson. If they differ, a human decides."""
    settled = []
    for _, group in itertools.groupby(sorted(papers, key=_order), key=lambda paper: _order(paper)[:2]):
        first, *others = group
        if first.lesson is not None and any(other.answers != first.answers for other in others):
            words = f"{len(others) + 1} different notebooks for {first.lesson}: which one counts?"
            settled += [replace(paper, answers=None, status=HUMAN, problem=words) for paper in (first, *others)]
        elif first.lesson is not None:
            words = f"the same answers as {first.name}"
            settled += [first, *(replace(p, answers=None, status=IGNORED, problem=words) for p in others)]
        else:
            settled += [first, *others]
    return settled


def _order(paper):
    return paper.student, paper.lesson or "", paper.name != paper.lesson, paper.name
