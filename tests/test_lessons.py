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


@pytest.mark.parametrize(
    "dataset",
    [
        # What a student on a train has: no MNIST, no network. On a machine with MNIST this is the second time.
        pytest.param("digits", marks=[pytest.mark.slow] if is_here("MNIST") else []),
        pytest.param("mnist", marks=needs("MNIST")),
    ],
)
@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_every_lesson(lesson, dataset, tmp_path):
    text = execute(lesson, dataset, tmp_path)
    if lesson[:2] in ("02", "04", "06"):
        assert dataset in text


@pytest.mark.slow
@pytest.mark.parametrize("lesson", [lesson for lesson in lessons.LESSONS if lesson[:2] in ("02", "04", "05")])
def test_lessons_on_colour_images(lesson, tmp_path):
    """32×32×3 in CIFAR-10's layout: nothing may assume 28 pixels or one channel."""
    file = write_npz(tmp_path / "colour.npz", count=256, shape=(32, 32, 3))
    text = execute(lesson, str(file), tmp_path / "out")
    if lesson[:2] == "02":
        assert "(32, 32, 3)" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pets", "sketches"])
@pytest.mark.parametrize("lesson", [lesson for lesson in lessons.LESSONS if lesson[:2] in ("02", "04", "05")])
def test_lessons_on_a_folder_of_pictures(lesson, kind, tmp_path, monkeypatch):
    """Few colour pictures of three classes, and grey ones without labels; the folder is named from where it lies."""
    classes = {"cat": 20, "dog": 20, "eel": 20} if kind == "pets" else {"": 130}
    write_pictures(tmp_path / kind, classes, colour=kind == "pets")
    monkeypatch.chdir(tmp_path)
    text = execute(lesson, kind, tmp_path / "out")
    if lesson[:2] == "02":
        assert f"{kind}: " in text and ("(32, 32, 3)" if kind == "pets" else "(28, 28, 1)") in text


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
