"""The single files: each holds all that its lesson needs, stays small, and runs alone in an empty folder."""

import ast
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from conftest import is_here
from nbclient import NotebookClient

from lab import colab, lessons
from labutils import pipeline, pretrained, results


def committed(lesson):
    return nbformat.read(lessons.NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)


def notebook_of(*sources):
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_what_a_lesson_needs_is_listed_and_exists(lesson):
    needs, notebook = lessons.needs(lesson), committed(lesson)
    assert notebook.metadata.lab == needs, f"run: python -m lab build --text {lesson}"
    checkpoints, known = set(needs["checkpoints"]), {path.stem for path in results.RESULTS.glob("*.json")}
    assert checkpoints <= set(pretrained.names()) and set(needs["results"]) <= known
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    # These name a network, a plan, rows of recorded results, or the settings of a short run.
    before = r'build\(|EXPERIMENTS\[|recorded\(|speeds\[|other\("checkpoint", |"pictures"\) == '
    named = rf'({before})"\w+"|(variant|network) in \([^)]*\)|"\w+": \{{|"[A-F]": "\w+"'
    code = re.sub(named, "", code)
    assert set(re.findall(r"""["'](\w+)["']""", code)) & set(pretrained.names()) <= checkpoints
    assert "load_judges" not in code or {"digit_features", "digit_recogniser"} <= checkpoints
    assert set(re.findall(r'results\.recorded\("(\w+)"', code)) <= set(needs["results"])


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_a_file_is_small_and_fetches_nothing(lesson):
    notebook = committed(lesson)
    single = colab.single_file(lesson, notebook)
    nbformat.validate(single)
    assert len(nbformat.writes(single)) <= colab.LIMIT
    assert [cell.id for cell in single.cells] == [cell.id for cell in notebook.cells]
    assert not [output for cell in single.cells for output in cell.get("outputs", [])]
    setup = next(cell for cell in single.cells if "setup" in cell.metadata.get("tags", []))
    assert not re.search(r"pip|subprocess|https?:|git ", setup.source.split('unpack("')[0])
    imported = {
        alias.name for node in ast.walk(ast.parse(setup.source)) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported <= {*sys.stdlib_module_names, "labutils"}


def unpack(lesson, folder):
    """Run the setup cell of a file twice, in a process of its own in an empty folder; returns where labutils lies."""
    single = colab.single_file(lesson, committed(lesson))
    setup = next(cell.source for cell in single.cells if "setup" in cell.metadata.get("tags", []))
    (folder / "setup.py").write_text(f"{setup}\n{setup}\nprint(labutils.__file__)", encoding="utf-8")
    done = subprocess.run([sys.executable, "setup.py"], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_packed_weights_are_nearly_the_same(tmp_path):
    where = unpack("07_better_and_faster", tmp_path)
    assert where == str(tmp_path / "lab" / "labutils" / "__init__.py")
    packed = tmp_path / "lab" / "data" / "checkpoints"
    needs, recorded = lessons.needs("07_better_and_faster"), (tmp_path / "lab/benchmarks/results").iterdir()
    carried = set(needs["checkpoints"]) - set(needs["left_out"])
    assert pretrained.names(packed) == sorted(carried) and "fast" in carried
    assert {path.name for path in recorded} == {f"{name}.json" for name in needs["results"]}
    for name in pretrained.names(packed):
        network, about = pretrained.load(name, packed)
        original, record = pretrained.load(name)
        # One is kept with two bytes a number, of which the smallest are 2^−24 apart.
        bits, smallest = (8, 2.0**-21) if name == "fast_epoch_02" else (12, 0.0)
        assert about.pop("rounded") == f"to {bits} significant bits, to make the file small"
        assert about.pop("weights_sha256") != record.pop("weights_sha256") and about == record
        for weight, exact in zip(network.get_weights(), original.get_weights(), strict=True):
            assert np.all(np.abs(weight - exact) <= 2.0**-bits * np.abs(exact) + smallest)


def test_packed_weights_of_two_bytes_draw_the_same(tmp_path):
    unpack("08_text_to_image", tmp_path)
    packed = tmp_path / "lab" / "data" / "checkpoints"
    assert pretrained.names(packed) == ["autoencoder", "digit_recogniser", "text_to_image"]
    texts = ["a red three left of a blue seven", "a green one above a white two"]
    drawn = [
        pipeline.TextToImage("text_to_image", folder).draw(texts) for folder in (packed, pretrained.CHECKPOINT_DIR)
    ]
    assert np.sqrt(np.mean((drawn[0] - drawn[1]) ** 2)) < 0.05  # of pictures from other noise it is 0.4


def test_two_calls_give_the_same_file():
    first, second = (colab.single_file(name, committed(name)) for name in [lessons.LESSONS[1]] * 2)
    assert nbformat.writes(first) == nbformat.writes(second)


def test_files_with_and_without_solutions(tmp_path):
    said = []
    colab.write_files([2], tmp_path, say=said.append)
    colab.write_files([2], tmp_path / "exercises", exercises=True, say=said.append)
    name = "02_forward_noising.ipynb"
    assert "### BEGIN SOLUTION" in (tmp_path / name).read_text(encoding="utf-8")
    assert "### BEGIN SOLUTION" not in (tmp_path / "exercises" / name).read_text(encoding="utf-8")
    assert len(said) == 2 and name in said[0] and "MB" in said[0]


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(colab, "LIMIT", 1000)
    with pytest.raises(ValueError, match="more than 1,000"):
        colab.write_files([2], tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="one cell tagged setup"):
        colab.single_file("x", notebook_of("1"))


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["01_function_inversion", "05_sampling"])
def test_a_file_runs_alone_in_an_empty_folder(lesson, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    colab.write_files([lesson], tmp_path, say=lambda line: None)
    notebook = nbformat.read(tmp_path / f"{lesson}.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = re.sub(r'PRESET = "\w+"', 'PRESET = "smoke"', parameters.source)
    if not is_here("MNIST"):
        parameters.source = parameters.source.replace('DATASET = "auto"', 'DATASET = "digits"')
    notebook.cells.append(nbformat.v4.new_code_cell("print(labutils.__file__)"))
    folder = tmp_path / "empty"
    folder.mkdir()
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert notebook.cells[-1].outputs[0].text.strip() == str(folder / "lab" / "labutils" / "__init__.py")
    printed = "".join(o.text for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream")
    assert "preset smoke:" in printed and "is not here" not in printed
