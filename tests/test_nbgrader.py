"""A department's nbgrader takes the lab's notebooks, from handing out to a table; skipped without it."""

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

KEEP_STUBS = "c.ClearSolutions.enabled = False  # there are no solutions; it would clear the stubs\n"
WHOLE = "02_forward_noising"  # nbgrader runs all that students send: of this lesson whole notebooks, of others a part


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


def course_of(notebooks, folder, config=""):
    """Set up a course with one assignment of some notebooks; returns what nbgrader hands out of it."""
    for name, notebook in notebooks.items():
        put(notebook, folder / "source" / "lab" / f"{name}.ipynb")
    config = f"c = get_config()\nc.Execute.timeout = 600  # seconds for a cell\n{config}"
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    said = nbgrader(folder, "generate_assignment", "lab")
    assert "WARNING" not in said and "ERROR" not in said
    released = {path.stem: read_notebook(path) for path in (folder / "release" / "lab").glob("*.ipynb")}
    assert set(released) == set(notebooks)
    return released


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    """(the instructor's notebooks, the lab's student notebooks, entries of the manifest), each by lesson."""
    out = tmp_path_factory.mktemp("handout")
    release(out=out, say=lambda line: None)
    folders = (lessons.NOTEBOOK_DIR, out / "student")
    books = [{name: read_notebook(folder / f"{name}.ipynb") for name in lessons.LESSONS} for folder in folders]
    return *books, json.loads((out / "manifest.json").read_text(encoding="utf-8"))["notebooks"]


def test_the_instructor_s_notebooks_lose_their_solutions(handout, tmp_path):
    """What nbgrader makes of them can be solved, and is graded as what the lab hands out."""
    instructor, student, _ = handout
    released = course_of(instructor, tmp_path)
    check_no_traces(instructor, released)
    for name, notebook in released.items():
        assert "SOLUTION" not in nbformat.writes(notebook)
        for cell, our in zip(notebook.cells, student[name].cells, strict=True):
            asked = cell.metadata.get("nbgrader", {})
            assert our.metadata.get("nbgrader", {}).items() <= asked.items()
            if asked.get("solution") and cell.cell_type == "code":
                signature = next(line for line in our.source.split("\n") if line.startswith("def "))
                assert signature in cell.source and "raise NotImplementedError()" in cell.source
            elif asked.get("solution"):
                assert cell.source == "YOUR ANSWER HERE"


def test_from_handing_out_to_a_table(handout, tmp_path):
    _, student, entries = handout
    released = course_of(student, tmp_path, KEEP_STUBS)
    for name, notebook in released.items():
        ours = [cell.source for cell in student[name].cells]
        assert [cell.source for cell in notebook.cells] == ours, "nbgrader hands out what the lab does"

    code = {name: [q for q in entry["questions"] if q["kind"] == "code"] for name, entry in entries.items()}
    wrong = PARTLY | WRONG
    missed = {q["answer"]: wrong.get(q["answer"], q["stub"]) for asked in code.values() for q in asked[1::2]}
    # student → (lessons that are sent, answers in place of right ones, questions that get their points)
    students = {
        "right": (lessons.LESSONS, {}, code),
        "partly": (lessons.LESSONS, missed, {name: asked[::2] for name, asked in code.items()}),
        "blank": ([WHOLE], None, {WHOLE: []}),
    }
    for who, (sent, changes, _) in students.items():
        for name in sent:
            notebook = copy.deepcopy(released[name])
            if changes is not None:
                fill(notebook, entries[name], changes)
            if (who, name) != ("right", WHOLE):
                keep_what_the_checks_need(notebook)
            put(notebook, tmp_path / "submitted" / who / "lab" / f"{name}.ipynb")
    nbgrader(tmp_path, "autograde", "lab")
    nbgrader(tmp_path, "export", "--to", "grades.csv")

    with open(tmp_path / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}
    total = sum(question["points"] for entry in entries.values() for question in entry["questions"])
    points = {
        who: sum(q["points"] for asked in right.values() for q in asked) for who, (_, _, right) in students.items()
    }
    assert rows == {who: (got, total) for who, got in points.items()}
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        for who, (sent, changes, right) in students.items():
            for name in sent:
                grades = gradebook.find_submission_notebook(name, "lab", who).grades
                assert {grade.name for grade in grades if grade.auto_score} == {q["check"] for q in right[name]}
                by_hand = {grade.name for grade in grades if grade.needs_manual_grade}
                texts = {q["answer"] for q in entries[name]["questions"] if q["kind"] == "text"}
                assert by_hand == (set() if changes is None else texts), "a text that nobody touched gets 0 by itself"
