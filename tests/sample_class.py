"""A class to try the grader with: ``python tests/sample_class.py FOLDER``.

It writes what you would hand out (``FOLDER/handout``) and what would come back (``FOLDER/submissions``).
:data:`STUDENTS` says what each student sends, and how many points it gets in lesson 2.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat

from grading.release import release
from labutils.support.files import write_atomically

FIRST = "ex-2-1-alpha-bars"
WRONG = {FIRST: "def alpha_bars(betas):\n    return 1 - betas\nprint('All tests in `alpha_bars` passed!')"}
PARTLY = {  # answers in which one property fails
    "ex-2-3-posterior-variances": """def posterior_variances(betas):
    bars = np.cumprod(1 - betas)
    result = betas * (1 - np.append(1, bars[:-1])) / (1 - bars)
    result[0] = betas[0]
    return result""",
    "ex-5-2-sampling-loop": """def sampling_loop(network, schedule, x, rng):
    for t in range(schedule.T - 1, -1, -1):
        time = np.full((len(x), 1), t / schedule.T, dtype="float32")
        x = sampling.reverse_step(schedule, x, t, network([x, time]), np.zeros(x.shape, dtype="float32"))
    return x""",
}
EXIT = {"ex-2-2-add-noise": "def add_noise(x0, t, noise, alpha_bars):\n    import os\n    os._exit(3)"}


class Student(NamedTuple):
    """What a student sends, and how many points that is worth in lesson 2."""

    lessons: str  # the first two figures of their names, or "all"
    changes: dict | None  # answers that replace the lab's own ones; None: no exercise is solved
    damage: str | None
    points: float


STUDENTS = {
    "s1-ada": Student("all", {}, None, 10.0),
    "s2-göran": Student("02 05", WRONG | PARTLY, None, 8.0),
    "s3-mo": Student("02 06", None, None, 0.0),
    "s4-olga": Student("02", EXIT, None, 7.0),
    "=cmd|'calc'!A1": Student("02", WRONG, "strip, shuffle, edit the checks", 9.0),
    "s6-tom": Student("02", {}, "cut the file", 0.0),
}


def sample_class(manifest, student, out, names=tuple(STUDENTS)):
    """Write ``out/STUDENT/LESSON.ipynb``.

    Args:
        manifest: the dict that ``release`` wrote.
        student: folder of the student notebooks that ``release`` wrote.
        out: folder to write to.
        names: of the students; default: all.
    """
    for name in names:
        lessons, changes, damage, _ = STUDENTS[name]
        for lesson, entry in manifest["notebooks"].items():
            if lessons != "all" and lesson[:2] not in lessons.split():
                continue
            notebook = nbformat.read(Path(student, f"{lesson}.ipynb"), as_version=4)
            if changes is not None:
                fill(notebook, entry, changes)
            text = nbformat.writes(_damaged(notebook, damage))
            text = text[: len(text) // 2] if damage == "cut the file" else text
            target = Path(out, name, f"{lesson}.ipynb")
            write_atomically(target, lambda path, text=text: path.write_text(text, encoding="utf-8"))


def fill(notebook, entry, changes):
    """Answer all questions of a student's notebook, in place.

    Args:
        notebook: student notebook without solutions; it is changed.
        entry: of its lesson in the manifest.
        changes: dict grade_id → code that replaces the right answer.
    """
    solutions = {cell["id"]: cell["source"] for cell in entry["cells"]}
    for question in entry["questions"]:
        (cell,) = (cell for cell in notebook.cells if cell.id == question["cell"])
        if question["kind"] == "text":
            cell.source = f"{question['marker']}\nAn answer in my own words about {question['answer']}."
        else:
            source = changes.get(question["answer"], solutions[question["cell"]])
            cell.source = f"{question['marker']}\n{source}"


def _damaged(notebook, damage):
    if damage and damage.startswith("strip"):
        notebook.cells = notebook.cells[::-1]
        for cell in notebook.cells:
            cell.metadata = {}
            if cell.source.startswith("checks.check_"):
                cell.source = "print('All tests passed!')"
    return notebook


def main():
    """Write handout and class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder to write to")
    folder = Path(parser.parse_args().folder)
    release(out=folder / "handout")
    manifest = json.loads((folder / "handout" / "manifest.json").read_text(encoding="utf-8"))
    sample_class(manifest, folder / "handout" / "student", folder / "submissions")
    print(f"wrote {len(STUDENTS)} students to {folder / 'submissions'}")


if __name__ == "__main__":
    sys.exit(main())
