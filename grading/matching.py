"""Finds the answers in the cells of a student's notebook, and says how; executes nothing.

What cannot be told for sure is left to a human, never counted as missing.
"""

import re
from dataclasses import dataclass

from grading.answers import CHECK_CALL, defines, helpers, is_answered, likeness, markers, squeeze, words
from grading.cells import Cell, Unreadable, read_cells

__all__ = ["Cell", "Match", "Unreadable", "identify", "match", "read_cells"]

HUMAN = "needs a human"
ALIKE, LEAD = 0.6, 0.15  # likeness that is enough, and by how much it must beat the second best
# Cells that may claim one answer, and cells that are compared for likeness. Who sends more is read by a human.
CLAIMS, COMPARISONS = 20, 200
LONG = 100_000  # characters; no cell that is handed out is so long


@dataclass(frozen=True)
class Match:
    """Where the answer to one question is."""

    source: str | None  # None: a human has to look
    how: str  # grade_id, cell id, marker, likeness, or needs a human
    cell_index: int | None  # position in the list of cells
    note: str = ""  # what a human should know, in words
    answered: bool = True  # False: found, but still as it was handed out
    helpers: tuple[int, ...] = ()  # cells that the student added or changed, and that define what the answer may use


def identify(cells, name, manifest):
    """Which lesson a notebook is: told by the cells where they tell, otherwise by the name of the file.

    Args:
        cells: as :func:`read_cells` gives them.
        name: of the file.
        manifest: as ``release`` writes it.

    Returns:
        the lesson and how it was known, in words; None if neither tells.
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
    # Some cells of another lesson may have been pasted; most of them were not.
    if named and hits[named] > best / 2:
        return named, "file name and cells"
    return (leaders[0], "cells; the file has another name") if len(leaders) == 1 else None


def match(cells, entry):
    """Find every answer of a lesson.

    Args:
        cells: as :func:`read_cells` gives them.
        entry: of the lesson in the manifest.

    Returns:
        dict grade_id of the answer → :class:`Match`, in the order of the questions.
    """
    return _Notebook(cells, entry).matches()


class _Notebook:
    """What is known of a student's cells while they are matched."""

    def __init__(self, cells, entry):
        self.cells, self.questions = cells, entry["questions"]
        answers = {question["answer"]: question for question in self.questions}
        ids = {question["cell"]: question["answer"] for question in self.questions}
        given = {squeeze(cell["source"]) for cell in entry["cells"] if not (cell["nbgrader"] or {}).get("solution")}
        given.discard("")
        stubs = {squeeze(question["stub"]) for question in self.questions}
        # From cells that are as they were handed out, but no answers, nothing is taken, whatever they are tagged as.
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
                }  # two cells exchanged their contents: one sign decides
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
        """By the first sign that leads to an answer, else by the function's name; None if there is no sign at all."""
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
                return self._one_of(good, "likeness", question, "found by the name of the function" + (
                    "; the answer's own cell has no such answer" if weak else ""))  # fmt: skip
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
        """The first cell of each source."""
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
        """Cells that define what an answer uses and does not define itself."""
        source = self.cells[answer].source
        names = words(source) - helpers(source)
        return tuple(sorted(index for index, its in self.helpers.items() if index != answer and names & its))[:CLAIMS]

    def _by_likeness(self, questions, candidates):
        """For answers without any sign: the cell that begins most like the stub, if it is clearly the only one."""
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
    """By what a cell of a lesson is known, as pairs of kind and value."""
    yield "grade_id", nbgrader.get("grade_id")
    yield "id", cell_id
    yield from (("marker", name) for name in markers(source))
    if len(source) < LONG:
        yield "source", squeeze(source)


def _signs_of_entry(entry):
    cells = [(cell["nbgrader"] or {}, cell["id"], cell["source"]) for cell in entry["cells"]]
    stubs = [({}, question["cell"], question["stub"]) for question in entry["questions"]]
    return {sign for cell in cells + stubs for sign in _signs(*cell) if sign[1]}
