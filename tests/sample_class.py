"""A class to try the grader with: ``python tests/sample_class.py FOLDER``.

It writes what you would hand out (``FOLDER/handout``) and what would come back (``FOLDER/submissions``). Twenty
invented students send the notebooks. Some answers are right, some have typical mistakes, some are empty, and some
attack the grader. :data:`STUDENTS` says how many points each student gets in lesson 2.
"""

import argparse
import json
import sys
from pathlib import Path

import nbformat

from grading.release import release
from labutils.support.files import write_atomically

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
WRONG = {
    "ex-1-2-all-inverses": "def all_inverses(y):\n    return [np.arcsin(y)]",
    "ex-2-1-alpha-bars": "def alpha_bars(betas):\n    return 1 - betas",
    "ex-2-2-add-noise": """def add_noise(x0, t, noise, alpha_bars):
    a = alpha_bars[t].reshape(-1, 1, 1, 1)
    return a * x0 + (1 - a) * noise""",
    "ex-5-1-reverse-step": """def reverse_step(schedule, xt, t, predicted_noise, noise):
    beta, bar = schedule.betas[t], schedule.alpha_bars[t]
    mean = np.sqrt(1 / schedule.alphas[t]) * (xt - beta / np.sqrt(1 - bar) * predicted_noise)
    return mean + np.sqrt(beta) * noise""",
    "ex-6-2-inpaint": "def inpaint(x0, known, mask):\n    return mask * x0 + (1 - mask) * known",
}
FIRST = "ex-2-1-alpha-bars"
RIGHT_FIRST = "def alpha_bars(betas):\n    return np.cumprod(1 - betas)"


def _attack(line):
    """An answer that does something else first."""
    return {FIRST: f"def alpha_bars(betas):\n    {line}\n    return np.cumprod(1 - betas)"}


LOOP = """def alpha_bars(b):
    kept, result = 1.0, []
    for beta in b:
        kept = kept * (1 - beta)
        result.append(kept)
    return result"""
CLAIM = "\nprint('All tests in `alpha_bars` passed!')"
# student → (answers that replace the right ones, damage to the notebooks, points in lesson 2)
STUDENTS = {
    "s01-ada": ({}, None, 8.0),
    "s02-björn": ({}, None, 8.0),
    "s03-chen": ({FIRST: RIGHT_FIRST}, None, 8.0),
    "s04-dora": ({FIRST: LOOP}, None, 8.0),
    "s05-emil": ({}, "strip the metadata", 8.0),
    "s06-fatima": ({}, "shuffle the cells", 8.0),
    "s07-goran": (PARTLY, None, 6.5),
    "s08-hana": (PARTLY | {FIRST: RIGHT_FIRST}, None, 6.5),
    "s09-ivan": (WRONG, None, 3.0),
    "s10-jo": (WRONG, None, 3.0),
    "s11-kim": ({FIRST: WRONG[FIRST]}, None, 6.0),
    "s12-lena": ({FIRST: RIGHT_FIRST[:-1]}, None, 6.0),
    "s13-mo": (None, None, 0.0),
    "s14-nils": ({FIRST: WRONG[FIRST]}, "edit the checks", 6.0),
    "s15-olga": (_attack("import os; os._exit(0)"), None, 6.0),
    "s16-pia": (_attack("while True: pass"), None, 6.0),
    "s17-quinn": (_attack("open('../s01-ada/02_forward_noising.ipynb')"), None, 6.0),
    "s18-rosa": (_attack("import urllib.request as u; u.urlopen('http://127.0.0.1:9')"), None, 6.0),
    "=cmd|'calc'!A1": ({FIRST: WRONG[FIRST] + CLAIM}, None, 6.0),
    "s20-tom": ({}, "cut the file", 0.0),
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
        changes, damage, _ = STUDENTS[name]
        for lesson, entry in manifest["notebooks"].items():
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
    if damage == "strip the metadata":
        for cell in notebook.cells:
            cell.metadata = {}
    elif damage == "shuffle the cells":
        notebook.cells = notebook.cells[::-1]
    elif damage == "edit the checks":
        for cell in notebook.cells:
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
