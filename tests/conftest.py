"""What several tests share: where MNIST is, small data files, a quiet start."""

import shutil

import numpy as np
import pytest

from labutils import data  # isort: skip (before Keras: it keeps the start-up messages away)
import keras


def mnist_here():
    """Whether this machine has MNIST; nothing is downloaded for a test."""
    return any(path.is_file() for path in data.candidates())


needs_mnist = pytest.mark.skipif(not mnist_here(), reason="no MNIST on this machine (set LABUTILS_DATA)")


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


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def chromium():
    """A browser without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs requirements-browser.txt")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("this is used in Chromium, and there is none")
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
