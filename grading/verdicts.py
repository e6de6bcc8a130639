"""Common types and words: what can be said of an answer or a notebook, and the first verdict before anything is run."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What is said of an answer, or of a notebook."""

    RIGHT = "right"
    PARTLY = "partly right"
    WRONG = "wrong"
    EMPTY = "not answered"
    BY_HAND = "to be marked by hand"
    HUMAN = "needs a human"
    MARKED = "marked by hand"
    DONE = "graded"
    MISSING = "not submitted"
    UNREADABLE = "unreadable"
    IGNORED = "not counted"


@dataclass(frozen=True)
class Answer:
    """A student's answer to one question.

    Attributes:
        source: of the answer cell; None if it was not found.
        how: the sign by which it was found: grade_id, cell id, name of the function, or needs a human.
        note: what a human should know about the matching.
        empty: True if nothing was answered.
        helpers: sources of other cells of the student that define names which the answer needs.
    """

    source: str | None
    how: str
    note: str = ""
    empty: bool = False
    helpers: tuple[str, ...] = ()


def first_verdict(question, answer):
    """Return (verdict before anything is run, whether it is final)."""
    verdict = {
        "question": question["answer"],
        "title": question.get("title") or question["answer"],
        "points": 0.0,
        "max_points": question["points"],
        "status": Status.EMPTY,
        "found": "",
        "matched": answer.how,
        "note": answer.note,
        "properties": [],
    }
    if answer.source is None:
        return verdict | {"status": Status.HUMAN, "found": answer.note}, True
    if question["kind"] == "text":
        by_hand = {"status": Status.BY_HAND, "points": None}
        return verdict | ({"found": "nothing was written"} if answer.empty else by_hand), True
    if answer.empty:
        return verdict | {"found": "not written yet"}, True
    return verdict, False


def short(text):
    """The text on one line, with at most 300 characters."""
    return " ".join(str(text)[:2000].split())[:300]
