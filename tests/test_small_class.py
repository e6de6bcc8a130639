"""The command grade, once, on four students in the real sandbox; test_grade has a larger class and kills."""

import csv
import json
import subprocess
import sys

from conftest import needs
from sample_class import STUDENTS, sample_class

from grading.release import release

pytestmark = needs("bubblewrap")
CLASS = ("s01-ada", "s07-goran", "s11-kim", "s15-olga")  # right, partly right, wrong, ends its process


def test_four_students_get_their_marks(tmp_path):
    release(["2"], tmp_path / "handout", say=lambda line: None)
    manifest = tmp_path / "handout" / "manifest.json"
    sample_class(json.loads(manifest.read_text("utf-8")), tmp_path / "handout" / "student", tmp_path / "in", CLASS)
    line = [sys.executable, "-m", "grading", "grade", str(tmp_path / "in"), "--manifest", str(manifest)]
    line += ["--out", str(tmp_path / "out"), "--seeds", "1"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {student: float(row["score"]) for student, row in rows.items()} == {s: STUDENTS[s][2] for s in CLASS}
    assert {(row["status"], row["sandbox"]) for row in rows.values()} == {("graded", "bubblewrap")}
    page = (tmp_path / "out" / "feedback" / "s11-kim.html").read_text(encoding="utf-8")
    assert "you returned α_t where ᾱ_t is needed" in page
