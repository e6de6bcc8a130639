"""Marks without running anything: what the outputs of an executed notebook say, and what they lack."""

import csv
import json
import shutil
from pathlib import Path

import nbformat
import pytest

from grading import __main__ as commands
from grading.papers import read_paper
from grading.release import release
from grading.shown import NOT_RUN_AGAIN
from grading.submissions import Submission
from labutils._support.lessons import NOTEBOOK_DIR

LESSONS = ("02_forward_noising", "03_unet", "04_training")


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    release([lesson[:2].lstrip("0") for lesson in LESSONS], folder, say=lambda line: None)
    return folder


@pytest.fixture(scope="module")
def manifest(handed_out):
    return json.loads((handed_out / "manifest.json").read_text(encoding="utf-8"))


def shown(lesson, manifest, change=lambda notebook: None):
    """What is seen in the lesson's own executed notebook after a change."""
    notebook = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
    change(notebook)
    return read_paper(Submission("ada", lesson, nbformat.writes(notebook).encode()), manifest, execute=False).shown


def cell_of(notebook, what):
    """The first cell that a predicate holds for."""
    return next(cell for cell in notebook.cells if what(cell))


def is_check(cell):
    return cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"


@pytest.mark.parametrize("lesson", LESSONS)
def test_a_notebook_that_shows_all(lesson, manifest):
    found = shown(lesson, manifest)
    assert all(v["status"] == "right" and v["points"] == v["max_points"] for v in found["verdicts"]), found["verdicts"]
    assert all(NOT_RUN_AGAIN in v["note"] for v in found["verdicts"])
    assert len(found["evidence"]) > 3 and all(each["holds"] for each in found["evidence"]), found["evidence"]


def test_all_three_kinds_of_evidence_are_asked_for(manifest):
    texts = [e["text"].split()[0] for lesson in LESSONS for e in shown(lesson, manifest)["evidence"]]
    assert set(texts) == {"figure", "output", "loss"}


@pytest.mark.parametrize(
    "outputs, status, words",
    [
        ([], "not answered", "was not executed"),
        ([nbformat.v4.new_output("stream", name="stdout", text="All tests passed!\n")], "not answered", "not executed"),
        (
            [nbformat.v4.new_output("stream", name="stderr", text="All tests in `alpha_bars` passed!\n")],
            "not answered",
            "not executed",
        ),
        (
            [nbformat.v4.new_output("error", ename="CheckFailed", evalue="you returned\nα_t", traceback=[])],
            "wrong",
            "you returned α_t",
        ),
    ],
)
def test_not_run_is_not_passed(outputs, status, words, manifest):
    def change(notebook):
        cell_of(notebook, is_check).outputs = outputs

    first, *others = shown(LESSONS[0], manifest, change)["verdicts"]
    assert (first["status"], first["points"]) == (status, 0) and words in first["found"]
    assert all(verdict["status"] == "right" for verdict in others)


def test_a_missing_check_is_left_to_a_human(manifest):
    found = shown(LESSONS[0], manifest, lambda notebook: notebook.cells.remove(cell_of(notebook, is_check)))
    assert found["verdicts"][0]["status"] == "needs a human"


@pytest.mark.parametrize(
    "lesson, kind, change, words",
    [
        (LESSONS[0], "figure", lambda cell: cell.update(outputs=[]), "the cell was not executed"),
        (LESSONS[1], "output", lambda cell: cell.outputs[0].update(text="1 parameter"), "the output is another one"),
        (LESSONS[2], "loss", lambda cell: cell.outputs[-1].update(text="0.1 0.2"), "does not fall: 0.1 0.2"),
        (LESSONS[2], "loss", lambda cell: cell.update(id="other", source="pass"), "the cell is missing"),
    ],
)
def test_missing_evidence(lesson, kind, change, words, manifest):
    wanted = next(e["text"] for e in shown(lesson, manifest)["evidence"] if e["text"].startswith(kind)).split()[-1]
    found = shown(lesson, manifest, lambda notebook: change(cell_of(notebook, lambda cell: cell.id == wanted)))
    (lacking,) = [each for each in found["evidence"] if each["text"].startswith(kind) and not each["holds"]]
    assert lacking["found"] == words


def test_the_command(handed_out, tmp_path):
    for student, lesson in (("ada", LESSONS[0]), ("bo", LESSONS[2])):
        (tmp_path / "in" / student).mkdir(parents=True)
        shutil.copy(NOTEBOOK_DIR / f"{lesson}.ipynb", tmp_path / "in" / student)
    stub = Path(handed_out, "student", f"{LESSONS[0]}.ipynb")
    (tmp_path / "in" / "cy").mkdir()
    shutil.copy(stub, tmp_path / "in" / "cy")
    arguments = ["grade", str(tmp_path / "in"), "--manifest", str(handed_out / "manifest.json"), "--no-execute"]
    assert commands.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {(row["student_id"], row["notebook"]): row for row in csv.DictReader(file)}
    ada, bo, cy = (rows[key] for key in (("ada", LESSONS[0]), ("bo", LESSONS[2]), ("cy", LESSONS[0])))
    assert (ada["score"], ada["status"]) == ("8.0", "graded") and bo["score"] == bo["max_score"] + ".0"
    assert (cy["score"], cy["status"]) == ("0.0", "needs a human") and "not executed" in cy["remarks"]
    assert {row["sandbox"] for row in rows.values()} == {NOT_RUN_AGAIN}
    page = (tmp_path / "out" / "feedback" / "ada.html").read_text(encoding="utf-8")
    assert "What else the notebook should show" in page and page.count("<img") > 2
    assert not (tmp_path / "out" / "judged").exists()
