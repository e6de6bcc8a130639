"""A department's nbgrader takes the lab's notebooks, from handing out to a table; skipped where it is not installed."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from sample_class import WRONG, fill

from grading.release import check_no_traces, read_notebook, release
from labutils._support import lessons

pytest.importorskip("nbgrader", reason="this needs nbgrader: pip install -r requirements-nbgrader.txt")
from nbgrader.api import Gradebook  # noqa: E402

TIMEOUT = "c.Execute.timeout = 600  # seconds for a cell\n"
KEEP_STUBS = "c.ClearSolutions.enabled = False  # there are no solutions; it would clear the stubs\n"
# where the notebooks come from → (configuration of the course, lesson that is sent, student → (answers, points))
ROUTES = {
    "instructor": (TIMEOUT, "02_forward_noising", {"right": ({}, 8), "wrong": (WRONG, 3), "stub": (None, 0)}),
    "handout": (TIMEOUT + KEEP_STUBS, "07_better_and_faster", {"right": ({}, 7), "stub": (None, 0)}),
}


def nbgrader(course, *arguments):
    """Run one command in the folder of the course, as in a shell where the environment is activated."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # nbgrader calls alembic by its name
        "JUPYTER_CONFIG_DIR": str(course / "nobody"),  # neither the settings nor the kernels of whoever runs the test
        "JUPYTER_DATA_DIR": str(course / "nobody"),
    }
    command = [sys.executable, "-m", "nbgrader", *arguments]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def put(notebook, path):
    """Write a notebook. nbgrader runs it with the parameters that it has, so these are made small."""
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = 'PRESET = "smoke"\nDATASET = "digits"\nSEED = 0'
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def check_released(released, books, handed_out, route):
    """No solution is left, and what students need is."""
    check_no_traces(books, released)
    for lesson, notebook in released.items():
        assert "SOLUTION" not in nbformat.writes(notebook)
        for cell, ours in zip(notebook.cells, handed_out[lesson].cells, strict=True):
            answer = cell.metadata.get("nbgrader", {}).get("solution")
            if route == "handout":
                assert cell.source == ours.source, "nbgrader hands out what the lab does"
            elif answer and cell.cell_type == "code":
                signature = next(line for line in ours.source.split("\n") if line.startswith("def "))
                assert signature in cell.source and "raise NotImplementedError()" in cell.source
            elif answer:
                assert cell.source == "YOUR ANSWER HERE"


@pytest.mark.parametrize("route", ROUTES)
def test_from_handing_out_to_a_table(route, tmp_path):
    config, lesson, students = ROUTES[route]
    release(out=tmp_path / "handout", say=lambda line: None)
    entries = json.loads((tmp_path / "handout" / "manifest.json").read_text(encoding="utf-8"))["notebooks"]
    books, handed_out = (
        {name: read_notebook(folder / f"{name}.ipynb") for name in lessons.LESSONS}
        for folder in (lessons.NOTEBOOK_DIR, tmp_path / "handout" / "student")
    )
    course = tmp_path / "course"
    for name, notebook in (books if route == "instructor" else handed_out).items():
        put(notebook, course / "source" / "lab" / f"{name}.ipynb")
    (course / "nbgrader_config.py").write_text(f"c = get_config()\n{config}", encoding="utf-8")

    said = nbgrader(course, "generate_assignment", "lab")
    assert "WARNING" not in said and "ERROR" not in said
    released = {path.stem: read_notebook(path) for path in (course / "release" / "lab").glob("*.ipynb")}
    assert set(released) == set(lessons.LESSONS)
    check_released(released, books, handed_out, route)

    for student, (changes, _) in students.items():
        notebook = copy.deepcopy(released[lesson])
        if changes is not None:
            fill(notebook, entries[lesson], changes)
        put(notebook, course / "submitted" / student / "lab" / f"{lesson}.ipynb")
    nbgrader(course, "autograde", "lab")
    nbgrader(course, "export", "--to", "grades.csv")

    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    total = sum(question["points"] for entry in entries.values() for question in entry["questions"])
    assert rows == {student: (points, total) for student, (_, points) in students.items()}
    texts = {question["answer"] for question in entries[lesson]["questions"] if question["kind"] == "text"}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for student, (changes, _) in students.items():
            grades = gradebook.find_submission_notebook(lesson, "lab", student).grades
            by_hand = {grade.name for grade in grades if grade.needs_manual_grade}
            assert by_hand == (set() if changes is None else texts), "a text that nobody touched gets 0 by itself"
