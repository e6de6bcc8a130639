"""What students are handed: nothing of a solution is left, all else is kept, and the manifest can rebuild it."""

import ast
import hashlib
import inspect
import json
import re
import shutil
import zipfile

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from grading import __main__ as commands
from grading import leaks
from grading import release as releasing
from grading.release import release
from labutils import __version__
from labutils._support import lessons, stubs
from labutils.commands import build

LESSON = "02_forward_noising"
FREE = "The noise would be too strong for a network that has only ever seen clean pictures of digits, so it fails."


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def nbgrader(grade_id, **changes):
    meta = {"grade": False, "grade_id": grade_id, "locked": False, "schema_version": 3, "solution": True, "task": False}
    return {"nbgrader": meta | changes}


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """The instructor's notebooks; a text twin stands in for one that is not executed yet."""
    folder = tmp_path_factory.mktemp("source")
    for lesson in lessons.LESSONS:
        committed = lessons.NOTEBOOK_DIR / f"{lesson}.ipynb"
        if committed.exists():
            shutil.copy(committed, folder)
        else:
            nbformat.write(build.read_twin(lesson), folder / committed.name)
    return folder


@pytest.fixture(scope="session")
def out(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    release(out=folder, source=source)
    return folder


@pytest.fixture(autouse=True)
def small_zip(request, monkeypatch):
    """Most tests look at the notebooks alone; their zips need not hold ten megabytes of weights."""
    if "out" not in request.fixturenames:
        monkeypatch.setattr(releasing, "NEEDED", ())


@pytest.fixture(params=lessons.LESSONS)
def lesson(request):
    return request.param


@pytest.fixture
def instructor(source, lesson):
    return nbformat.read(source / f"{lesson}.ipynb", as_version=4)


@pytest.fixture
def student(out, lesson):
    return nbformat.read(out / "student" / f"{lesson}.ipynb", as_version=4)


@pytest.fixture
def entry(out, lesson):
    return read_json(out / "manifest.json")["notebooks"][lesson]


def answers(notebook):
    return [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution")]


def solution_lines(cell):
    text = re.search(r"### BEGIN SOLUTION.*?\n(.*)\n.*?### END SOLUTION", cell.source, re.DOTALL).group(1)
    return text.split("\n")


def test_valid_and_without_outputs(student):
    nbformat.validate(student)
    assert (student.nbformat, student.nbformat_minor) == (4, 5)
    ids = [cell.id for cell in student.cells]
    assert len(ids) == len(set(ids))
    for cell in student.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_all_but_the_answers_is_kept(instructor, student):
    assert [cell.id for cell in student.cells] == [cell.id for cell in instructor.cells]
    assert student.metadata == instructor.metadata
    for before, after in zip(instructor.cells, student.cells, strict=True):
        tags = before.metadata.get("tags", [])
        expected = dict(before.metadata) | ({"tags": [*tags, stubs.GOES_ON]} if stubs.is_check(before) else {})
        assert (after.cell_type, after.metadata) == (before.cell_type, expected)
        if "badges" in tags:
            assert "](" not in after.source, "the row leads to the notebook with the solutions"
        elif not before.metadata.get("nbgrader", {}).get("solution"):
            assert after.source == before.source
        if after.metadata.get("nbgrader", {}).get("grade") and after.cell_type == "code":
            assert after.metadata.nbgrader.locked and re.fullmatch(r"checks\.check_\w+\(\w+\)", after.source)
    tags = [tag for cell in student.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == tags.count("setup") == 1
    assert any("<details>" in cell.source for cell in student.cells)


def test_stubs_keep_the_signature_and_say_which_exercise(instructor, student):
    for before, after in zip(answers(instructor), answers(student), strict=True):
        if after.cell_type == "markdown":
            assert after.source == f"<!-- exercise: {after.id} -->\n*Your answer here.*"
            continue
        assert after.source.split("\n")[0] == f"# exercise: {after.metadata.nbgrader.grade_id}"
        old, new = ast.parse(before.source).body[-1], ast.parse(after.source).body[-1]
        assert (old.name, ast.dump(old.args), ast.get_docstring(old)) == (
            new.name,
            ast.dump(new.args),
            ast.get_docstring(new),
        )
        names = {}
        exec(after.source, names)
        with pytest.raises(NotImplementedError, match=f"^{new.name}$"):
            names[new.name](*inspect.signature(names[new.name]).parameters)


def test_nothing_of_a_solution_is_left(instructor, student):
    """Told without the module that looks for leaks: by printing both from their syntax trees, and by sentences."""
    code = "\n".join(ast.unparse(ast.parse(cell.source)) for cell in student.cells if cell.cell_type == "code")
    everything = " ".join(" ".join(cell.source for cell in student.cells).split())
    assert "SOLUTION" not in everything and "HIDDEN" not in everything
    for cell in answers(instructor):
        lines = solution_lines(cell)
        if cell.cell_type == "markdown":
            sentences = re.split(r"(?<=[.;:]) ", " ".join(lines))
            assert not [sentence for sentence in sentences if len(sentence) > 20 and sentence in everything]
            continue
        assert "".join("".join(lines).split()) not in "".join(everything.split())
        first = cell.source[: cell.source.index("### BEGIN")].count("\n") + 1
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.stmt) and first < node.lineno <= first + len(lines):
                printed = ast.unparse(node)
                assert printed not in code or re.fullmatch(r"return \w+", printed), printed


def test_manifest_rebuilds_the_notebook(instructor, student, entry, source, out, lesson):
    def described(cell):
        return cell["id"], cell.get("type") or cell["cell_type"], cell["source"]

    assert [described(cell) for cell in entry["cells"]] == [described(cell) for cell in instructor.cells]
    for cell, kept in zip(instructor.cells, entry["cells"], strict=True):
        assert kept["tags"] == cell.metadata.get("tags", []) and kept["nbgrader"] == cell.metadata.get("nbgrader")
    assert entry["metadata"]["kernelspec"]["name"] == "python3"
    for name, path in (("instructor", source), ("student", out / "student")):
        assert entry["sha256"][name] == hashlib.sha256((path / f"{lesson}.ipynb").read_bytes()).hexdigest()
    by_id = {cell.id: cell for cell in student.cells}
    for question in entry["questions"]:
        stub = by_id[question["cell"]]
        assert question["stub"] == stub.source and question["marker"] in stub.source.split("\n")


def test_manifest_has_every_question(instructor, entry):
    questions = entry["questions"]
    assert [question["answer"] for question in questions] == [c.metadata.nbgrader.grade_id for c in answers(instructor)]
    graded = [cell for cell in instructor.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    assert sum(question["points"] for question in questions) == sum(cell.metadata.nbgrader.points for cell in graded)
    assert [q["check"] or q["answer"] for q in questions] == [cell.metadata.nbgrader.grade_id for cell in graded]
    for question, cell in zip(questions, answers(instructor), strict=True):
        if cell.cell_type == "code":
            assert question["kind"] == "code" and f"def {question['function']}(" in cell.source
            check = next(c for c in graded if c.metadata.nbgrader.grade_id == question["check"])
            assert check.source.endswith(f"({question['function']})")
        else:
            assert (question["kind"], question["function"], question["check"]) == ("text", None, None)


def test_same_input_same_bytes(out, source, tmp_path, no_partial_files):
    for _ in range(2):  # the second time over the first
        release(out=tmp_path, source=source)
        files = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {path.name for path in tmp_path.iterdir()} == {"student", "student.zip", "manifest.json"}
    text = (out / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert text == json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert manifest["manifest_version"] == 3 and manifest["labutils_version"] == __version__
    assert list(manifest["notebooks"]) == list(lessons.LESSONS)


@pytest.fixture(scope="session")
def unpacked(out, tmp_path_factory):
    """The zip of the handout, in an empty folder."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(out / "student.zip") as archive:
        archive.extractall(folder)
    return folder


def test_the_handout_stands_alone(unpacked, lesson, monkeypatch):
    """Unpacked, and with no exercise solved, "Run All" reaches the end: only checks fail, each with its sentence."""
    monkeypatch.setenv("PYTHONPATH", str(unpacked))  # before the repository, which may be installed here
    notebook = nbformat.read(unpacked / "notebooks" / f"{lesson}.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += '\nPRESET, DATASET = "smoke", "digits"'
    notebook.cells.append(new_code_cell("print(labutils.__file__)"))
    folder = {"metadata": {"path": str(unpacked / "notebooks")}}
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=folder, extra_arguments=list(lessons.QUIET_KERNEL)
    ).execute()
    assert notebook.cells[-1].outputs[0].text.strip() == str(unpacked / "labutils" / "__init__.py")
    failed = [cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", []))]
    assert failed == [cell for cell in notebook.cells if stubs.is_check(cell)] != []
    for cell in failed:
        (error,) = cell.outputs
        assert error.ename == "CheckFailed" and "not written yet" in error.evalue


def test_the_zip_has_what_is_handed_out_and_no_solution(out, unpacked):
    for path in (out / "student").iterdir():
        assert (unpacked / "notebooks" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in unpacked.iterdir()} == {
        "notebooks",
        "labutils",
        "data",
        "benchmarks",
        "requirements.txt",
        "constraints.txt",
        "LICENSE",
        "START.txt",
    }
    assert not [path for path in unpacked.rglob("*") if path.name.startswith(".") or path.suffix == ".pyc"]
    assert f"notebooks/{lessons.LESSONS[0]}.ipynb" in (unpacked / "START.txt").read_text(encoding="utf-8")


def test_command(tmp_path, capsys):
    assert commands.main(["release", "--out", str(tmp_path), "2"]) == 0
    assert "1 notebooks, 3 questions, 8 points" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "student").iterdir()] == [f"{LESSON}.ipynb"]


# From here on, small notebooks with one fault each.

SOLVED = '''def spread(values):
    """How far the values lie apart."""
    ### BEGIN SOLUTION
    largest = max(value ** 2 for value in values)
    return largest - min(values)  # the answer
    ### END SOLUTION'''


def small_cells():
    """An exercise with its check, and an answer in free text."""
    locked = nbgrader("check-spread", grade=True, solution=False, locked=True, points=2)
    text = f"<!-- ### BEGIN SOLUTION -->\n{FREE}\n<!-- ### END SOLUTION -->"
    return {
        "title": new_markdown_cell("# 2 · Small", id="title"),
        "ex": new_code_cell(SOLVED, id="ex", metadata=nbgrader("ex-spread")),
        "check": new_code_cell("checks.check_spread(spread)", id="check", metadata=locked),
        "text": new_markdown_cell(text, id="text", metadata=nbgrader("text-why", grade=True, points=1)),
    }


def small_release(tmp_path, cells, name=LESSON, out="out"):
    (tmp_path / "source").mkdir(exist_ok=True)
    metadata = {"kernelspec": build.KERNEL}
    # Not by nbformat, which repairs some of the faults below.
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells.values())}
    (tmp_path / "source" / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    release([name], tmp_path / out, source=tmp_path / "source")
    return nbformat.read(tmp_path / out / "student" / f"{name}.ipynb", as_version=4)


def test_hidden_tests_are_removed(tmp_path):
    cells = small_cells()
    region = "### BEGIN HIDDEN TESTS\nassert spread([9]) == 72\n### END HIDDEN TESTS"
    cells["check"].source += f"\n{region}\nprint('done')"
    cells["hidden"] = new_code_cell(region, id="hidden")
    student = small_release(tmp_path, cells)
    assert [cell.id for cell in student.cells] == ["title", "ex", "check", "text"]
    assert student.cells[2].source == "checks.check_spread(spread)\nprint('done')"
    manifest = read_json(tmp_path / "out" / "manifest.json")["notebooks"][LESSON]
    assert [region in cell["source"] for cell in manifest["cells"]] == [False, False, True, False, True]


def test_what_surrounds_a_solution_is_kept(tmp_path):
    cells = small_cells()
    cells["ex"].source = f"import math\n\n\n{SOLVED}\n\n\nprint(math.pi)"
    cells["text"]["attachments"] = {"answer.png": {"image/png": "aGVsbG8="}}
    student = small_release(tmp_path, cells)
    assert student.cells[1].source.split("\n")[:4] == ["# exercise: ex-spread", "import math", "", ""]
    assert student.cells[1].source.endswith('    raise NotImplementedError("spread")\n\n\nprint(math.pi)')
    assert "attachments" not in student.cells[3]


def set_source(name, text):
    return lambda cells: cells[name].update(source=text)


def set_meta(name, **changes):
    return lambda cells: cells[name].metadata.nbgrader.update(changes)


FAULTS = {
    "not closed": (set_source("ex", SOLVED.replace("### END SOLUTION", "")), "line 3 is not closed"),
    "nested": (set_source("ex", SOLVED.replace("return", "### BEGIN SOLUTION\n    return")), "inside the region"),
    "only an end": (set_source("ex", SOLVED.replace("### BEGIN SOLUTION", "")), "closes nothing"),
    "no solution": (set_source("ex", "def spread(values):\n    pass"), "there is no solution between"),
    "no text": (set_source("text", "Your answer"), "there is no solution between"),
    "empty": (set_source("ex", "def f():\n    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION"), "is empty"),
    "empty text": (set_source("text", "### BEGIN SOLUTION\n…\n### END SOLUTION"), "is empty"),
    "ordinary cell": (lambda cells: cells["ex"].metadata.clear(), "do not make it an answer cell"),
    "hidden, open": (set_source("check", "### BEGIN HIDDEN TESTS\nspread([])"), "HIDDEN TESTS in line 1 is not closed"),
    "not Python": (set_source("ex", SOLVED.replace("def ", "func ")), "line 1 is not Python"),
    "no check": (lambda cells: cells.pop("check"), "an answer that nothing checks needs points"),
    "no answer": (lambda cells: cells.pop("ex"), "a check needs an answer cell of its own"),
    "two checks": (
        lambda cells: cells.update(
            more=new_code_cell("1", id="more", metadata=nbgrader("more", grade=True, solution=False, points=1))
        ),
        "a check needs an answer cell of its own",
    ),
    "same grade_id": (set_meta("check", grade_id="ex-spread"), "'ex-spread' is not new"),
    "odd grade_id": (set_meta("ex", grade_id='a"b'), "not of letters"),
    "old schema": (set_meta("ex", schema_version=2), "not those of schema 3"),
    "task": (set_meta("text", task=True), "task cells are not supported"),
    "same id": (lambda cells: cells["check"].update(id="ex"), "an id of its own"),
}


@pytest.mark.parametrize(("change", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_are_refused(change, message, tmp_path):
    cells = small_cells()
    change(cells)
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        small_release(tmp_path, cells)
    assert LESSON in str(refusal.value)
    assert not (tmp_path / "out").exists(), "nothing may be written"


def test_files_that_are_no_notebooks_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no notebook"):
        release([LESSON], tmp_path / "out", source=tmp_path)
    for text in (
        "{",
        "[]",
        "{}",
        '{"cells": [{}], "nbformat": 4}',
        '{"cells": [], "nbformat": 3, "nbformat_minor": 0}',
    ):
        (tmp_path / f"{LESSON}.ipynb").write_text(text)
        with pytest.raises(ValueError, match="is not a notebook of format 4.5"):
            release([LESSON], tmp_path / "out", source=tmp_path)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown lesson '9'"):
        release(["9"], tmp_path / "out")
    with pytest.raises(ValueError, match="cannot write"):
        small_release(tmp_path, small_cells(), out="/dev/null/x")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "student").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write"):
        small_release(tmp_path, small_cells(), out="file")
    small_release(tmp_path, small_cells())
    (tmp_path / "out" / "student" / "marks.csv").write_text("mine")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="holds marks.csv, which is not part of this release"):
        small_release(tmp_path, {"new": new_markdown_cell("changed", id="new")} | small_cells())
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


LEAKS = {
    "pasted": SOLVED.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", ""),
    "in a comment": "x = 1\n# largest = max(value ** 2   for value in values)\n# return largest - min( values )",
    "forgotten marker": "x = 1  ### end solution",
}


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_leaks_are_found(text, tmp_path):
    with pytest.raises(ValueError, match=rf"{LESSON}.ipynb, cell leak (repeats|has the marker)"):
        small_release(tmp_path, {"leak": new_code_cell(text, id="leak")} | small_cells())
    assert not (tmp_path / "out").exists(), "nothing may be written"


def test_leak_in_another_lesson(tmp_path):
    small_release(tmp_path, small_cells())
    with pytest.raises(ValueError, match="03_unet.ipynb, cell leak repeats the solution of ex"):
        notebook = new_notebook(cells=[new_code_cell(LEAKS["in a comment"], id="leak")])
        nbformat.write(notebook, tmp_path / "source" / "03_unet.ipynb")
        release(["2", "3"], tmp_path / "both", source=tmp_path / "source")


HARMLESS = [
    "x = 1  # largest\ny = x",
    "def f(values):\n    largest = sorted(values)\n    return largest",
    "import math\nvalues = []",
    "%matplotlib inline\n!ls",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_common_lines_are_no_leaks(text, tmp_path):
    cells = small_cells()
    cells["ex"].source = SOLVED.replace("    largest", "    import math\n    x = 1\n    values = []\n    largest")
    cells["ex"].source = cells["ex"].source.replace("    ### END", "    return largest\n    ### END")
    hint = new_markdown_cell(
        "Hint: `largest = max(value ** 2 for value in values)`; the noise is too strong.", id="hint"
    )
    small_release(tmp_path, {"more": new_code_cell(text, id="more"), "hint": hint} | cells)


def test_a_cell_may_repeat_a_solution_on_purpose(tmp_path):
    shown = new_code_cell(LEAKS["pasted"], id="shown", metadata={"tags": [leaks.ALLOWED]})
    assert small_release(tmp_path, {"shown": shown} | small_cells()).cells[0].source == LEAKS["pasted"]
