"""Every lesson, executed by papermill at the smoke preset, on each kind of data."""

import nbformat
import pytest
from conftest import is_here, needs, write_npz, write_pictures

from lab import book, lessons
from lab import run as running


def execute(lesson, dataset, out):
    """Run one lesson at smoke; returns what it printed."""
    results = running.execute([lesson], preset="smoke", dataset=dataset, out=out)
    assert not results[lesson][1], results
    notebook = nbformat.read(out / f"{lesson}.ipynb", as_version=4)
    text = "".join(o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream")
    assert "preset smoke:" in text, f"{lesson}: the injected preset took no effect"
    assert "preset quick:" not in text and "preset full:" not in text
    committed = {c.id: c for c in nbformat.read(lessons.NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4).cells}
    for cell in notebook.cells:
        if "nbval-check-output" in cell.metadata.get("tags", []):
            assert cell.outputs == committed[cell.id].outputs, f"{lesson}: a deterministic cell prints something else"
    errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert not errors, f"{lesson} writes to stderr: {errors[0].text[:300]}"
    return text


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_every_lesson(lesson, tmp_path):
    """On MNIST, or else on the digits of scikit-learn: what a student on a train has."""
    dataset = "mnist" if is_here("MNIST") else "digits"
    text = execute(lesson, dataset, tmp_path)
    if lesson[:2] in ("02", "04", "06"):
        assert dataset in text


@pytest.mark.slow
@needs("MNIST")  # without it, the test above has done this
def test_a_lesson_on_digits(tmp_path):
    """The other lessons go through on digits in test_release."""
    assert "digits" in execute("06_discussion", "digits", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "kind"), [("04_training", "colour.npz"), ("05_sampling", "pets")])
def test_lessons_on_colour_images(lesson, kind, tmp_path, monkeypatch):
    """32×32×3, in CIFAR-10's layout or as a folder that is named from where it lies: no 28 pixels, no one channel."""
    write_npz(tmp_path / "colour.npz", count=256, shape=(32, 32, 3))
    write_pictures(tmp_path / "pets", {"cat": 20, "dog": 20, "eel": 20})
    monkeypatch.chdir(tmp_path)
    execute(lesson, kind, tmp_path / "out")


@pytest.mark.slow
def test_a_lesson_on_grey_pictures_without_labels(tmp_path, monkeypatch):
    write_pictures(tmp_path / "sketches", {"": 130}, colour=False)
    monkeypatch.chdir(tmp_path)
    text = execute("02_forward_noising", "sketches", tmp_path / "out")
    assert "sketches: " in text and "28, 28, 1)" in text


@needs("requirements-book.txt")
def test_a_failing_lesson_is_reported_and_does_not_stop_the_next(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    first, second = lessons.LESSONS[:2]
    for name, source in ((first, "1 / 0"), (second, "1 / 1")):
        parameters = nbformat.v4.new_code_cell('PRESET = "quick"', metadata={"tags": ["parameters"]})
        setup = nbformat.v4.new_code_cell("import sys", metadata={"tags": ["setup"]})
        cells = [nbformat.v4.new_markdown_cell("# 1 · x"), parameters, setup, nbformat.v4.new_code_cell(source)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")
    for module in (running, lessons, book):
        monkeypatch.setattr(module, "NOTEBOOK_DIR", folder)
    monkeypatch.setattr(book, "LESSONS", (first, second))
    monkeypatch.setattr(book, "rooms", lambda: [])
    said, out = [], tmp_path / "out"
    failed = running.run([1, 2], preset="smoke", dataset="digits", out=out, say=said.append)
    assert failed == [first], said
    assert any("FAILED, ZeroDivisionError" in line for line in said) and any("1 of 2 lessons ran" in s for s in said)
    assert said[-1] == f"Open {out / 'book' / 'index.html'}"
    index = (out / "book" / "index.html").read_text(encoding="utf-8")
    assert index.count("failed") == 1 and all(f"{name}.html" in index for name in (first, second))
    assert "ZeroDivisionError" in (out / "book" / f"{first}.html").read_text(encoding="utf-8")
