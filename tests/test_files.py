"""Files: whole or not there, also when several processes write them at the same time."""

import os
import subprocess
import sys

import numpy as np
import pytest

from labutils.support import files
from labutils.support.files import check_writable, write_atomically

# The module is run by its path: importing the package would load TensorFlow.
HAMMER = """
import runpy, sys
from pathlib import Path
files, path, letter = runpy.run_path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(200):
    files["check_writable"](path)
    files["write_atomically"](path, lambda partial: partial.write_text(letter * 1000))
"""


def test_two_processes_do_not_disturb_each_other(tmp_path, no_partial_files):
    path = tmp_path / "shared.txt"
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, files.__file__, str(path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for letter in "ab"
    ]
    for process in pair:
        process.stdout.readline()  # both are ready before either starts
    for process in pair:
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [found.name for found in tmp_path.iterdir()] == ["shared.txt"]


def test_a_write_within_a_write(tmp_path, no_partial_files):
    """Deterministic form of the above: the second write begins and ends while the first is under way."""
    path = tmp_path / "deep" / "a.json"

    def outer(partial):
        partial.write_text("outer")
        write_atomically(path, lambda other: other.write_text("inner"))
        assert path.read_text() == "inner"
        check_writable(path)

    write_atomically(path, outer)
    assert path.read_text() == "outer"


@pytest.mark.parametrize("name", ["a.npz", "a.weights.h5", "a [draft].json"])
def test_the_temporary_name_keeps_the_ending(tmp_path, name):
    names = []

    def write(partial):
        names.append(partial.name)
        partial.write_text("x")

    write_atomically(tmp_path / name, write)
    write_atomically(tmp_path / name, write)
    assert len(set(names)) == 2
    assert all(found.startswith(".partial-") and found.endswith(name) for found in names)


def test_npz_and_failures_leave_nothing(tmp_path, no_partial_files):
    write_atomically(tmp_path / "a.npz", lambda path: np.savez(path, x=np.ones(3)))
    assert files.read_npz(tmp_path / "a.npz", ["x"])["x"].sum() == 3

    def fail(partial):
        partial.write_text("half")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        write_atomically(tmp_path / "a.npz", fail)
    with pytest.raises(ValueError, match="cannot write .*a.npz: it is a folder"):
        (tmp_path / "folder" / "a.npz").mkdir(parents=True)
        check_writable(tmp_path / "folder" / "a.npz")
    with pytest.raises(ValueError, match="cannot write .*below"):
        check_writable(tmp_path / "a.npz" / "below")
    assert files.read_npz(tmp_path / "a.npz", ["x"])["x"].sum() == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_finished_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.txt", lambda partial: partial.write_text("x"))
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_old_leftovers_in_the_folder_are_removed(tmp_path):
    def leave(partial):
        partial.write_text("half")
        raise KilledError

    class KilledError(BaseException):
        pass

    path = tmp_path / "a [1].json"
    young, old = (tmp_path / f".partial-{digit * 16}-{path.name}" for digit in "01")
    of_another, other = tmp_path / f".partial-{'2' * 16}-b.json", tmp_path / ".partial-b.json"
    for leftover in (young, old, of_another, other):
        leftover.write_text("half")
    for leftover in (old, of_another, other):
        os.utime(leftover, (0, 0))
    with pytest.raises(KilledError):
        write_atomically(path, leave)
    write_atomically(path, lambda partial: partial.write_text("x"))
    assert sorted(tmp_path.iterdir()) == sorted([path, young, other])
    check_writable(path)
    assert sorted(tmp_path.iterdir()) == sorted([path, young, other])
