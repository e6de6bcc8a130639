"""What grading a class costs.

``python -m benchmarks.grading [--minutes M]`` hands out all lessons but the optional one and invents a class. Six
students in ten have everything right, two miss a property here and there, one has the usual mistakes and one sent
nothing; no two have the same text. It grades one student, and ten with one process and with two, by
``python -m grading grade``. ``results/grading.json`` keeps seconds and peak memory of the command itself. Each row is
saved as soon as it is measured: you may stop the program and start it again. To measure everything again, delete the
file.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from benchmarks import report
from grading import sandbox
from grading.release import release
from tests import sample_class

SMALL = 10
PLAN = [{"students": 1, "jobs": 1}, {"students": SMALL, "jobs": 1}, {"students": SMALL, "jobs": 2}]
KINDS = [{}] * 6 + [sample_class.PARTLY] * 2 + [sample_class.WRONG, None]
# Runs the command and prints its peak memory, without that of its child processes.
COMMAND = """import resource, sys
from grading.__main__ import main
code = main(sys.argv[1:])
print("peak_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)"""


def make_class(handout, folder, count):
    """Write ``folder/STUDENT/LESSON.ipynb``; every code answer ends in a comment of the student's own."""
    manifest = json.loads((handout / "manifest.json").read_text(encoding="utf-8"))
    for number in range(count):
        student, changes = f"s{number:04}", KINDS[number % len(KINDS)]
        for lesson, entry in manifest["notebooks"].items():
            notebook = nbformat.read(handout / "student" / f"{lesson}.ipynb", as_version=4)
            if changes is not None:
                sample_class.fill(notebook, entry, changes)
                for question in entry["questions"]:
                    (cell,) = (cell for cell in notebook.cells if cell.id == question["cell"])
                    cell.source += f"\n# {student}" if question["kind"] == "code" else f" {student}"
            (folder / student).mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, folder / student / f"{lesson}.ipynb")


def grade(handout, students, jobs, folder):
    """Grade a class from the start; returns a dict of what it cost."""
    line = [sys.executable, "-c", COMMAND, "grade", str(students), "--manifest", str(handout / "manifest.json")]
    started = time.perf_counter()
    done = subprocess.run(
        [*line, "--out", tempfile.mkdtemp(dir=folder), "--jobs", str(jobs)], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    return {"seconds": round(seconds, 1), "peak_mb": round(int(done.stdout.split()[-1]) / 1024)}


def rows():
    """The result file."""
    return report.Rows("grading", PLAN, {**report.about(timing=True), "sandbox": sandbox.choose(sandbox.REQUIRED)})


def fill(file, budget):
    """Measure the missing rows."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        handout = folder / "handout"
        release([str(lesson) for lesson in range(1, 7)], handout, say=lambda line: None)
        for item in file.missing():
            budget.check()
            students = Path(tempfile.mkdtemp(dir=folder))
            make_class(handout, students, item["students"])
            file.add(item, grade(handout, students, item["jobs"], folder))


def two_against_one(rows):
    """How many times faster two processes grade the class than one."""
    seconds = {row["jobs"]: row["seconds"] for row in rows if row["students"] == SMALL}
    return seconds[1] / seconds[2]


def table(results):
    """The cost as a Markdown table."""
    ratio = two_against_one(results["rows"])
    lines = [
        "| students, six lessons each | processes | time | peak memory of the command |",
        "| --- | --- | --- | --- |",
    ]
    for row in results["rows"]:
        lines.append(f"| {row['students']} | {row['jobs']} | {row['seconds']:,.0f} s | {row['peak_mb']:,} MB |")
    return "\n".join([*lines, "", f"Two processes against one: {ratio:.2f}×. Sandbox: {results['sandbox']}."])


def main():
    """Measure what is missing, and quote."""
    options = report.arguments(__doc__).parse_args()
    file = rows()
    if file.missing():
        fill(file, report.Budget(options.minutes))
    report.quote("grading", table(file.finish()))


if __name__ == "__main__":
    main()
