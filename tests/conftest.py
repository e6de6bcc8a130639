"""What several tests share: what this machine has, small data files, a quiet start."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from labutils import data  # isort: skip (before Keras: it keeps the start-up messages away)
import keras

from lab import extras

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {
    "bubblewrap": ["bwrap"],
    "Chromium": ["chromium", "chromium-browser", "google-chrome"],
    "Node": ["node"],
}
EXTRAS = extras.names()
COMMANDS = {  # what some tests need, and the command that brings it
    "MNIST": """.venv/bin/python -c "from labutils import data; data.load('mnist')" """.strip(),
    "bubblewrap": "sudo apt-get install bubblewrap",
    "Chromium": "sudo apt-get install chromium",
    "Node": "sudo apt-get install nodejs",
    **{name: f".venv/bin/python -m pip install -r {name} -c constraints.txt" for name in EXTRAS},
}


def is_here(what):
    """Whether this machine has a key of COMMANDS; nothing is downloaded for a test."""
    if what == "MNIST":
        return any(path.is_file() for path in data.candidates())
    if what in PROGRAMS:
        return any(map(shutil.which, PROGRAMS[what]))
    return not extras.missing(what)


def reason(what):
    """Why a test is skipped, with the command that brings what it needs."""
    return f"needs {what}: {COMMANDS[what]}"


def needs(what):
    """A mark: the test is skipped on a machine without a key of COMMANDS."""
    return pytest.mark.skipif(not is_here(what), reason=reason(what))


def pytest_report_header(config):
    """The first lines of a run say what it leaves out, and how to get it."""
    lines = [f"some tests are skipped here, {reason(what)}" for what in COMMANDS if not is_here(what)]
    if config.option.markexpr == "not slow":
        lines.append('slow tests are left out: make test-all (python -m pytest -m "") runs them, too')
    return lines


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items):
    """Whatever uses a browser is slow."""
    for item in items:
        if "chromium" in item.fixturenames:
            item.add_marker("slow")


# Modules of tests that need more than requirements.txt, as a whole.
NEED = {
    "requirements-authors.txt": ("matching", "notebooks"),
    "requirements-book.txt": ("book",),
    "requirements-grading.txt": ("batch", "grade", "gradebook", "hostile", "judging", "matching", "release", "shown"),
}


class Skipped(pytest.Module):
    """A module that is not even imported."""

    def collect(self):
        """Say why."""
        pytest.skip(self.why, allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    """Skip a module if what it needs is not installed."""
    for what, modules in NEED.items():
        if module_path.stem.removeprefix("test_") in modules and not is_here(what):
            skipped = Skipped.from_parent(parent, path=module_path)
            skipped.why = reason(what)
            return skipped
    return None


# Modules whose fixtures take long: each stays in one process, so that its fixtures are made once.
TOGETHER = {f"tests/test_{name}.py" for name in ("book", "grade", "judging", "matching", "nbgrader", "play")}
TOGETHER |= {f"tests/test_{name}.py" for name in ("dask", "hostile", "release", "shown")}


class Scheduling(LoadScopeScheduling):
    """Which tests go to which process: the modules in TOGETHER as a whole, all other tests one by one."""

    def _split_scope(self, nodeid):
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Use the scheduling above."""
    return Scheduling(config, log)


def once_for_each_check(table):
    """Numbers of the rows (check, answer, …) for parametrize; of each check, all but the first are slow."""
    known = [[row[0] for row in table[:number]] for number in range(len(table))]
    marks = [[pytest.mark.slow] if row[0] in before else [] for row, before in zip(table, known, strict=True)]
    return [pytest.param(number, marks=marks[number]) for number in range(len(table))]


def write_npz(path, count=96, shape=(8, 8), seed=0):
    """A small file in the layout of Keras' data sets: smooth random blots, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]

    def images(n):
        centre = rng.uniform(0, shape[0], (n, 2, 1, 1))
        blots = np.exp(-((y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2) / (0.05 * shape[0] ** 2))
        if len(shape) == 3:
            blots = blots[..., None] * rng.uniform(0, 1, (n, 1, 1, shape[2]))
        return (255 * blots).astype(np.uint8)

    tests = max(count // 4, 16)
    np.savez(
        path,
        x_train=images(count),
        y_train=rng.integers(0, 10, (count, 1) if len(shape) == 3 else count).astype(np.uint8),
        x_test=images(tests),
        y_test=rng.integers(0, 10, (tests, 1) if len(shape) == 3 else tests).astype(np.uint8),
    )
    return path


def write_pictures(folder, classes, colour=True):
    """PNG files of several sizes: blots of one colour a class, or grey. ``classes``: dict name → count; "" is flat."""
    rng = np.random.default_rng(0)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            height, width = rng.integers(30, 70, 2)
            y, x = np.mgrid[:height, :width]
            blot = np.exp(-((y - rng.uniform(0, height)) ** 2 + (x - rng.uniform(0, width)) ** 2) / 200)
            pixels = (255 * blot).astype(np.uint8)
            if colour:
                pixels = np.stack([pixels if channel == number % 3 else pixels // 4 for channel in range(3)], axis=-1)
            Image.fromarray(pixels).save(folder / name / f"{index:03}.png")
    return folder


def write_classes(path, classes, first=0, shape=(8, 8)):
    """As :func:`write_npz`, with the labels first … first + classes - 1."""
    with np.load(write_npz(path, 4 * classes, shape)) as archive:
        arrays = dict(archive)
    for part in ("y_train", "y_test"):
        arrays[part] = first + np.arange(len(arrays[part])) % classes
    np.savez(path, **arrays)
    return path


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason("requirements-browser.txt"))
    found = next(filter(None, map(shutil.which, PROGRAMS["Chromium"])), None)
    if not found:
        pytest.skip(reason("Chromium"))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def seeded(request, monkeypatch):
    """Each test begins with the same random numbers, whatever ran before it in this process."""
    keras.utils.set_random_seed(0)
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(0))


@pytest.fixture
def tiny_npz(tmp_path):
    """96 grey images of 8×8."""
    return write_npz(tmp_path / "tiny.npz")


@pytest.fixture
def no_partial_files(tmp_path):
    """After the test, no temporary file may be left anywhere under tmp_path."""
    yield
    assert not list(tmp_path.rglob(".partial-*")), "a half-written file was left"
