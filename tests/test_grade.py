"""The command grade on a sample class: marks, files, a kill in the middle, marks by hand."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from grading import __main__ as commands
from grading import gradebook, sandbox
from grading.release import release
from grading.sample_class import FIRST, STUDENTS, sample_class

pytestmark = pytest.mark.skipif(bool(sandbox.failure("limits")), reason="students' code cannot be run on this machine")
# One of each kind; identical answers are judged once.
CLASS = (
    "s01-ada",
    "s02-björn",
    "s05-emil",
    "s06-fatima",
    "s07-goran",
    "s11-kim",
    "s13-mo",
    "s14-nils",
    "s15-olga",
    "s17-quinn",
    "s18-rosa",
    "=cmd|'calc'!A1",
    "s20-tom",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("class")


@pytest.fixture(scope="module")
def handed_out(folder):
    release(["2", "7"], folder / "handout", say=lambda line: None)
    manifest = json.loads((folder / "handout" / "manifest.json").read_text(encoding="utf-8"))
    only_two = {**manifest, "notebooks": {k: v for k, v in manifest["notebooks"].items() if k[:2] == "02"}}
    sample_class(only_two, folder / "handout" / "student", folder / "in", CLASS)
    return folder / "handout" / "manifest.json"


def command(folder, handed_out, *more):
    return [
        sys.executable,
        "-m",
        "grading",
        "grade",
        str(folder / "in"),
        "--manifest",
        str(handed_out),
        "--out",
        str(folder / "out"),
        "--seeds",
        "1",
        *more,
    ]


def table(folder):
    with open(folder / "out" / "grades.csv", newline="", encoding="utf-8") as file:
        return {(row["student_id"], row["notebook"]): row for row in csv.DictReader(file)}


def everything(folder):
    """All reports, by name."""
    kept = [path for path in (folder / "out").rglob("*") if path.is_file() and path.parent.name != "judged"]
    return {path.relative_to(folder): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def graded(folder, handed_out):
    """The class, graded by a command that is killed again and again: at once, and after one and three more results."""
    for more in (0, 1, 3):
        before = kept(folder)
        with subprocess.Popen(command(folder, handed_out), stdout=subprocess.DEVNULL, start_new_session=True) as killed:
            deadline = time.monotonic() + 120
            while len(kept(folder)) < len(before) + more and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(random.uniform(0, 0.5))
            os.killpg(killed.pid, signal.SIGKILL)
        assert not (folder / "out" / "grades.csv").exists()
        assert before.items() <= kept(folder).items(), "what was judged is kept"
    before = kept(folder)
    done = subprocess.run(command(folder, handed_out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(before) >= 4 and before.items() <= kept(folder).items()
    return table(folder)


def kept(folder):
    """What was judged: name → when, and all of it can be read."""
    found = list((folder / "out" / "judged").glob("[!.]*.json"))
    assert all(json.loads(path.read_text(encoding="utf-8"))["verdicts"] for path in found)
    return {path.name: path.stat().st_mtime_ns for path in found}


LESSON = "02_forward_noising"


@pytest.mark.parametrize("student", CLASS)
def test_marks_of_the_class(student, graded):
    row = graded["'" + student if student[0] == "=" else student, LESSON]
    assert float(row["score"]) == STUDENTS[student][2] and row["max_score"] == "8"
    assert row["status"] == ("unreadable" if student == "s20-tom" else "graded")
    assert row["sandbox"] == sandbox.choose_level("auto")


def test_what_was_not_sent_has_a_row(graded):
    row = graded["s01-ada", "07_better_and_faster"]
    assert (row["status"], row["score"], row["file"]) == ("not submitted", "0.0", "")


def test_verdicts_say_how_and_what(folder, graded):
    def question(student, number):
        text = (folder / "out" / "verdicts" / student / f"{LESSON}.json").read_text(encoding="utf-8")
        return json.loads(text)["questions"][number]

    kim, olga, quinn, goran = (
        question(s, n) for s, n in (("s11-kim", 0), ("s15-olga", 0), ("s17-quinn", 0), ("s07-goran", 2))
    )
    assert kim["question"] == FIRST and "you returned α_t" in kim["found"] and kim["matched"] == "grade_id"
    assert question("s05-emil", 0)["matched"] in ("cell id", "marker")
    assert olga["found"].startswith("running your code ended the process") and quinn["status"] == "wrong"
    assert [p["holds"] for p in goran["properties"]] == [True, False] and goran["points"] == 1.5


def test_feedback_is_safe_and_helps(folder, graded):
    pages = {path.name: path.read_text(encoding="utf-8") for path in (folder / "out" / "feedback").iterdir()}
    assert len(pages) == len(CLASS)
    assert "you returned α_t where ᾱ_t is needed" in pages["s11-kim.html"]
    for page in pages.values():
        assert "<script" not in page and "default-src 'none'" in page
    (strange,) = (page for page in pages.values() if "calc" in page)
    assert "=cmd|&#39;calc&#39;!A1" in strange
    summary = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "Most common mistakes" in summary and "s17-quinn" in summary


def test_once_more_gives_the_same_files_at_once(folder, handed_out, graded):
    before, started = everything(folder), time.monotonic()
    assert subprocess.run(command(folder, handed_out, "--jobs", "2"), capture_output=True, check=False).returncode == 0
    assert everything(folder) == before
    assert time.monotonic() - started < 60


def test_a_zip_of_the_same_gives_the_same_marks(folder, handed_out, graded):
    with zipfile.ZipFile(folder / "class.zip", "w") as archive:
        for path in (folder / "in").rglob("*.ipynb"):
            archive.write(path, path.relative_to(folder / "in"))
    before = (folder / "out" / "grades.csv").read_bytes()
    line = command(folder, handed_out)
    line[line.index(str(folder / "in"))] = str(folder / "class.zip")
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    assert (folder / "out" / "grades.csv").read_bytes() == before


def test_a_human_has_the_last_word(folder, handed_out, graded):
    marks = folder / "marks.csv"
    marks.write_text(f"student_id,question,points\ns11-kim,{FIRST},1.5\n'=cmd|'calc'!A1,{FIRST},\n", encoding="utf-8")
    done = subprocess.run(command(folder, handed_out, "--marks", str(marks)), capture_output=True, check=False)
    assert done.returncode == 0
    assert float(table(folder)["s11-kim", LESSON]["score"]) == 7.5


@pytest.mark.parametrize(
    "lines, words",
    [
        ("student_id,question\na,b\n", "needs the columns"),
        ("student_id,question,points\na,nothing,1\n", "line 2: unknown question 'nothing'"),
        (f"student_id,question,points\na,{FIRST},3\n", "points must lie in 0 … 2, got '3'"),
        (f"student_id,question,points\na,{FIRST},-1\n", "points must lie in"),
        (f"student_id,question,points\na,{FIRST},nan\n", "points must lie in"),
        (f"student_id,question,points\na,{FIRST},many\n", "got 'many'"),
    ],
)
def test_bad_marks(lines, words, tmp_path):
    (tmp_path / "marks.csv").write_text(lines, encoding="utf-8")
    manifest = {"notebooks": {LESSON: {"questions": [{"answer": FIRST, "points": 2}]}}}
    with pytest.raises(ValueError, match=words):
        gradebook.read_marks(tmp_path / "marks.csv", manifest)


def test_bad_arguments(folder, handed_out, tmp_path, capsys):
    (tmp_path / "empty.json").write_text("{}")
    good = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(tmp_path / "out")]
    for place, value, words in (
        (1, "nowhere", "nowhere"),
        (3, "nothing.json", "no manifest nothing.json"),
        (3, str(tmp_path / "empty.json"), "is not a manifest"),
        (5, "/proc/nothing/here", "cannot write"),
    ):
        assert commands.main([*good[:place], value, *good[place + 1 :]]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert commands.main([*good, "--seeds", "0"]) == 2 and "at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out" / "grades.csv").exists()
