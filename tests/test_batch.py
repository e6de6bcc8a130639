"""A grading run that ended in the middle: the next one sets the student aside at whom it ended, and goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest

from grading import batch
from grading.papers import Paper
from grading.verdicts import Answer

QUESTION = {"answer": "ex", "points": 2, "kind": "code"}
ANSWERS = {"ex": Answer("def f(): return 1", "grade_id")}


def papers(*students):
    return {f"key-{name}": Paper(name, "02", "02", ANSWERS) for name in students}


def judged(tasks):
    """In place of grading.judging.judge_student: of whoever is called "poison" the process is killed."""
    for key, _, _ in tasks:
        if key.endswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        if key.endswith("stop"):
            raise KeyboardInterrupt
    return [(key, {"verdicts": [], "seconds": 0.0}) for key, _, _ in tasks]


RUN = """
import sys
sys.path.insert(0, {tests!r})
import test_batch
from grading import batch
from pathlib import Path
test_batch.run(Path({folder!r}), *{students!r})
"""


def run(folder, *students, jobs=1):
    """One run over these students; returns those that were left to be judged."""
    todo = papers(*students)
    stored = {key: batch._stored(folder, key) for key in todo}
    todo = {key: paper for key, paper in todo.items() if not stored[key] or stored[key].get("again")}
    batch.set_aside(todo, {"02": {"questions": [QUESTION]}}, folder)
    left = [paper.student for paper in todo.values()]
    batch.run_all(judged, todo, [], folder, jobs)
    return left


def in_a_process(folder, *students):
    code = RUN.format(tests=os.path.dirname(__file__), folder=str(folder), students=students)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode


def test_one_student_cannot_stop_the_class(tmp_path):
    students = ("ada", "poison", "zoë 1")
    assert in_a_process(tmp_path, *students) == -signal.SIGKILL
    assert [path.stem for path in tmp_path.glob("*.now")] == ["key-poison"]
    assert in_a_process(tmp_path, *students) == 0, "the next run goes on"
    kept = {name: json.loads((tmp_path / f"key-{name}.json").read_text()) for name in students}
    assert kept["ada"] == kept["zoë 1"] == {"verdicts": [], "seconds": 0.0}
    (verdict,) = kept["poison"]["verdicts"]
    assert (verdict["status"], verdict["points"], verdict["found"]) == ("needs a human", 0, batch.ENDED)
    assert not list(tmp_path.glob("*.now"))
    assert in_a_process(tmp_path, *students) == -signal.SIGKILL, "the run after it tries again"


def test_a_killed_worker_is_one_clear_line_and_the_next_run_goes_on(tmp_path):
    with pytest.raises(ValueError, match="was killed; run the same command again to continue"):
        run(tmp_path, "poison", "ada", "bo", jobs=2)
    assert "key-poison" in [path.stem for path in tmp_path.glob("*.now")]
    assert "poison" not in run(tmp_path, "poison", "ada", "bo", jobs=2)


def test_who_stops_the_run_by_hand_sets_nobody_aside(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "ada", "stop")
    assert not list(tmp_path.glob("*.now"))
    assert run(tmp_path, "ada") == []
