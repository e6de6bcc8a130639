"""A machine without bubblewrap, Chromium, MNIST and the optional packages: what works there, and what a run says."""

import os
import re
import subprocess
import sys

import conftest
import pytest

from lab import extras

PRESENT = {"jinja2", "joblib", "psutil"}  # what requirements.txt installs brings these, too
MISSING = {package for name in extras.names() for package in extras.packages(name)} - PRESENT
# Python, in which no package of the requirements-*.txt can be found.
BARE = f"""
import sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name.partition(".")[0] in {MISSING} else super().find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""


def run_bare(code, tmp_path):
    """Run Python code in an empty home, without any program on the PATH; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "LABUTILS_DATA"}
    for name in ("home", "bin"):
        (tmp_path / name).mkdir()
    environment |= {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin"), "COLUMNS": "300"}
    line = [sys.executable, "-c", BARE + code]
    done = subprocess.run(line, cwd=conftest.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_results_plans_and_help_need_nothing_more(tmp_path):
    """Of every program with results: its plan and its file; of every command and program: its help."""
    code = """
import contextlib, importlib, io, pathlib, runpy
import labutils
from benchmarks import report
from lab import cli

programs = [("lab",), *(("lab", name) for name in cli.COMMANDS)]
programs.append(("grading",))
for path in sorted(pathlib.Path("benchmarks").glob("*.py")):
    text = path.read_text(encoding="utf-8")
    if "__main__" in text:
        programs.append((f"benchmarks.{path.stem}",))
        if "def rows" in text:
            file = importlib.import_module(f"benchmarks.{path.stem}").rows()
            print("plan of", path.stem, len(file.plan), len(report.read(file.name)["rows"]))
for name, *words in programs:
    sys.argv = [name, *words, "--help"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_module(name, run_name="__main__")
    except SystemExit as left:
        assert left.code == 0, (name, words)
    assert said.getvalue().startswith("usage: "), (name, words, said.getvalue())
    print("help of", name, *words)
"""
    printed = run_bare(code, tmp_path)
    assert len(re.findall("^plan of", printed, re.MULTILINE)) >= 6
    for program in ("lab train", "grading", "benchmarks.contenders", "benchmarks.stable_diffusion"):
        assert f"help of {program}\n" in printed


def test_a_command_that_lacks_a_library_says_which_file_brings_it(tmp_path):
    """In one line; ``run`` goes on without the book."""
    code = f"""
import contextlib, sys
from grading import __main__ as for_instructors
from lab import cli, run

run.execute = lambda names, preset, dataset, out, say, record: {{"02_forward_noising": (1.0, "")}}
out = {str(tmp_path / "out")!r}
with contextlib.redirect_stderr(sys.stdout):
    assert cli.main(["run", "2", "--out", out]) == 0
    assert cli.main(["book", "--out", out]) == cli.main(["build", "--text", "2"]) == 2
    assert for_instructors.main(["grade", "class"]) == 2
"""
    printed = run_bare(code, tmp_path)
    assert printed.startswith("1 of 1 lessons ran\n") and "Traceback" not in printed
    lines = [line for line in printed.splitlines() if "not installed" in line]
    install = "is not installed: python -m pip install -r requirements-{}.txt -c constraints.txt"
    for line, name in zip(lines, ("book", "book", "authors", "grading"), strict=True):
        assert line.endswith(install.format(name))


def test_a_run_says_what_it_skips_and_what_brings_it(tmp_path):
    """In its first lines, and again where a test is skipped."""
    files = [
        f"tests/test_{name}.py" for name in ("sandbox", "jupyterlab", "nbgrader", "dask", "oracle", "book", "notebooks")
    ]
    files += [
        "tests/test_play.py::test_kernel_is_what_its_text_says",
        "tests/test_play.py::test_tables_are_those_of_python",
    ]
    code = f"""
import pytest
# Whether the data folder of this copy has MNIST does not matter here.
from labutils import data
data.candidates = lambda name="mnist": []
assert pytest.main(["-n", "0", "-m", "", "-p", "no:cacheprovider", *{files}]) in (0, 5)
"""
    printed = run_bare(code, tmp_path)
    head = printed.split("collected")[0]
    for what, command in conftest.COMMANDS.items():
        assert f"needs {what}: {command}\n" in head
    skipped = re.findall(r"^SKIPPED \[\d+\] .*", printed, re.MULTILINE)
    assert len(skipped) >= 6 and " passed" not in printed
    for line in skipped:
        assert any(f"needs {what}: {command}" in line for what, command in conftest.COMMANDS.items()), line


@pytest.mark.parametrize(("chosen", "said"), [("not slow", True), ("", False)])
def test_a_run_says_that_slow_tests_are_left_out(chosen, said, monkeypatch):
    monkeypatch.setattr(conftest, "is_here", lambda what: True)
    option = type("Option", (), {"markexpr": chosen})
    lines = conftest.pytest_report_header(type("Config", (), {"option": option}))
    assert [("make test-all" in line) for line in lines] == [True] * said


def test_what_uses_a_browser_is_slow():
    """Without a mark of its own: no test of the fast size opens Chromium."""
    added = []
    items = [
        type("Item", (), {"fixturenames": names, "add_marker": lambda self, mark: added.append(mark)})()
        for names in (["tmp_path"], ["whole", "chromium"], ["visit", "chromium"])
    ]
    conftest.pytest_collection_modifyitems(items)
    assert added == ["slow", "slow"]


def test_once_for_each_check():
    marks = [len(row.marks) for row in conftest.once_for_each_check([("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1)])]
    assert marks == [0, 0, 1, 1, 0]
