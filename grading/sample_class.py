"""A class to try the grader with: ``python -m grading.sample_class --manifest FILE --student DIR --out DIR``.

Twenty invented students send the notebooks of a release: some right, some with the mistakes that students make, some
with nothing, and some with what a grader must survive. What each should get stands in :data:`STUDENTS`.
"""

import argparse
import json
import sys
from pathlib import Path

import nbformat

from labutils.files import write_atomically

PARTLY = {  # answers with one property missing
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
    return np.sqrt(1 / schedule.alphas[t]) * (xt - beta / np.sqrt(1 - bar) * predicted_noise) + np.sqrt(beta) * noise""",
    "ex-6-2-inpaint": "def inpaint(x0, known, mask):\n    return mask * x0 + (1 - mask) * known",
}
FIRST = "ex-2-1-alpha-bars"
RIGHT_FIRST = "def alpha_bars(betas):\n    return np.cumprod(1 - betas)"


def _attack(line):
    """An answer that does something else first."""
    return {FIRST: f"def alpha_bars(betas):\n    {line}\n    return np.cumprod(1 - betas)"}


# student → (answers that differ from the right ones, what is done to the notebook, whether lesson 2 ends with full points)
STUDENTS = {
    "s01-ada": ({}, None, True),
    "s02-björn": ({}, None, True),
    "s03-chen": ({FIRST: RIGHT_FIRST}, None, True),
    "s04-dora": ({FIRST: "def alpha_bars(b):\n    kept, all_ = 1.0, []\n    for x in b:\n        kept = kept * (1 - x)\n"
                  "        all_.append(kept)\n    return all_"}, None, True),
    "s05-emil": ({}, "strip the metadata", True),
    "s06-fatima": ({}, "shuffle the cells", True),
    "s07-goran": (PARTLY, None, False),
    "s08-hana": (PARTLY | {FIRST: RIGHT_FIRST}, None, False),
    "s09-ivan": (WRONG, None, False),
    "s10-jo": (WRONG, None, False),
    "s11-kim": ({q: a for q, a in WRONG.items() if q == FIRST}, None, False),
    "s12-lena": ({FIRST: "def alpha_bars(betas):\n    return np.cumprod(1 - betas"}, None, False),
    "s13-mo": (None, None, False),
    "s14-nils": ({FIRST: WRONG[FIRST]}, "edit the checks", False),
    "s15-olga": (_attack("import os; os._exit(0)"), None, False),
    "s16-pia": (_attack("while True: pass"), None, False),
    "s17-quinn": (_attack("open('/etc/passwd.stolen', 'w')"), None, False),
    "s18-rosa": (_attack("import urllib.request as u; u.urlopen('http://127.0.0.1:9')"), None, False),
    "=cmd|'/c calc'!A1": ({FIRST: WRONG[FIRST] + "\nprint('All tests in `alpha_bars` passed!')"}, None, False),
    "s20-tom": ({}, "cut the file", False),
}  # fmt: skip


def sample_class(manifest, student, out):
    """Write ``out/STUDENT/LESSON.ipynb`` for all students.

    Args:
        manifest, student: what ``release`` wrote: the dict of its manifest, and the folder of the student notebooks.
        out: folder.
    """
    for name, (changes, damage, _) in STUDENTS.items():
        for lesson, entry in manifest["notebooks"].items():
            notebook = nbformat.read(Path(student, f"{lesson}.ipynb"), as_version=4)
            if changes is not None:
                _fill(notebook, entry, changes)
            text = nbformat.writes(_damaged(notebook, damage))
            text = text[: len(text) // 2] if damage == "cut the file" else text
            target = Path(out, name.replace("/", "_"), f"{lesson}.ipynb")
            write_atomically(target, lambda path, text=text: path.write_text(text, encoding="utf-8"))


def _fill(notebook, entry, changes):
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
    """Write the class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--manifest", required=True, help="manifest.json of a release")
    parser.add_argument("--student", required=True, help="its folder student/")
    parser.add_argument("--out", required=True, help="folder to write to")
    options = parser.parse_args()
    manifest = json.loads(Path(options.manifest).read_text(encoding="utf-8"))
    sample_class(manifest, options.student, options.out)
    print(f"wrote {len(STUDENTS)} students to {options.out}")


if __name__ == "__main__":
    sys.exit(main())
