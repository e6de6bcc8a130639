"""Common types and words for an answer: its statuses, its data, and the first verdict before anything is run."""

import re
from dataclasses import dataclass

RIGHT, PARTLY, WRONG, EMPTY = "right", "partly right", "wrong", "not answered"
BY_HAND, HUMAN = "to be marked by hand", "needs a human"


@dataclass(frozen=True)
class Answer:
    """A student's answer to one question.

    Attributes:
        source: of the answer cell; None if it was not found.
        how: the sign by which it was found, see :class:`grading.matching.Match`.
        note: what a human should know about the matching.
        empty: True if nothing was answered.
        helpers: True if other cells of the student define names that the answer may need.
    """

    source: str | None
    how: str
    note: str = ""
    empty: bool = False
    helpers: bool = False


def first_verdict(question, answer):
    """Return (verdict before anything is run, whether it is final)."""
    verdict = {
        "question": question["answer"],
        "points": 0.0,
        "max_points": question["points"],
        "status": EMPTY,
        "found": "",
        "matched": answer.how,
        "note": answer.note,
        "properties": [],
    }
    if answer.source is None:
        return verdict | {"status": HUMAN, "found": answer.note}, True
    if question["kind"] == "text":
        by_hand = {"status": BY_HAND, "points": None}
        return verdict | ({"found": "nothing was written"} if answer.empty else by_hand), True
    if answer.empty:
        return verdict | {"found": "not written yet"}, True
    return verdict, False


def short(text):
    """The text on one line, with at most 300 characters."""
    return re.sub(r"\s+", " ", str(text))[:300]
