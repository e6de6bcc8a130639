"""What students are handed: nothing of a solution is left, all else is kept, and the manifest can rebuild it."""

import ast
import json
import re
import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from grading import __main__ as cli
from grading.batch import hidden_seeds, read_manifest
from grading.release import release
from lab import lessons, stubs

LESSON = lessons.LESSONS[0]
AT_TOP = {"notebooks", "labutils", "data", "benchmarks", "requirements.txt", "constraints.txt", "LICENSE", "START.txt"}
every_lesson = pytest.mark.parametrize("lesson", lessons.LESSONS)


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    release(out=folder)
    shutil.unpack_archive(folder / "student.zip", folder.with_name("unpacked"))
    return folder


def both(lesson, out):
    """The instructor's notebook and the student's."""
    return [nbformat.read(folder / f"{lesson}.ipynb", 4) for folder in (lessons.NOTEBOOK_DIR, out / "student")]


def test_a_secret_for_the_seeds_is_drawn_once_for_a_folder(tmp_path):
    """What students get is the same, byte for byte, whoever releases it; the seeds are not."""
    manifests, given = [], []
    for folder in ("mine", "theirs", "mine"):
        release(["2"], tmp_path / folder, say=lambda line: None)
        files = files_in(tmp_path / folder)
        manifests.append(json.loads(files.pop("manifest.json")))
        given.append(files)
    assert given[0] == given[1] == given[2]
    mine, theirs, again = manifests
    assert mine == again and mine["notebooks"] == theirs["notebooks"] and mine["secret"] != theirs["secret"]
    seeds = [hidden_seeds(manifest["secret"], 3) for manifest in manifests]
    assert seeds[0] == seeds[2] and not set(seeds[0]) & set(seeds[1]) and len(set(seeds[0])) == 3
    for damage in ("{", "[]", '{"secret": 5}', '{"secret": ""}'):
        (tmp_path / "mine" / "manifest.json").write_text(damage)
        release(["2"], tmp_path / "mine", say=lambda line: None)
        assert len(json.loads((tmp_path / "mine" / "manifest.json").read_text())["secret"]) == 32


def test_a_manifest_of_an_earlier_release_says_what_to_do(tmp_path):
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3, "notebooks": {}}')
    with pytest.raises(ValueError, match="Run release again, into the same folder"):
        read_manifest(tmp_path / "manifest.json")


@every_lesson
def test_answers_go_and_all_else_is_kept(lesson, out):
    instructor, student = both(lesson, out)
    of_lesson = {**instructor.metadata.lab, "code_hash": stubs.code_hash(instructor)}
    assert student.metadata == {**instructor.metadata, "lab": of_lesson}
    by_type = {kind: [cell.source for cell in student.cells if cell.cell_type == kind] for kind in ("code", "markdown")}
    for before, after in zip(instructor.cells, student.cells, strict=True):
        tags, source = before.metadata.get("tags", []), before.source
        metadata = dict(before.metadata) | ({"tags": [*tags, stubs.GOES_ON]} if stubs.is_check(before) else {})
        assert (after.id, after.cell_type, after.metadata) == (before.id, before.cell_type, metadata)
        assert not after.get("outputs") and not after.get("execution_count")
        if stubs.is_answer(before):  # told in another way than by the module that looks for leaks
            solution = re.search(r"[^\n]*### BEGIN SOLUTION.*### END SOLUTION[^\n]*", source, re.DOTALL)[0]
            lines = [line.strip() for line in solution.split("\n") if len(line) > 30 and not line.endswith(":")]
            assert not [line for line in lines if line in "\n".join(by_type[after.cell_type])]
            name = ast.parse(source).body[-1].name if after.cell_type == "code" else None
            stub = f'    raise NotImplementedError("{name}")' if name else "*Your answer here.*"
            marker = f"# exercise: {after.id}" if name else f"<!-- exercise: {after.id} -->"
            source = f"{marker}\n{source.replace(solution, stub)}"
        elif "badges" in tags:
            source = "No account or GPU needed."  # without the links to the notebook with the solutions
        assert after.source == source


@every_lesson
def test_manifest_has_every_cell_and_every_question(lesson, out):
    (instructor, student), manifest = both(lesson, out), json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    entry = manifest["notebooks"][lesson]
    for kept, cell in zip(entry["cells"], instructor.cells, strict=True):
        assert (kept["id"], kept["type"], kept["source"]) == (cell.id, cell.cell_type, cell.source)
        assert (kept["tags"], kept["nbgrader"]) == (cell.metadata.get("tags", []), cell.metadata.get("nbgrader"))
    answers = [cell for cell in student.cells if stubs.is_answer(cell)]
    graded = [cell for cell in instructor.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    headings = "".join(f"{cell.source}\n" for cell in student.cells).replace("`", "")
    for question, stub, check in zip(entry["questions"], answers, graded, strict=True):
        asked = {"answer": stub.metadata.nbgrader.grade_id, "cell": stub.id, "points": check.metadata.nbgrader.points}
        asked |= {"stub": stub.source, "marker": stub.source.split("\n")[0], "title": question["title"]}
        if stub.cell_type == "code":
            asked |= {"kind": "code", "check": check.id, "function": ast.parse(stub.source).body[-1].name}
        else:
            asked |= {"kind": "text", "check": None, "function": None}
        assert question == asked and f"### {question['title']}\n" in headings


def test_all_is_handed_out_and_the_same_each_time(out, tmp_path, capsys):
    secret = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["secret"]
    (tmp_path / "manifest.json").write_text(json.dumps({"secret": secret}))  # the only part that is drawn by chance
    for _ in range(2):  # the second time over the first
        assert cli.main(["release", "--out", str(tmp_path)]) == 0
        assert files_in(tmp_path) == files_in(out)
    assert f"{len(lessons.LESSONS)} notebooks, " in capsys.readouterr().out
    packed, loose = files_in(out.with_name("unpacked")), files_in(out / "student")
    assert {name.split("/")[0] for name in packed} == AT_TOP
    assert {name: packed.get(f"notebooks/{name}") for name in loose} == loose
    assert f"notebooks/{LESSON}.ipynb" in packed["START.txt"].decode()


@pytest.mark.slow
@every_lesson
def test_the_handout_stands_alone(out, lesson, monkeypatch):
    """Unpacked, and with no exercise solved, "Run All" reaches the end: only checks fail, each with its sentence."""
    unpacked = out.with_name("unpacked")
    monkeypatch.setenv("PYTHONPATH", str(unpacked))  # before the repository, which may be installed here
    notebook = nbformat.read(unpacked / "notebooks" / f"{lesson}.ipynb", as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += '\nPRESET, DATASET = "smoke", "digits"'
    notebook.cells.append(new_code_cell("print(labutils.__file__)"))
    options = {"kernel_name": "python3", "extra_arguments": list(lessons.QUIET_KERNEL), "timeout": 600}
    NotebookClient(notebook, resources={"metadata": {"path": str(unpacked / "notebooks")}}, **options).execute()
    assert notebook.cells[-1].outputs[0].text.strip() == str(unpacked / "labutils" / "__init__.py")
    failed = [cell for cell in notebook.cells if any(o.output_type == "error" for o in cell.get("outputs", []))]
    assert failed == [cell for cell in notebook.cells if stubs.is_check(cell)] != []
    for (error,) in (cell.outputs for cell in failed):
        assert error.ename == "CheckFailed" and "not written yet" in error.evalue


# From here on, some text of lesson 1's file is exchanged. The file is JSON: a cell has \n where a line ends.
ANSWER = r"hidden_layers = [keras.layers.Dense(size, activation=\"relu\") for size in hidden]\n"
ANSWER += r"return keras.Sequential([keras.Input((1,)), *hidden_layers, keras.layers.Dense(1)])"
FAULTS = [
    ({"### END SOLUTION": ""}, "line 3 is not closed"),
    ({"### END": "### BEGIN"}, "inside the region"),
    ({"### BEGIN SOLUTION": ""}, "closes nothing"),
    ({"SOLUTION": "ANSWER"}, "there is no solution between"),
    ({"    ### END SOLUTION": "", r"TION\n": r"TION\n    pass\n    ### END SOLUTION\n"}, "the solution is empty"),
    ({'"solution": true': '"solution": false'}, "do not make it an answer cell"),
    ({'"solution": true': '"solution": false', "SOLUTION": "ANSWER"}, "a check needs an answer cell of its own"),
    ({'"grade_id": "ex-1-1': '"points": 1, "grade_id": "ex-1-1'}, "a check needs an answer cell of its own"),
    ({'"grade": true': '"grade": false'}, "an answer that nothing checks needs points"),
    ({'"def build_mlp': '"func build_mlp'}, "line 1 is not Python"),
    ({'"grade_id": "check-1-1-build-mlp"': '"grade_id": "ex-1-1-build-mlp"'}, "'ex-1-1-build-mlp' is not new"),
    ({'"grade_id": "ex-1-1': '"grade_id": "ex 1 1'}, "not of letters"),
    ({'"schema_version": 3': '"schema_version": 2'}, "not those of schema 3"),
    ({'"points": 2,': ""}, "not those of schema 3"),
    ({'"task": false': '"task": true'}, "a task cell"),
    ({'"id": "check-1-1-build-mlp"': '"id": "ex-1-1-build-mlp"'}, "an id of its own"),
    ({'"cells"': '"cell"'}, "is not a notebook"),
    ({'"cell_type": "code"': '"cell_type": "cod"'}, "is not a notebook"),
    ({'SEED = 0"': 'SEED = 0  ### end solution"'}, "shows a marker"),
    ({'SEED = 0"': rf'SEED = 0\n{ANSWER}"'}, "shows the solution of ex-1-1"),
    ({'SEED = 0"': r"\n# " + ANSWER.replace(" for", r"\n#  for") + '"'}, "shows the solution of ex-1-1"),
    ({'SEED = 0"': 'SEED = 0; return np.cumprod(1.0  - betas)"'}, "shows the solution of ex-2-1"),
]


def changed_release(tmp_path, changes):
    """Release lessons 1 and 2, and return the student's lesson 1."""
    (tmp_path / "source").mkdir()
    for name in lessons.LESSONS[:2]:
        text = (lessons.NOTEBOOK_DIR / f"{name}.ipynb").read_text(encoding="utf-8")
        for old, new in changes.items() if name == LESSON else ():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "source" / f"{name}.ipynb").write_text(text, encoding="utf-8")
    release(["1", "2"], tmp_path / "out", source=tmp_path / "source")
    return nbformat.read(tmp_path / "out" / "student" / f"{LESSON}.ipynb", as_version=4)


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_faults_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)) as refusal:
        changed_release(tmp_path, changes)
    assert LESSON in str(refusal.value)
    assert not (tmp_path / "out").exists(), "nothing may be written"


def test_what_is_no_fault(tmp_path):
    """Half a solution, text around a solution, a picture in it, hidden tests."""
    changes = {
        '"# 1 · Function': rf'"{ANSWER.split(chr(92))[0]}\n# 1 · Function',
        '"def build_mlp': r'"import math\n\n\ndef build_mlp',
        '"id": "text-1-3': '"attachments": {"a.png": {"image/png": "aGVsbG8="}}, "id": "text-1-3',
        '(build_mlp)"': r'(build_mlp)\n### BEGIN HIDDEN TESTS\nassert 1\n### END HIDDEN TESTS\nprint(1)"',
    }
    cells = {cell.id: cell for cell in changed_release(tmp_path, changes).cells}
    assert cells["ex-1-1-build-mlp"].source.startswith("# exercise: ex-1-1-build-mlp\nimport math\n\n\ndef build_mlp")
    assert cells["check-1-1-build-mlp"].source == "checks.check_build_mlp(build_mlp)\nprint(1)"
    assert "attachments" not in cells["text-1-3-super-resolution"]


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for names, folder, message in (["99"], "out", "unknown lesson '99'"), (["1"], "file", "cannot write"):
        with pytest.raises(ValueError, match=message):
            release(names, tmp_path / folder)
    with pytest.raises(FileNotFoundError, match=LESSON):
        release(["1"], tmp_path / "out", source=tmp_path)
    release(["1"], tmp_path / "out")
    (tmp_path / "out" / "student" / "marks.csv").write_text("mine")
    before = files_in(tmp_path / "out")
    with pytest.raises(ValueError, match="holds marks.csv, which is not of this release"):
        release(["1", "2"], tmp_path / "out")
    assert files_in(tmp_path / "out") == before
