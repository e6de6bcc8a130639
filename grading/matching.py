"""Finds the answers in the cells of a student's notebook, and says how it found them. Nothing is executed.

If something is not certain, a human decides. It is never counted as missing.
"""

import re
from dataclasses import dataclass

from grading.cells import Cell, Unreadable, read_cells
from grading.sources import CHECK_CALL, defines, helpers, is_answered, likeness, markers, squeeze, words
from grading.verdicts import HUMAN

__all__ = ["Cell", "Match", "Unreadable", "identify", "match", "read_cells"]

ALIKE, LEAD = 0.6, 0.15  # the least likeness of a match, and its least distance from the second best
# Most cells that may claim one answer, and most cells that are compared for likeness. With more cells, a human decides.
CLAIMS, COMPARISONS = 20, 200
LONG = 100_000  # characters; every cell in the handout is shorter


@dataclass(frozen=True)
class Match:
    """Where the answer to one question is."""

    source: str | None  # None: a human has to look
    how: str  # grade_id, cell id, marker, likeness, or needs a human
    cell_index: int | None  # position in the list of cells
    note: str = ""  # what a human should know, in words
    answered: bool = True  # False: found, but the student did not change it
    helpers: tuple[int, ...] = ()  # cells that the student added or changed, and that the answer may need


def identify(cells, name, manifest):
    """Find out which lesson a notebook is: from its cells if possible, otherwise from the file name.

    Args:
        cells: list that :func:`read_cells` returns.
        name: of the file.
        manifest: the dict that ``release`` wrote.

    Returns:
        tuple (lesson, how it was found, in words); None if neither cells nor name say it.
    """
    signs = {lesson: _signs_of_entry(entry) for lesson, entry in manifest["notebooks"].items()}
    common = {sign for lesson in signs for sign in signs[lesson] if sum(sign in other for other in signs.values()) > 1}
    seen = {sign for cell in cells for sign in _signs(cell.nbgrader, cell.id, cell.source)} - common
    hits = {lesson: len(seen & its) for lesson, its in signs.items()}
    named = [lesson for lesson in hits if re.search(rf"(?<![^\W_]){re.escape(lesson)}(?![^\W_])", name, re.IGNORECASE)]
    named = named[0] if len(named) == 1 else None
    best = max(hits.values(), default=0)
    leaders = [lesson for lesson in hits if hits[lesson] == best]
    if best == 0:
        return (named, "file name; nothing in the cells is known") if named else None
    # A student may paste some cells of another lesson, but not most of them.
    if named and hits[named] > best / 2:
        return named, "file name and cells"
    return (leaders[0], "cells; the file has another name") if len(leaders) == 1 else None


def match(cells, entry):
    """Find every answer of a lesson.

    Args:
        cells: list that :func:`read_cells` returns.
        entry: of the lesson in the manifest.

    Returns:
        dict grade_id of the answer → :class:`Match`, in the order of the questions.
    """
    return _Notebook(cells, entry).matches()


class _Notebook:
    """The cells of a student, and what is known about them during the matching."""

    def __init__(self, cells, entry):
        self.cells, self.questions = cells, entry["questions"]
        answers = {question["answer"]: question for question in self.questions}
        ids = {question["cell"]: question["answer"] for question in self.questions}
        given = {squeeze(cell["source"]) for cell in entry["cells"] if not (cell["nbgrader"] or {}).get("solution")}
        given.discard("")
        stubs = {squeeze(question["stub"]) for question in self.questions}
        # Ignore an unchanged cell of the handout that is not an answer cell, even if its tags claim an answer.
        self.free, self.added, self.claims = [], set(), {}
        for index, cell in enumerate(cells):
            text = squeeze(cell.source) if len(cell.source) < LONG else cell.source
            if text in given:
                continue
            self.free.append(index)
            tagged = cell.nbgrader.get("grade_id")
            signs = {"grade_id": {tagged}, "cell id": {ids.get(cell.id)}, "marker": markers(cell.source)}
            if tagged in answers:
                signs["cell id"] -= {ids.get(cell.id)} - {
                    tagged
                }  # two cells were exchanged: the grade_id decides, not the cell id
            for how, found in signs.items():
                for answer in found & answers.keys():
                    self.claims.setdefault((answer, how), []).append(index)
            if text and text not in stubs and not any(found & answers.keys() for found in signs.values()):
                self.added.add(index)
        everywhere = {name for cell in entry["cells"] for name in helpers(cell["source"])}
        self.helpers = {index: names for index in self.added if (names := helpers(cells[index].source) - everywhere)}

    def matches(self):
        found = {question["answer"]: self._firm(question) for question in self.questions}
        taken = {match.cell_index for match in found.values() if match}
        lost = [question for question in self.questions if found[question["answer"]] is None]
        return found | self._by_likeness(lost, [index for index in self.free if index not in taken])

    def _firm(self, question):
        """Match by the first sign that leads to an answer, else by the function's name. None without any sign."""
        weak = None
        for how in ("grade_id", "cell id", "marker"):
            claims = self._distinct(self.claims.get((question["answer"], how), []))
            if len(claims) > CLAIMS:
                return Match(None, HUMAN, None, f"{len(claims)} different cells claim this answer by their {how}")
            good = [index for index in claims if self._is_good(index, question)]
            if good:
                return self._one_of(good, how, question)
            weak = weak or (claims and (claims, how))
        if question["function"]:
            defining = self._distinct(i for i in self.free if defines(self.cells[i].source, question["function"]))
            good = [index for index in defining[:CLAIMS] if self._is_good(index, question)]
            if good:
                return self._one_of(
                    good,
                    "likeness",
                    question,
                    "found by the name of the function"
                    + ("; the answer's own cell has no such answer" if weak else ""),
                )
        if not weak:
            return None
        claims, how = weak
        answered = [index for index in claims if is_answered(self.cells[index].source, question)]
        beside = self.added & {claims[0] - 1, claims[0] + 1}
        if question["kind"] == "text" and beside and not answered:
            note = f"the answer's own cell is empty, but the student wrote cell {min(beside) + 1} beside it"
            return Match(None, HUMAN, min(beside), note)
        return self._one_of(answered or claims[:1], how, question)

    def _is_good(self, index, question):
        source = self.cells[index].source
        return (not question["function"] or defines(source, question["function"])) and is_answered(source, question)

    def _distinct(self, indices):
        """Of cells with equal source, only the first."""
        first = {}
        for index in indices:
            first.setdefault(self.cells[index].source.strip(), index)
        return list(first.values())

    def _one_of(self, claims, how, question, note=""):
        if len(claims) > 1:
            numbers = ", ".join(str(index + 1) for index in claims)
            return Match(None, HUMAN, None, f"cells {numbers} differ, and each claims this answer by its {how}")
        cell = self.cells[claims[0]]
        answered = is_answered(cell.source, question)
        notes = [note] if answered else ["not answered", note]
        if answered and question["function"] and not defines(cell.source, question["function"]):
            notes.append(f"does not define {question['function']}")
        if (cell.type == "code") != (question["kind"] == "code"):
            notes.append(f"the student turned the cell into {cell.type}")
        if question["kind"] == "code" and CHECK_CALL.search(cell.source):
            notes.append("the cell calls a check")
        if cell.language and "python" not in cell.language:
            notes.append(f"the notebook's kernel is not Python but {cell.language[:20]}")
        used = self._helpers(claims[0]) if question["kind"] == "code" else ()
        if used:
            notes.append(f"may need cell {', '.join(str(index + 1) for index in used)}, which is not taken")
        return Match(cell.source, how, claims[0], "; ".join(filter(None, notes)), answered, used)

    def _helpers(self, answer):
        """Cells that define names that the answer uses but does not define."""
        source = self.cells[answer].source
        names = words(source) - helpers(source)
        return tuple(sorted(index for index, its in self.helpers.items() if index != answer and names & its))[:CLAIMS]

    def _by_likeness(self, questions, candidates):
        """For answers without any sign: take the cell that begins most like the stub, if no other is close to it."""
        candidates = [index for index in candidates if index in self.added]
        lost = Match(None, HUMAN, None, "no cell could be matched with this answer")
        if len(candidates) > COMPARISONS:
            lost = Match(None, HUMAN, None, f"no cell has a sign of this answer, and {len(candidates)} are too many")
            candidates = []
        scores = {(q["answer"], i): likeness(self.cells[i].source, q) for q in questions for i in candidates}
        found = {}
        for question in questions:
            answer = question["answer"]
            index = max(candidates, key=lambda i: scores[answer, i], default=None)  # noqa: B023 (used at once)
            rivals = [score for (a, i), score in scores.items() if (a == answer) != (i == index)]
            score = scores.get((answer, index), 0)
            clear = score >= ALIKE and score - max(rivals, default=0) >= LEAD
            note = "found because it begins like the stub"
            found[answer] = self._one_of([index], "likeness", question, note) if clear else lost
        return found


def _signs(nbgrader, cell_id, source):
    """The signs of a cell, as pairs (kind, value)."""
    yield "grade_id", nbgrader.get("grade_id")
    yield "id", cell_id
    yield from (("marker", name) for name in markers(source))
    if len(source) < LONG:
        yield "source", squeeze(source)


def _signs_of_entry(entry):
    cells = [(cell["nbgrader"] or {}, cell["id"], cell["source"]) for cell in entry["cells"]]
    stubs = [({}, question["cell"], question["stub"]) for question in entry["questions"]]
    return {sign for cell in cells + stubs for sign in _signs(*cell) if sign[1]}
