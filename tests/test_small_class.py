"""The command grade, once, on four students in the real sandbox; test_grade has a larger class and kills."""

import csv
import json
import subprocess
import sys

from conftest import needs
from sample_class import STUDENTS, sample_class

from grading.release import release
from grading.submissions import file_name

pytestmark = needs("bubblewrap")
CLASS = ("s01-ada", "s07-goran", "s11-kim", "s15-olga")  # right, partly right, wrong, ends its process
LESSON = "02_forward_noising"


def test_the_class_and_the_labs_own_answers_of_all_lessons(tmp_path):
    """Ada sends the lab's own answers to every lesson, the others send lesson 2 only."""
    release([], tmp_path / "handout", say=lambda line: None)
    manifest = tmp_path / "handout" / "manifest.json"
    every = json.loads(manifest.read_text("utf-8"))
    for names, lessons in ((CLASS[:1], every["notebooks"]), (CLASS[1:], {LESSON: every["notebooks"][LESSON]})):
        sample_class(every | {"notebooks": lessons}, tmp_path / "handout" / "student", tmp_path / "in", names)
    line = [sys.executable, "-m", "grading", "grade", str(tmp_path / "in"), "--manifest", str(manifest)]
    line += ["--out", str(tmp_path / "out"), "--seeds", "1", "--jobs", "2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        rows = {(row["student_id"], row["notebook"]): row for row in csv.DictReader(file)}
    assert {s: float(rows[s, LESSON]["score"]) for s in CLASS} == {s: STUDENTS[s][2] for s in CLASS}
    assert {rows[s, LESSON]["sandbox"] for s in CLASS} == {"bubblewrap"}
    assert "you returned α_t where ᾱ_t is needed" in (tmp_path / f"out/feedback/{file_name('s11-kim')}.html").read_text(
        "utf-8"
    )
    for lesson, entry in every["notebooks"].items():
        by_code = sum(question["points"] for question in entry["questions"] if question["kind"] == "code")
        row = rows["s01-ada", lesson]
        verdict = json.loads(
            (tmp_path / "out" / "verdicts" / file_name("s01-ada") / f"{file_name(lesson)}.json").read_text()
        )
        assert float(row["score"]) == by_code, verdict
        assert not [question["note"] for question in verdict["questions"] if question["note"]]
