"""Every lesson, executed by papermill at the smoke preset, on each kind of data."""

import re

import nbformat
import pytest
from conftest import mnist_here, write_npz

from labutils import lessons


def execute(names, dataset, out):
    failed = lessons.run(names, preset="smoke", dataset=dataset, out=out)
    assert not failed, failed
    for lesson in lessons.find_lessons(names):
        notebook = nbformat.read(out / f"{lesson}.ipynb", as_version=4)
        text = printed(notebook)
        assert "preset smoke:" in text, f"{lesson}: the injected preset took no effect"
        assert "preset quick:" not in text and "preset full:" not in text
        page = (out / f"{lesson}.html").read_text(encoding="utf-8")
        assert "<math" in page and not re.search(r"<(script|link|img)[^>]+(src|href)=.https?:", page), (
            f"{lesson}.html needs the network to show its formulas or pictures"
        )
        errors = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
        assert not errors, f"{lesson} writes to stderr: {errors[0].text[:300]}"
        yield lesson, notebook, text


def printed(notebook):
    return "".join(o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream")


def test_all_lessons_on_the_embedded_digits(tmp_path):
    """No MNIST, no network: what a student on a train has."""
    for lesson, _, text in execute((), "digits", tmp_path):
        if lesson[:2] in ("02", "04", "06"):
            assert "digits" in text
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(f"{lesson}.html" in index for lesson in lessons.LESSONS) and "failed" not in index


@pytest.mark.skipif(not mnist_here(), reason="no MNIST on this machine (set LABUTILS_DATA)")
def test_all_lessons_on_mnist(tmp_path):
    for lesson, _, text in execute((), "mnist", tmp_path):
        if lesson[:2] in ("02", "04", "06"):
            assert "mnist" in text


def test_lessons_2_4_5_on_colour_images(tmp_path):
    """32×32×3 in CIFAR-10's layout: nothing may assume 28 pixels or one channel."""
    file = write_npz(tmp_path / "colour.npz", count=256, shape=(32, 32, 3))
    out = tmp_path / "out"
    for lesson, _, text in execute((2, 4, 5), str(file), out):
        if lesson[:2] == "02":
            assert "(32, 32, 3)" in text


def test_a_failing_lesson_is_reported(tmp_path, monkeypatch):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    code = nbformat.v4.new_code_cell("1 / 0")
    parameters = nbformat.v4.new_code_cell('PRESET = "quick"', metadata={"tags": ["parameters"]})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# 1 · x"), parameters, code], metadata=kernel
    )
    nbformat.write(notebook, folder / f"{lessons.LESSONS[0]}.ipynb")
    monkeypatch.setattr(lessons, "NOTEBOOK_DIR", folder)
    said = []
    assert lessons.run([1], preset="smoke", dataset="digits", out=tmp_path / "out", say=said.append) == [
        lessons.LESSONS[0]
    ]
    assert any("FAILED, ZeroDivisionError" in line for line in said)
    assert "failed" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
