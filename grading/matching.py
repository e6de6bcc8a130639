"""Finds the answers in the cells of a student's notebook, and says how it found them. Nothing is executed.

An answer is found by its grade_id, else by its cell id, else by the name of its function. If that is not certain, a
human decides. It is never counted as missing.
"""

import re
import time
from dataclasses import dataclass

from grading.sources import bindings, is_answered, squeeze, words
from grading.verdicts import Status

CLAIMS = 20  # most cells that may claim one answer
LONG = 100_000  # characters; every cell in the handout is shorter
SECONDS = 60  # for one notebook; an honest one takes a part of a second
SIGNS = GRADE_ID, CELL_ID, NAME = "grade_id", "cell id", "name of the function"


class TooSlow(Exception):
    """The notebook takes too much time."""


@dataclass(frozen=True)
class Match:
    """Where the answer to one question is."""

    source: str | None  # None: a human has to look
    how: str  # one of SIGNS, or needs a human
    cell_index: int | None  # position in the list of cells
    note: str = ""  # what a human should know, in words
    answered: bool = True  # False: found, but the student did not change it
    helpers: tuple[int, ...] = ()  # cells that the student added or changed, and that the answer may need


def identify(cells, name, manifest):
    """Find out which lesson a notebook is: from its cells if possible, otherwise from the file name.

    Args:
        cells: list that :func:`grading.cells.read_cells` returns.
        name: of the file.
        manifest: the dict that ``release`` wrote.

    Returns:
        tuple (lesson or None, what a human should decide, in words, or "").
    """
    signs = {lesson: _signs_of_entry(entry) for lesson, entry in manifest["notebooks"].items()}
    common = {sign for lesson in signs for sign in signs[lesson] if sum(sign in other for other in signs.values()) > 1}
    seen = {sign for cell in cells for sign in _signs(cell.nbgrader, cell.id, cell.source)} - common
    hits = {lesson: len(seen & its) for lesson, its in signs.items()}
    named = [lesson for lesson in hits if re.search(rf"(?<![^\W_]){re.escape(lesson)}(?![^\W_])", name, re.IGNORECASE)]
    named = named[0] if len(named) == 1 else None
    best = max(hits.values(), default=0)
    leaders = [lesson for lesson in hits if hits[lesson] == best]
    # A student may paste some cells of another lesson, but not most of them.
    if named and hits[named] > best / 2:
        return named, ""
    if best == 0 or len(leaders) > 1:
        return None, "this is none of the notebooks that were handed out"
    if named:
        return leaders[0], f"its cells are those of {leaders[0]}, but its name is that of {named}"
    return leaders[0], ""


def match(cells, entry):
    """Find every answer of a lesson.

    Args:
        cells: list that :func:`grading.cells.read_cells` returns.
        entry: of the lesson in the manifest.

    Returns:
        dict grade_id of the answer → :class:`Match`, in the order of the questions.

    Raises:
        TooSlow: it takes more than SECONDS.
    """
    return _Notebook(cells, entry).matches()


class _Notebook:
    """The cells of a student, and what is known about them during the matching."""

    def __init__(self, cells, entry):
        self.cells, self.questions, self.end = cells, entry["questions"], time.monotonic() + SECONDS
        answers = {question["answer"] for question in self.questions}
        ids = {question["cell"]: question["answer"] for question in self.questions}
        given = {squeeze(cell["source"]) for cell in entry["cells"] if not (cell["nbgrader"] or {}).get("solution")}
        given.discard("")
        stubs = {squeeze(question["stub"]) for question in self.questions}
        everywhere = {name for cell in entry["cells"] for name in bindings(cell["source"])}
        # Ignore an unchanged cell of the handout that is not an answer cell, even if its tags claim an answer.
        self.claims, self.added, self.bound = {}, set(), {}
        for index, cell in enumerate(cells):
            self._in_time()
            text = squeeze(cell.source) if len(cell.source) < LONG else cell.source
            if text in given:
                continue
            self.bound[index] = bindings(cell.source)
            tagged = cell.nbgrader.get("grade_id")
            # If two cells were exchanged, the grade_id decides, not the cell id.
            signs = {GRADE_ID: tagged, CELL_ID: None if tagged in answers else ids.get(cell.id)}
            for how, answer in signs.items():
                if answer in answers:
                    self.claims.setdefault((answer, how), []).append(index)
            if text and text not in stubs and not answers & set(signs.values()):
                self.added.add(index)
        self.helpers = {index: names for index in self.added if (names := self.bound[index] - everywhere)}

    def matches(self):
        return {question["answer"]: self._find(question) for question in self.questions}

    def _in_time(self):
        if time.monotonic() > self.end:
            raise TooSlow(f"to find the answers takes more than {SECONDS} s")

    def _find(self, question):
        """Match by the first sign that leads to an answer; without one, by the first sign."""
        weak = None
        for how in SIGNS:
            if how == NAME:
                named = question["function"]
                claims = self._distinct(index for index, names in self.bound.items() if named and named in names)
            else:
                claims = self._distinct(self.claims.get((question["answer"], how), []))
            if len(claims) > CLAIMS:
                return Match(
                    None, Status.HUMAN, None, f"{len(claims)} different cells claim this answer by their {how}"
                )
            good = [index for index in claims if self._is_good(index, question)]
            if good:
                note = "the answer's own cell has no such answer" if how == NAME and weak else ""
                return self._one_of(good, how, question, note)
            weak = weak or (claims and (claims, how))
        if not weak:
            return Match(None, Status.HUMAN, None, "no cell could be matched with this answer")
        claims, how = weak
        answered = [index for index in claims if is_answered(self.cells[index].source, question)]
        beside = self.added & {claims[0] - 1, claims[0] + 1}
        if question["kind"] == "text" and beside and not answered:
            note = f"the answer's own cell is empty, but the student wrote cell {min(beside) + 1} beside it"
            return Match(None, Status.HUMAN, min(beside), note)
        return self._one_of(answered or claims[:1], how, question)

    def _is_good(self, index, question):
        self._in_time()
        named = not question["function"] or question["function"] in self.bound[index]
        return named and is_answered(self.cells[index].source, question)

    def _distinct(self, indices):
        """Of cells with equal source, only the first."""
        first = {}
        for index in indices:
            first.setdefault(self.cells[index].source.strip(), index)
        return list(first.values())

    def _one_of(self, claims, how, question, note=""):
        if len(claims) > 1:
            numbers = ", ".join(str(index + 1) for index in claims)
            return Match(None, Status.HUMAN, None, f"cells {numbers} differ, and each claims this answer by its {how}")
        cell = self.cells[claims[0]]
        if len(cell.source) > LONG:
            return Match(None, Status.HUMAN, claims[0], f"cell {claims[0] + 1} has more than {LONG:,} characters")
        answered = is_answered(cell.source, question)
        notes = [note] if answered else ["not answered", note]
        if answered and question["function"] and question["function"] not in self.bound[claims[0]]:
            notes.append(f"does not define {question['function']}")
        if (cell.type == "code") != (question["kind"] == "code"):
            notes.append(f"the student turned the cell into {cell.type}")
        if cell.language and "python" not in cell.language:
            notes.append(f"the notebook's kernel is not Python but {cell.language[:20]}")
        used = self._helpers(claims[0]) if question["kind"] == "code" else ()
        if used:
            notes.append(f"may need cell {', '.join(str(index + 1) for index in used)}, which is not taken")
        return Match(cell.source, how, claims[0], "; ".join(filter(None, notes)), answered, used)

    def _helpers(self, answer):
        """Cells that define names that the answer uses but does not define."""
        names = words(self.cells[answer].source) - self.bound[answer]
        return tuple(sorted(index for index, its in self.helpers.items() if index != answer and names & its))[:CLAIMS]


def _signs(nbgrader, cell_id, source):
    """The signs of a cell, as pairs (kind, value)."""
    yield "grade_id", nbgrader.get("grade_id")
    yield "id", cell_id
    if len(source) < LONG:
        yield "source", squeeze(source)


def _signs_of_entry(entry):
    cells = [(cell["nbgrader"] or {}, cell["id"], cell["source"]) for cell in entry["cells"]]
    stubs = [({}, question["cell"], question["stub"]) for question in entry["questions"]]
    return {sign for cell in cells + stubs for sign in _signs(*cell) if sign[1]}
