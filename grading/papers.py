"""Reads what students sent as answers to the questions of a lesson. Nothing is judged or executed here."""

import itertools
from dataclasses import dataclass, replace
from functools import partial

from grading.cells import Unreadable, read_cells
from grading.matching import identify, match
from grading.shown import judge_shown
from grading.verdicts import Status


@dataclass(frozen=True)
class Paper:
    """One notebook of one student.

    Attributes:
        student, name: who sent it, under which file name.
        lesson: of the manifest; None if it is not known.
        answers: dict question → Answer; None if the notebook is not judged.
        status: "unreadable", "needs a human" or "not counted" if something is wrong with the notebook. Otherwise "".
        problem: the reason for the status, in words.
        shown: what its outputs show (grading.shown); None if the outputs were not read.
        remark: how the file was read, in words; empty if in the ordinary way.
        beside: names of the student's files that are no notebooks.
    """

    student: str
    name: str
    lesson: str | None
    answers: dict | None
    status: str = ""
    problem: str = ""
    shown: dict | None = None
    remark: str = ""
    beside: tuple[str, ...] = ()


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
    paper = partial(Paper, submission.student, submission.name, remark=submission.remark, beside=submission.beside)
    named = submission.name if submission.name in manifest["notebooks"] else None
    if submission.problem:
        return paper(named, None, Status.UNREADABLE, submission.problem)
    try:
        cells = read_cells(submission.content, outputs=not execute)
        lesson, doubt = identify(cells, submission.name, manifest)
        if lesson is None:
            return paper(None, None, Status.HUMAN, doubt)
        entry = manifest["notebooks"][lesson]
        answers = match(cells, entry)
    except Unreadable as error:
        return paper(named, None, Status.UNREADABLE, str(error))
    shown = None if execute else judge_shown(entry, answers, cells)
    return paper(lesson, answers, Status.HUMAN if doubt else "", doubt, shown)


def settle(papers):
    """Choose which notebook counts if one student sent several for one lesson. If they differ, a human decides."""
    settled = []
    for (_, lesson), group in itertools.groupby(sorted(papers, key=_order), key=lambda paper: _order(paper)[:2]):
        first, *others = group
        if not lesson or not others:
            settled += [first, *others]
        elif all(other.answers == first.answers for other in others):
            problem = f"the same answers as {first.name}"
            settled += [first, *(_unused(other, Status.IGNORED, problem) for other in others)]
        else:
            problem = f"{len(others) + 1} different notebooks for {lesson}: which one counts?"
            settled += [_unused(paper, Status.HUMAN, problem) for paper in (first, *others)]
    return settled


def _unused(paper, status, problem):
    return replace(paper, answers=None, shown=None, status=status, problem=problem)


def _order(paper):
    return paper.student, paper.lesson or "", paper.name != paper.lesson, paper.name
