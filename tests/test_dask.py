"""Grading and measuring on a cluster: a real Dask scheduler with two workers, one of which is killed on the way."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import needs, reason
from sample_class import STUDENTS, sample_class

from grading import __main__ as cli
from grading.release import release

distributed = pytest.importorskip("distributed", reason=reason("requirements-dask.txt"))
pytestmark = pytest.mark.slow
CLASS = [student for student in STUDENTS if student[:2] in ("s1", "s2", "=c")]


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """The arguments that grade a class with lesson 2 only, and the folder for what comes out."""
    folder = tmp_path_factory.mktemp("class")
    release(["2"], folder / "handout", say=lambda line: None)
    manifest = folder / "handout" / "manifest.json"
    sample_class(json.loads(manifest.read_text()), folder / "handout" / "student", folder / "in", CLASS)
    arguments = ["grade", str(folder / "in"), "--manifest", str(manifest), "--out", str(folder / "out")]
    return [*arguments, "--seeds", "1", "--dask"], folder / "out"


def start(*arguments):
    """A program of Dask's, in a group of its own, so that killing it kills what it started."""
    line = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


@pytest.fixture
def cluster(tmp_path):
    """(address, processes of the two workers)."""
    contact = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(contact), "--dashboard-address", ":0"]
    programs = [start("dask_scheduler", *common, "--host", "127.0.0.1", "--port", "0")]
    try:
        until(contact.exists)
        programs += [
            start("dask_worker", *common, "--nthreads", "1", "--local-directory", str(tmp_path / f"worker{i}"))
            for i in range(2)
        ]
        yield json.loads(contact.read_text())["address"], programs[1:]
    finally:
        for program in programs:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()


@needs("bubblewrap")
def test_no_scheduler_is_one_clear_line(line, monkeypatch, capsys):
    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: client(address, timeout=timeout / 20))
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        assert cli.main([*line[0], address]) == 2
        error = capsys.readouterr().err
        assert f"no Dask scheduler answers at {address}" in error and error.count("\n") == 1


@needs("bubblewrap")
def test_a_killed_worker_costs_nothing_but_time(cluster, line):
    (address, workers), (arguments, out) = cluster, line
    command = [sys.executable, "-m", "grading", *arguments, address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as grading:
        until(lambda: list(out.glob("judged/*.json")) or grading.poll() is not None)
        os.killpg(workers[0].pid, signal.SIGKILL)
        _, errors = grading.communicate(timeout=300)
    assert grading.returncode == 0, errors[-2000:]
    with open(out / "grades.csv", newline="", encoding="utf-8-sig") as file:
        marks = {row["student_id"].lstrip("'"): float(row["score"]) for row in csv.DictReader(file)}
    assert marks == {student: STUDENTS[student].points for student in CLASS}


PROGRAM = """
import sys, time
from pathlib import Path
from benchmarks import report, spread
from labutils import results

results.RESULTS = report.RESULTS = report.SCRATCH = Path(sys.argv.pop(1))

def measure(item):
    time.sleep(2)
    return {"twice": 2 * item["n"]}

if __name__ == "__main__":
    rows = report.Rows("rows", [{"n": n} for n in range(6)], {})
    spread.fill(rows, rows.missing(), measure, report.arguments("A test.", spread=True))
    assert rows.finish()
"""


def test_a_benchmark_loses_no_row_to_a_killed_worker(cluster, tmp_path):
    address, workers = cluster
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path), "--jobs", "2", "--dask", address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}) as program:
        until(lambda: (tmp_path / "rows.json").exists() or program.poll() is not None)
        os.killpg(workers[0].pid, signal.SIGKILL)
        _, errors = program.communicate(timeout=120)
    assert program.returncode == 0, errors[-2000:]
    assert [row["twice"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == [0, 2, 4, 6, 8, 10]
