"""Marks without running anything: what the outputs of an executed notebook say."""

import csv
import json
import shutil

import nbformat
import pytest

from grading import __main__ as cli
from grading.papers import read_paper
from grading.release import release
from grading.shown import NOT_RUN_AGAIN
from grading.submissions import Submission
from lab.lessons import LESSONS, NOTEBOOK_DIR

LESSON = "02_forward_noising"


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    release([], folder, say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def manifest(handed_out):
    return json.loads((handed_out / "manifest.json").read_text(encoding="utf-8"))


def shown(lesson, manifest, change=lambda cells: None):
    """The verdicts on the lab's own executed notebook after a change of its cells."""
    notebook = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
    change(notebook.cells)
    paper = read_paper(Submission("ada", lesson, nbformat.writes(notebook).encode()), manifest, execute=False)
    return paper.shown["verdicts"]


def first_check(cells):
    return next(cell for cell in cells if cell.id.startswith("check-"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_what_passed_is_right(lesson, manifest):
    verdicts = shown(lesson, manifest)
    assert verdicts and {v["status"] for v in verdicts} <= {"right", "to be marked by hand"}
    assert all(NOT_RUN_AGAIN in v["note"] for v in verdicts)


def stream(name, text):
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.parametrize(
    "outputs, status, words",
    [
        ([], "not answered", "was not executed"),
        ([stream("stdout", "All tests passed!\n")], "not answered", "not executed"),
        ([stream("stderr", "All tests in `alpha_bars` passed!\n")], "not answered", "not executed"),
        ([nbformat.v4.new_output("error", ename="E", evalue="you\nreturned α_t")], "wrong", "you returned α_t"),
        (None, "needs a human", "is missing"),
    ],
)
def test_not_run_is_not_passed(outputs, status, words, manifest):
    def change(cells):
        cell = first_check(cells)
        cells.remove(cell) if outputs is None else cell.update(outputs=outputs)

    first, *others = shown(LESSON, manifest, change)
    assert (first["status"], first["points"]) == (status, 0) and words in first["found"]
    assert all(verdict["status"] == "right" for verdict in others)


def test_the_command(handed_out, tmp_path):
    for student, folder in (("ada", NOTEBOOK_DIR), ("cy", handed_out / "student")):
        (tmp_path / "in" / student).mkdir(parents=True)
        shutil.copy(folder / f"{LESSON}.ipynb", tmp_path / "in" / student)
    arguments = ["grade", str(tmp_path / "in"), "--manifest", str(handed_out / "manifest.json"), "--no-execute"]
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file) if row["notebook"] == LESSON}
    assert [(row["score"], row["status"]) for row in rows.values()] == [("10.0", "graded"), ("0.0", "graded")]
    assert {row["sandbox"] for row in rows.values()} == {NOT_RUN_AGAIN}
    assert not (tmp_path / "out" / "judged").exists()
