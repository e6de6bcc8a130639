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
from conftest import reason
from sample_class import PARTLY, WRONG, fill

from grading.context import needed
from grading.release import check_no_traces, read_notebook, release
from lab import lessons

pytest.importorskip("nbgrader", reason=reason("requirements-nbgrader.txt"))
from nbgrader.api import Gradebook  # noqa: E402

pytestmark = pytest.mark.slow

TIMEOUT = "c.Execute.timeout = 600  # seconds for a cell\n"
KEEP_STUBS = "c.ClearSolutions.enabled = False  # there are no solutions; it would clear the stubs\n"
CONFIGS = {"handout": TIMEOUT + KEEP_STUBS, "instructor": TIMEOUT}  # by where the notebooks come from
# (where from, lessons of the assignment, the one that students send). nbgrader runs all that they send, which takes
# minutes. So one route takes every lesson, each in a test of its own: two workers share them.
CASES = [("handout", (lesson,), lesson) for lesson in lessons.LESSONS]
CASES.append(("instructor", lessons.LESSONS, "02_forward_noising"))


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


def keep_what_the_checks_need(notebook):
    """Delete the other cells, as students may: nbgrader would train the lesson's networks once more."""
    sources = [cell.source if cell.cell_type == "code" else None for cell in notebook.cells]
    kept = set()
    for place, cell in enumerate(notebook.cells):
        if "nbgrader" in cell.metadata or {"setup", "parameters"} & set(cell.metadata.get("tags", [])):
            kept |= {place, *(needed(sources, place) if sources[place] else ())}
    notebook.cells = [notebook.cells[place] for place in sorted(kept)]


def check_released(route, notebook, ours):
    """No solution is left, and what students need is."""
    assert "SOLUTION" not in nbformat.writes(notebook)
    for cell, our in zip(notebook.cells, ours.cells, strict=True):
        answer = cell.metadata.get("nbgrader", {}).get("solution")
        if route == "handout":
            assert cell.source == our.source, "nbgrader hands out what the lab does"
        elif answer and cell.cell_type == "code":
            signature = next(line for line in our.source.split("\n") if line.startswith("def "))
            assert signature in cell.source and "raise NotImplementedError()" in cell.source
        elif answer:
            assert cell.source == "YOUR ANSWER HERE"


@pytest.mark.parametrize(("route", "names", "sent"), CASES, ids=[f"{route}-{sent}" for route, _, sent in CASES])
def test_from_handing_out_to_a_table(route, names, sent, tmp_path):
    release(names, tmp_path / "handout", say=lambda line: None)
    entries = json.loads((tmp_path / "handout" / "manifest.json").read_text(encoding="utf-8"))["notebooks"]
    folders = {"instructor": lessons.NOTEBOOK_DIR, "handout": tmp_path / "handout" / "student"}
    books = {origin: {n: read_notebook(folder / f"{n}.ipynb") for n in names} for origin, folder in folders.items()}
    course = tmp_path / "course"
    for name, notebook in books[route].items():
        put(notebook, course / "source" / "lab" / f"{name}.ipynb")
    (course / "nbgrader_config.py").write_text(f"c = get_config()\n{CONFIGS[route]}", encoding="utf-8")

    said = nbgrader(course, "generate_assignment", "lab")
    assert "WARNING" not in said and "ERROR" not in said
    released = {path.stem: read_notebook(path) for path in (course / "release" / "lab").glob("*.ipynb")}
    assert set(released) == set(names)
    check_no_traces(books["instructor"], released)
    for name, notebook in released.items():
        check_released(route, notebook, books["handout"][name])

    asked = entries[sent]["questions"]
    code = [question for question in asked if question["kind"] == "code"]
    missed = {q["answer"]: (PARTLY | WRONG).get(q["answer"], q["stub"]) for q in code[1::2]}  # wrong, or left blank
    students = {"right": ({}, code), "partly": (missed, code[::2]), "blank": (None, [])}  # → (changes, what is right)
    for student, (changes, _) in students.items():
        notebook = copy.deepcopy(released[sent])
        if changes is not None:
            fill(notebook, entries[sent], changes)
        if student != "right":
            keep_what_the_checks_need(notebook)
        put(notebook, course / "submitted" / student / "lab" / f"{sent}.ipynb")
    nbgrader(course, "autograde", "lab")
    nbgrader(course, "export", "--to", "grades.csv")

    with open(course / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    total = sum(question["points"] for entry in entries.values() for question in entry["questions"])
    assert rows == {student: (sum(q["points"] for q in right), total) for student, (_, right) in students.items()}
    texts = {question["answer"] for question in asked if question["kind"] == "text"}
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for student, (changes, right) in students.items():
            grades = gradebook.find_submission_notebook(sent, "lab", student).grades
            assert {grade.name for grade in grades if grade.auto_score} == {question["check"] for question in right}
            by_hand = {grade.name for grade in grades if grade.needs_manual_grade}
            assert by_hand == (set() if changes is None else texts), "a text that nobody touched gets 0 by itself"
