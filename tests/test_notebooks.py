"""The committed notebooks: clean, executed, in step with their text twins, deterministic outputs reproducible."""

import ast
import html
import json
import os
import re
import subprocess
import sys

import nbformat
import pytest

from lab import address, build, lessons
from labutils import checks, presets

COMMITTED = {lesson: lessons.NOTEBOOK_DIR / f"{lesson}.ipynb" for lesson in lessons.LESSONS}


@pytest.fixture(params=lessons.LESSONS)
def lesson(request):
    return request.param


@pytest.fixture
def notebook(lesson):
    return nbformat.read(COMMITTED[lesson], as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_valid_and_small(lesson, notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))
    assert COMMITTED[lesson].stat().st_size <= 2_000_000


def test_executed_in_order_without_errors(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text[:300]
        assert "\r" not in output.get("text", "")


def test_executed_on_mnist(lesson, notebook):
    text = json.dumps(notebook)
    assert "scikit-learn digits, not MNIST" not in text
    if lesson[:2] in ("02", "04"):
        assert "mnist" in text


def test_no_traces_of_a_machine(notebook):
    assert set(notebook.metadata) == {"kernelspec", "lab", "language_info"}
    assert set(notebook.metadata.kernelspec) == {"display_name", "language", "name"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "nbgrader"}, cell.metadata
    text = json.dumps(notebook, ensure_ascii=False)
    found = re.search(r"(?<![\w.])/(home|root|tmp|work|Users|usr|content)/|C:\\\\|papermill|colab_type", text)
    assert not found, text[max(found.start() - 60, 0) : found.end() + 60]


def test_opening_cells(lesson, notebook):
    assert notebook.cells[0].source.startswith(f"# {lessons.title(lesson)}")
    opening = notebook.cells[0].source
    assert "You will be able to" in opening and "minutes" in opening
    assert [len(tagged(notebook, tag)) for tag in ("badges", "parameters", "setup")] == [1, 1, 1]
    assert notebook.cells.index(tagged(notebook, "parameters")[0]) == 2
    values = {}
    exec(tagged(notebook, "parameters")[0].source, values)
    assert {"PRESET", "DATASET", "SEED"} <= values.keys() and values["PRESET"] in presets.PRESETS
    assert "## Remember" in notebook.cells[-1].source


def test_the_readme_has_the_table_of_the_lessons():
    text = lessons.README.read_text(encoding="utf-8")
    assert lessons.table(folder="notebooks/").join(lessons.TABLE) in text, "run: python -m lab build --text"


def test_one_address_for_all(lesson, notebook):
    repository, tag = address.recorded_address()
    assert tagged(notebook, "setup")[0].source == address.SETUP.format(repository=repository, tag=tag)
    assert tagged(notebook, "badges")[0].source == address.badges(lesson)


def test_every_picture_has_alternative_text(notebook):
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    for picture in pictures:
        assert len(picture.metadata.get("image/png", {}).get("alt", "").split()) >= 4
    for output in outputs(notebook):
        for image in re.findall(r"<img[^>]*>", "".join(output.get("data", {}).get("text/html", ""))):
            assert re.search(r'alt="[^"]{20,}"', image)


def test_outputs_come_from_the_code_above_them(lesson, notebook):
    """Titles and legends cannot be read in a picture, so `build` notes which code it executed."""
    assert lessons.executed_code().get(lesson) == lessons.code_hash(notebook), f"run: python -m lab build {lesson}"


GIVEN = {"show": {1: "alt"}, "show_animation": {2: "alt"}, "show_slider": {3: "title", 4: "alt"}}


def pattern(node):
    """What a text in the code looks like once it is computed: its constant parts, and anything between them."""
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(map(pattern, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pattern(node.left) + pattern(node.right)
    return ".*"


def texts_not_shown(cell):
    """The texts that a cell gives to the functions of GIVEN and that its outputs lack."""
    shown = [output.get("metadata", {}).get("image/png", {}).get("alt", "") for output in cell.outputs]
    shown += [html.unescape(output.get("data", {}).get("text/html", "")) for output in cell.outputs]
    missing = []
    for call in ast.walk(ast.parse(re.sub("^%.*$", "", cell.source, flags=re.MULTILINE))):
        places = GIVEN.get(getattr(call.func, "attr", ""), {}) if isinstance(call, ast.Call) else {}
        for place, name in places.items():
            given = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == name)]
            wanted = [text for text in map(pattern, given) if text != ".*"]
            missing += [text for text in wanted if not any(re.search(text, each, re.DOTALL) for each in shown)]
    return missing


def test_figures_are_described_by_the_words_in_the_code(notebook):
    missing = {cell.id: texts_not_shown(cell) for cell in notebook.cells if cell.cell_type == "code"}
    assert not any(missing.values()), {cell: texts for cell, texts in missing.items() if texts}


@pytest.mark.parametrize(
    "code", ['show(figure, "{}")', 'show(figure, alt=f"a {{1}} {}")', 'show_animation(a, b, "{}" + c)']
)
def test_a_description_that_is_older_than_its_cell_is_found(code):
    picture = nbformat.v4.new_output("display_data", {}, metadata={"image/png": {"alt": "a 1 line that rises"}})
    for words, old in (("line that rises", False), ("line that falls", True)):
        cell = nbformat.v4.new_code_cell(f"plots.{code.format(words)}", outputs=[picture])
        assert bool(texts_not_shown(cell)) == old


def test_exercises_have_all_their_parts(notebook):
    solutions = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    assert len(solutions) >= 2
    ids = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids))
    for cell in notebook.cells:
        meta = cell.metadata.get("nbgrader")
        if not meta:
            continue
        assert {"grade", "grade_id", "locked", "schema_version", "solution", "task"} <= meta.keys()
        assert meta.schema_version == 3 and ("points" in meta) == meta.grade
        block = notebook.cells[notebook.cells.index(cell) - 1]
        if meta.solution:
            assert "### BEGIN SOLUTION" in cell.source and "### END SOLUTION" in cell.source
            assert (
                re.search(r"### Exercise \d+\.\d+\b", block.source)
                and "difficulty" in block.source.lower()
                and "minutes" in block.source
            )
            assert cell.cell_type == "markdown" or "<details>" in block.source
        else:
            assert re.fullmatch(r"checks\.check_\w+\(\w+\)", cell.source)
            assert hasattr(checks, re.search(r"check_\w+", cell.source).group())
            assert "All tests in" in cell.outputs[0].text


@pytest.mark.parametrize("lesson", lessons.LESSONS, indirect=True)
def test_questions_before_plots(notebook):
    """Each has a line to write into, and what the student wrote is shown beside the answer."""
    questions = sum(cell.source.count("Predict before you run") for cell in notebook.cells)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert questions >= 2
    assert code.count('prediction = "…"') == code.count("plots.show_prediction(prediction,") == questions


@pytest.mark.parametrize("lesson", lessons.LESSONS, indirect=True)
def test_the_minutes_are_those_of_its_words_and_exercises(lesson, notebook):
    said = int(re.search(r"\*\*Time:\*\* about (\d+)", notebook.cells[0].source).group(1))
    assert said == lessons.minutes(notebook) == lessons.ABOUT[lesson]["minutes"], f"python -m lab build --text {lesson}"


@pytest.mark.parametrize("lesson", lessons.LESSONS, indirect=True)
def test_exercises_say_what_they_are_worth(notebook):
    for check in notebook.cells:
        if points := check.metadata.get("nbgrader", {}).get("points"):
            block = next(
                c for c in reversed(notebook.cells[: notebook.cells.index(check)]) if "### Exercise" in c.source
            )
            assert re.search(rf"\*{points} points? · ", block.source), (
                f"{check.metadata.nbgrader.grade_id}: {points} points"
            )


def test_twins_are_in_step(lesson):
    assert build.in_step(lesson), f"run: python -m lab build {lesson}"


def test_address_is_written_everywhere(monkeypatch, tmp_path):
    monkeypatch.setattr(lessons, "SOURCE_DIR", tmp_path)
    monkeypatch.setattr(address, "ADDRESS_FILE", tmp_path / "address.txt")
    for module in (address, build):
        monkeypatch.setattr(module, "NOTEBOOK_DIR", tmp_path)
    for name in lessons.LESSONS:
        (tmp_path / f"{name}.py").write_bytes((lessons.NOTEBOOK_DIR / "source" / f"{name}.py").read_bytes())
        (tmp_path / f"{name}.ipynb").write_bytes(COMMITTED[name].read_bytes())
    address.set_address("https://github.com/someone/lab", "v2")
    for name in lessons.LESSONS:
        assert build.in_step(name)
        text = (tmp_path / f"{name}.ipynb").read_text(encoding="utf-8")
        assert f"github/someone/lab/blob/v2/notebooks/{name}.ipynb" in text
        assert 'REPOSITORY, TAG = \\"https://github.com/someone/lab\\", \\"v2\\"' in text


def test_new_prose_keeps_the_outputs_and_new_code_does_not(monkeypatch, tmp_path):
    lesson = "02_forward_noising"
    twin, notebook = tmp_path / f"{lesson}.py", tmp_path / f"{lesson}.ipynb"
    text = (lessons.SOURCE_DIR / twin.name).read_text(encoding="utf-8")
    notebook.write_bytes(COMMITTED[lesson].read_bytes())
    monkeypatch.setattr(lessons, "SOURCE_DIR", tmp_path)
    monkeypatch.setattr(build, "NOTEBOOK_DIR", tmp_path)
    twin.write_text(text.replace("# %% [markdown]\n", "# %% [markdown]\n# Another sentence.\n#\n"), encoding="utf-8")
    assert not build.in_step(lesson)
    build.build_text(lesson)
    assert build.in_step(lesson)
    outputs = [cell.get("outputs") for cell in nbformat.read(notebook, as_version=4).cells]
    assert outputs == [cell.get("outputs") for cell in nbformat.read(COMMITTED[lesson], as_version=4).cells]
    twin.write_text(text + "\n# %%\n1 + 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the code of 02_forward_noising.py has changed"):
        build.build_text(lesson)


CHANGES = {  # of lesson 2
    "title": ('"Forward noising (', '"Noising ('),
    "legend": ("added by the forward step", "added on the way out"),
    "label": ('ylabel=r"$\\beta_t$"', 'ylabel=r"$b_t$"'),
    "alternative text": ('f"Sixteen images', 'f"Images'),
    "number": ("x_train[:16]", "x_train[:8]"),
}


@pytest.mark.parametrize("old, new", CHANGES.values(), ids=CHANGES)
def test_new_words_in_a_figure_are_new_code(old, new, monkeypatch, tmp_path):
    """Also if the notebook was edited as the text twin was."""
    lesson = "02_forward_noising"
    twin, notebook = tmp_path / f"{lesson}.py", nbformat.read(COMMITTED[lesson], as_version=4)
    text = (lessons.SOURCE_DIR / twin.name).read_text(encoding="utf-8")
    assert old in text
    twin.write_text(text.replace(old, new), encoding="utf-8")
    for cell in notebook.cells:
        cell.source = cell.source.replace(old, new)
    nbformat.write(notebook, tmp_path / f"{lesson}.ipynb")
    monkeypatch.setattr(lessons, "SOURCE_DIR", tmp_path)
    monkeypatch.setattr(build, "NOTEBOOK_DIR", tmp_path)
    assert build.in_step(lesson)
    before = (tmp_path / f"{lesson}.ipynb").read_bytes()
    with pytest.raises(ValueError, match="the code of 02_forward_noising.py has changed"):
        build.build_text(lesson)
    assert (tmp_path / f"{lesson}.ipynb").read_bytes() == before


def test_deterministic_outputs_by_nbval(tmp_path):
    """The plugin nbval runs the committed notebook at smoke; the tagged cells must print what is committed.

    One lesson: test_lessons compares the tagged cells of all.
    """
    lesson = "02_forward_noising"
    notebook = nbformat.read(COMMITTED[lesson], as_version=4)
    marked = tagged(notebook, "nbval-check-output")
    assert len(marked) >= 3
    cell = tagged(notebook, "parameters")[0]
    cell.source = re.sub(r'PRESET = "\w+"', 'PRESET = "smoke"', cell.source)
    path = tmp_path / f"{lesson}.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-n0", "-p", "no:cacheprovider", "-q", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(lessons.NOTEBOOK_DIR.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-3000:]
