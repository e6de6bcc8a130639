"""Which answer stands in which cell: told for sure, with its reason, or left to a human; whatever the file is like."""

import json
import random

import nbformat
import pytest

from grading import matching
from grading.cells import Cell, Unreadable, read_cells
from grading.matching import NAME, identify, match
from grading.release import release
from labutils._support import lessons
from labutils.commands import build

LESSON, DISCUSSION = "02_forward_noising", "06_discussion"
ALPHA, NOISE, POSTERIOR = "ex-2-1-alpha-bars", "ex-2-2-add-noise", "ex-2-3-posterior-variances"
TEXT = "text-6-3-measurement"
DONE = {
    ALPHA: "def alpha_bars(betas):\n    return np.cumprod(1 - betas)",
    NOISE: "def add_noise(x0, t, noise, alpha_bars):\n    a = alpha_bars[t]\n    return a * x0 + (1 - a) * noise",
    POSTERIOR: "def posterior_variances(betas):\n    return betas",
}


EMPTY = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """The release, of the text twins: they need not be executed."""
    source = tmp_path_factory.mktemp("source")
    for lesson in lessons.LESSONS:
        nbformat.write(build.read_twin(lesson), source / f"{lesson}.ipynb")
    folder = tmp_path_factory.mktemp("release")
    release(out=folder, source=source)
    return folder


@pytest.fixture(scope="session")
def manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def entry(manifest):
    return manifest["notebooks"][LESSON]


def handed_out(out, lesson=LESSON):
    notebook = json.loads((out / "student" / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


@pytest.fixture
def notebook(out):
    """A student's notebook with all answers of lesson 2, marker lines kept; a plain dict."""
    made = handed_out(out)
    for name, text in DONE.items():
        the(made, name)["source"] = f"# exercise: {name}\n{text}"
    return made


@pytest.fixture
def discussion(out):
    made = handed_out(out, DISCUSSION)
    the(made, TEXT)["source"] = f"<!-- exercise: {TEXT} -->\nBecause the data are few."
    return made


def the(notebook, cell_id):
    return next(cell for cell in notebook["cells"] if cell["id"] == cell_id)


def place(notebook, cell_id):
    return notebook["cells"].index(the(notebook, cell_id))


def code(source, **rest):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | rest


def text(source):
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def pack(notebook):
    return json.dumps(notebook, ensure_ascii=False).encode()


def cells_of(notebook):
    return read_cells(pack(notebook))


def strip(notebook, ids=True, metadata=True):
    """Take away what cells are known by."""
    for cell in notebook["cells"]:
        if metadata:
            cell["metadata"] = {}
        if ids:
            cell.pop("id", None)
        if "exercise:" in cell["source"]:
            cell["source"] = cell["source"].split("\n", 1)[1]


def others_are_fine(found, *names):
    for name in DONE.keys() - set(names):
        assert found[name].source.endswith(DONE[name]) and found[name].answered and not found[name].note


# How a cell is found.


def test_by_grade_id(notebook, entry):
    found = match(cells_of(notebook), entry)
    assert list(found) == list(DONE), "in the order of the questions"
    others_are_fine(found)
    for name in DONE:
        assert found[name].how == "grade_id" and found[name].cell_index == place(notebook, name)
        assert found[name].source == the(notebook, name)["source"]


@pytest.mark.parametrize("lesson", lessons.LESSONS)
@pytest.mark.parametrize("left", ["grade_id", "cell id", NAME])
def test_every_answer_of_every_lesson_by_each_sign(lesson, left, out, manifest):
    entry, notebook = manifest["notebooks"][lesson], handed_out(out, lesson)
    asked = entry["questions"]
    places = {question["answer"]: place(notebook, question["cell"]) for question in asked}
    for question in asked:
        body = "return 12345" if question["kind"] == "code" else "My answer."
        source = question["stub"].replace(f'raise NotImplementedError("{question["function"]}")', body)
        the(notebook, question["cell"])["source"] = source.replace("*Your answer here.*", body)
    strip(notebook, ids=left != "cell id", metadata=left != "grade_id")
    random.Random(0).shuffle(order := list(range(len(notebook["cells"]))))
    notebook["cells"] = [notebook["cells"][index] for index in order]
    found = match(cells_of(notebook), entry)
    for question in asked:
        it = found[question["answer"]]
        if not question["function"] and left == NAME:
            assert (it.source, it.how) == (None, "needs a human") and it.note
        else:
            assert it.how == left and order[it.cell_index] == places[question["answer"]] and it.answered


def test_what_is_not_there_needs_a_human(notebook, entry):
    notebook["cells"].remove(the(notebook, NOISE))
    found = match(cells_of(notebook), entry)
    assert (found[NOISE].source, found[NOISE].how, found[NOISE].cell_index) == (None, "needs a human", None)
    others_are_fine(found, NOISE)
    assert all(it.how == "needs a human" and it.note for it in match([], entry).values())


# What students do with cells.


def test_two_different_claims_need_a_human(notebook, entry):
    copy = json.loads(json.dumps(the(notebook, ALPHA))) | {"id": "copy"}
    copy["source"] += " * 1.0"
    notebook["cells"].append(copy)
    it = match(cells_of(notebook), entry)[ALPHA]
    assert it.source is None and it.how == "needs a human"
    assert f"cells {place(notebook, ALPHA) + 1}, {len(notebook['cells'])} differ" in it.note
    others_are_fine(match(cells_of(notebook), entry), ALPHA)


def test_duplicates_that_are_alike(notebook, entry):
    notebook["cells"] += [the(notebook, ALPHA)] * 3
    found = match(cells_of(notebook), entry)
    others_are_fine(found)
    assert found[ALPHA].cell_index == place(notebook, ALPHA)


def test_a_copy_of_the_stub_beside_the_answer(notebook, entry, out):
    notebook["cells"].insert(0, the(handed_out(out), ALPHA))
    others_are_fine(match(cells_of(notebook), entry))


def test_too_many_claims(notebook, entry):
    notebook["cells"] += [the(notebook, ALPHA) | {"source": f"{DONE[ALPHA]} * {number}"} for number in range(300)]
    it = match(cells_of(notebook), entry)[ALPHA]
    assert it.source is None and "301 different cells claim this answer" in it.note


def test_ids_that_all_cells_share(notebook, entry):
    for cell in notebook["cells"]:
        cell["id"] = ALPHA
    others_are_fine(match(cells_of(notebook), entry))
    strip(notebook, ids=False)
    found = match(cells_of(notebook), entry)
    assert all(found[name].source == DONE[name] for name in DONE)


@pytest.mark.parametrize("delete", [True, False])
def test_moved_into_another_cell(delete, notebook, entry, out):
    """The student defines the function in a new cell; the stub is gone or still there."""
    index = place(notebook, NOISE)
    notebook["cells"][index] = the(handed_out(out), NOISE)
    if delete:
        del notebook["cells"][index]
    notebook["cells"].append(code(f"import numpy\n\n{DONE[NOISE]}"))
    found = match(cells_of(notebook), entry)
    assert found[NOISE].how == NAME and found[NOISE].cell_index == len(notebook["cells"]) - 1
    assert found[NOISE].source.endswith(DONE[NOISE]) and bool(found[NOISE].note) != delete
    others_are_fine(found, NOISE)
    notebook["cells"].append(code(f"{DONE[NOISE]} + 0"))
    assert match(cells_of(notebook), entry)[NOISE].how == "needs a human"


def test_contents_exchanged(notebook, entry):
    first, second = the(notebook, ALPHA), the(notebook, POSTERIOR)
    first["source"], second["source"] = DONE[POSTERIOR], DONE[ALPHA]
    found = match(cells_of(notebook), entry)
    assert (found[ALPHA].source, found[POSTERIOR].source) == (DONE[ALPHA], DONE[POSTERIOR])
    assert found[ALPHA].how == NAME and found[ALPHA].note


def test_two_answers_merged_into_one_cell(notebook, entry):
    gone = the(notebook, NOISE)
    notebook["cells"].remove(gone)
    the(notebook, ALPHA)["source"] += f"\n\n{gone['source']}"
    found = match(cells_of(notebook), entry)
    assert found[ALPHA].how == "grade_id" and found[NOISE].how == NAME
    assert found[ALPHA].cell_index == found[NOISE].cell_index and DONE[NOISE] in found[NOISE].source


def test_split_into_two_cells(notebook, entry):
    """The answer's own cell is taken; that it may need another is said."""
    index = place(notebook, ALPHA)
    notebook["cells"].insert(index, code("import math\n\ndef keep(betas):\n    return 1 - betas", id="new"))
    the(notebook, ALPHA)["source"] = "def alpha_bars(betas):\n    return np.cumprod(keep(betas))"
    found = match(cells_of(notebook), entry)
    assert found[ALPHA].how == "grade_id" and found[ALPHA].helpers == (index,)
    assert found[ALPHA].note == f"may need cell {index + 1}, which is not taken"
    others_are_fine(found, ALPHA)


def test_merged_with_the_check(notebook, entry):
    the(notebook, ALPHA)["source"] += "\n\nchecks.check_alpha_bars(alpha_bars)"
    it = match(cells_of(notebook), entry)[ALPHA]
    assert it.answered and it.how == "grade_id" and not it.note
    assert it.source == the(notebook, ALPHA)["source"]


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_retyped_answers(kind, notebook, entry):
    the(notebook, ALPHA)["cell_type"] = kind
    found = match(cells_of(notebook), entry)
    assert found[ALPHA].source.endswith(DONE[ALPHA]) and found[ALPHA].note == f"the student turned the cell into {kind}"
    others_are_fine(found, ALPHA)


def test_a_text_in_a_code_cell(discussion, manifest):
    the(discussion, TEXT)["cell_type"] = "code"
    it = match(cells_of(discussion), manifest["notebooks"][DISCUSSION])[TEXT]
    assert it.answered and "turned the cell into code" in it.note


@pytest.mark.parametrize("change", ["edited", "deleted", "duplicated", "retyped", "re-tagged", "moved"])
def test_check_cells_do_not_matter(change, notebook, entry):
    checks = [cell for cell in notebook["cells"] if cell["id"].startswith("check-")]
    assert len(checks) == 3
    for number, cell in enumerate(checks):
        if change == "edited":
            cell["source"] = "print('passed')"
        elif change == "retyped":
            cell["cell_type"] = "markdown"
        elif change == "re-tagged":
            cell["metadata"]["nbgrader"]["grade_id"] = cell["id"] = list(DONE)[number]
        elif change == "duplicated":
            notebook["cells"].insert(0, cell)
        else:
            notebook["cells"].remove(cell)
            if change == "moved":
                notebook["cells"].insert(0, cell)
    found = match(cells_of(notebook), entry)
    others_are_fine(found)
    assert all(it.how == "grade_id" for it in found.values())


def test_magics_stay(notebook, entry):
    the(notebook, ALPHA)["source"] = source = f"%timeit 1\n!ls\n{DONE[ALPHA]}"
    it = match(cells_of(notebook), entry)[ALPHA]
    assert it.source == source and it.answered and not it.note


@pytest.mark.parametrize("metadata", [{"kernelspec": {"language": "R"}}, {"language_info": {"name": "R"}}])
def test_other_kernels(metadata, notebook, entry):
    notebook["metadata"] = metadata
    found = match(cells_of(notebook), entry)
    for name in DONE:
        assert found[name].how == "grade_id" and found[name].note == "the notebook's kernel is not Python but r"


# What is no answer.

STUB = 'def alpha_bars(betas):\n    raise NotImplementedError("alpha_bars")'
NOT_ANSWERED = {
    "comments": f"# my answer\n\n{STUB}  # todo\n",
    "without the marker": STUB,
    "empty": "",
    "blank": " \n\t\n",
    "pass": "def alpha_bars(betas):\n    pass",
    "dots": 'def alpha_bars(betas):\n    """Mine."""\n    ...',
    "raised without a name": "def alpha_bars(b):\n    raise NotImplementedError",
    "with its check": f"{STUB}\n\nchecks.check_alpha_bars(alpha_bars)",
    "with a magic": f"%time\n{STUB}",
    "only a comment": "# exercise: ex-2-1-alpha-bars",
}


@pytest.mark.parametrize("source", NOT_ANSWERED.values(), ids=NOT_ANSWERED)
def test_stubs_are_not_answered(source, notebook, entry):
    the(notebook, ALPHA)["source"] = source
    found = match(cells_of(notebook), entry)
    assert (found[ALPHA].source, found[ALPHA].how, found[ALPHA].answered) == (source, "grade_id", False)
    assert found[ALPHA].note.startswith("not answered")
    others_are_fine(found, ALPHA)


ANSWERED = {
    "lambda": "alpha_bars = lambda betas: 1",
    "not Python": "def alpha_bars(betas:\n  retrun 1",
    "NUL": "def alpha_bars(betas):\n    return 1\0",
    "deep": f"def alpha_bars(betas):\n    return {'-' * 15000}1",
    "after a magic": "%%time\ndef alpha_bars(betas):\n    return 1",
    "over the stub": f"{STUB}\n\nalpha_bars = np.cumprod",
    "class": "class alpha_bars:\n    def __call__(self, betas):\n        return 1",
    "warning": "def alpha_bars(betas):\n    return '\\d'",
    "under a condition": "if True:\n    def alpha_bars(betas):\n        return 1",
}


@pytest.mark.parametrize("source", ANSWERED.values(), ids=ANSWERED)
def test_all_else_is_answered(source, notebook, entry, recwarn):
    the(notebook, ALPHA)["source"] = source
    it = match(cells_of(notebook), entry)[ALPHA]
    assert (it.source, it.how, it.answered, it.note) == (source, "grade_id", True, "")
    assert not recwarn.list


def test_another_name_is_said(notebook, entry):
    the(notebook, ALPHA)["source"] = "def mine(betas):\n    return 1"
    it = match(cells_of(notebook), entry)[ALPHA]
    assert it.answered and it.how == "grade_id" and it.note == "does not define alpha_bars"


EMPTY_TEXTS = [
    "",
    " \n",
    f"<!-- exercise: {TEXT} -->\n*Your answer here.*",
    f"<!-- exercise: {TEXT} -->",
    "Your answer  here.\n",
    "*Your answer here.*\u200b",
]


@pytest.mark.parametrize("source", EMPTY_TEXTS)
def test_texts_that_are_not_answered(source, discussion, manifest):
    the(discussion, TEXT)["source"] = source
    it = match(cells_of(discussion), manifest["notebooks"][DISCUSSION])[TEXT]
    assert (it.source, it.answered) == (source, False) and it.note == "not answered"


@pytest.mark.parametrize("source", ["Few data.", "*Your answer here.* Few data.", "≥", "![](attachment:a.png)", "少"])
def test_texts_that_are_answered(source, discussion, manifest):
    the(discussion, TEXT)["source"] = source
    it = match(cells_of(discussion), manifest["notebooks"][DISCUSSION])[TEXT]
    assert it.source == source and it.answered and not it.note


def test_a_text_beside_its_empty_cell_needs_a_human(discussion, manifest):
    the(discussion, TEXT)["source"] = "*Your answer here.*"
    index = place(discussion, TEXT)
    discussion["cells"].insert(index + 1, text("Because the data are few."))
    it = match(cells_of(discussion), manifest["notebooks"][DISCUSSION])[TEXT]
    assert (it.source, it.how, it.cell_index) == (None, "needs a human", index + 1) and "beside" in it.note


# Which lesson it is.


@pytest.mark.parametrize("lesson", lessons.LESSONS)
@pytest.mark.parametrize(
    "form", ["{}", "{} (1)", "{}-Copy2", "Copy of {}", "anna_{}_final", "{}.ipynb", "Kopie von {}(3)"]
)
def test_known_by_name_and_cells(lesson, form, out, manifest):
    cells = read_cells((out / "student" / f"{lesson}.ipynb").read_bytes())
    assert identify(cells, form.format(lesson), manifest) == (lesson, "")


@pytest.mark.parametrize(
    ("name", "doubt"),
    [(name, "") for name in ("homework", "", "Untitled", f"{LESSON}x", f"{LESSON}03_unet")]
    + [
        (name, f"its cells are those of {LESSON}, but its name is that of 03_unet")
        for name in ("03_unet", "03_unet (1)")
    ],
)
def test_another_name(name, doubt, notebook, manifest):
    assert identify(cells_of(notebook), name, manifest) == (LESSON, doubt)


@pytest.mark.parametrize("keep", ["ids", "metadata", "sources"])
def test_known_by_each_sign(keep, notebook, manifest):
    strip(notebook, **{sign: sign != keep for sign in ("ids", "metadata")})
    if keep != "sources":
        for cell in notebook["cells"]:
            cell["source"] = ""
    assert identify(cells_of(notebook), "homework", manifest)[0] == LESSON


def test_a_pasted_cell_of_another_lesson(notebook, out, manifest):
    notebook["cells"] += handed_out(out, "03_unet")["cells"][:5]
    assert identify(cells_of(notebook), "03_unet", manifest)[0] == LESSON
    assert identify(cells_of(notebook), LESSON, manifest) == (LESSON, "")


def test_what_cannot_be_told(manifest):
    both = [cell for lesson in (LESSON, "03_unet") for cell in manifest["notebooks"][lesson]["cells"][:1]]
    both = [Cell(cell["id"], "markdown", cell["source"]) for cell in both]
    for cells in ([Cell("", "code", "print(1)")], [], both):
        for name in ("homework", f"{LESSON} 03_unet"):
            assert identify(cells, name, manifest) == (None, "this is none of the notebooks that were handed out")


# What the files are like.


def test_cells_are_plain(notebook):
    cell = cells_of(notebook)[place(notebook, ALPHA)]
    assert (cell.id, cell.type, cell.language) == (ALPHA, "code", "python")
    assert cell.nbgrader["grade_id"] == ALPHA and cell.nbgrader["solution"] is True


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding):
    content = json.dumps({**EMPTY, "cells": [text("Müller")]}, ensure_ascii=False).encode(encoding)
    assert read_cells(content)[0].source == "Müller"


UNREADABLE = {
    "empty": b"",
    "text": b"import numpy",
    "half": b'{"cells": [{"cell_type"',
    "NUL": b"\0" * 100,
    "NUL behind": b'{"nbformat": 4, "cells": []}\0',
    "latin-1": '{"nbformat": 4, "cells": [], "é": 1}'.encode("latin-1"),
    "list": b"[]",
    "number": b"1e999",
    "no cells": b"{}",
    "cells of a wrong type": b'{"nbformat": 4, "cells": {"a": 1}}',
    "sheets of a wrong type": b'{"nbformat": 3, "worksheets": [1, {"cells": 2}]}',
    "format 9": b'{"nbformat": 9, "cells": []}',
    "deep": b"[" * 200_000,
    "a long number": b'{"nbformat": 4, "cells": [], "n": ' + b"9" * 50_000 + b"}",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable(content):
    with pytest.raises(Unreadable, match="cannot be read"):
        read_cells(content)


@pytest.mark.parametrize("version", [2, 3])
def test_old_formats(version, entry):
    cells = [
        {"cell_type": "heading", "level": 1, "source": "Title", "metadata": {}},
        {"cell_type": "code", "input": DONE[ALPHA], "language": "python", "outputs": [], "metadata": {}},
        {"cell_type": "html", "source": "hello", "metadata": {}},
    ]
    sheets = [{"cells": cells, "metadata": {}}]
    found = cells_of({"nbformat": version, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": sheets})
    assert [(cell.type, cell.source[-5:]) for cell in found] == [
        ("markdown", "Title"),
        ("code", "etas)"),
        ("markdown", "hello"),
    ]
    it = match(found, entry)[ALPHA]
    assert it.how == NAME and it.source.endswith(DONE[ALPHA]) and not it.note


def test_sources_as_lists(notebook, entry):
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    others_are_fine(match(cells_of(notebook), entry))


def test_ids_as_colab_writes_them(notebook, entry):
    for cell in notebook["cells"]:
        cell["metadata"] = {"id": cell.pop("id")}
    assert {it.how for it in match(cells_of(notebook), entry).values()} == {"cell id"}


def test_half_characters():
    content = pack({**EMPTY, "cells": [code("a?b", id="!")]}).replace(b"?", b"\\ud800").replace(b"!", b"\\udfff")
    (cell,) = read_cells(content)
    assert (cell.source, cell.id) == ("a?b", "?")


# Speed: with anything quadratic these tests would take hours.


def found_in(notebook, manifest):
    cells = cells_of(notebook)
    lesson, _ = identify(cells, LESSON, manifest)
    return match(cells, manifest["notebooks"][lesson])


def test_100_000_cells(notebook, manifest):
    notebook["cells"] += [code(f"def f{number}(x):\n    return {number}") for number in range(100_000)]
    others_are_fine(found_in(notebook, manifest))


@pytest.mark.parametrize("piece", [" ", "<!-- exercise: ", "def alpha_bars(", "a.", "%", "_", "# exercise: a"])
def test_a_cell_of_10_megabytes(piece, notebook, manifest):
    the(notebook, ALPHA)["source"] += "\n# exercise: a" + piece * (10_000_000 // len(piece)) + "x"
    found = found_in(notebook, manifest)
    others_are_fine(found, ALPHA)
    assert found[ALPHA].how == "needs a human" and "more than 100,000 characters" in found[ALPHA].note


def test_matching_has_an_end(notebook, entry, monkeypatch):
    monkeypatch.setattr(matching, "SECONDS", -1)
    with pytest.raises(matching.TooSlow):
        match(cells_of(notebook), entry)


# Whatever else there may be: a list of cells, or a reason.


def mutated(value, rng):
    """Another JSON value: somewhere in it, something is replaced, removed or doubled."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, copy = rng.choice(keys), value.copy()
        if rng.random() < 0.15:
            del copy[key]
        elif isinstance(value, list) and rng.random() < 0.2:
            copy += [copy[key]]
        else:
            copy[key] = mutated(value[key], rng)
        return copy
    return rng.choice(
        [None, True, -1, 1e999, 10**30, "", "\ud800", "x" * 50, [], [[]], {}, {"": None}, [None], {"a": []}]
    )


@pytest.mark.parametrize("kind", ["bytes", "values"])
def test_fuzz(kind, notebook, manifest):
    rng = random.Random(7)
    whole, unreadable = pack(notebook), 0
    for _ in range(150):
        if kind == "bytes":
            content = bytearray(whole)
            for _ in range(rng.choice([1, 3, 30])):
                content[rng.randrange(len(content))] = rng.randrange(256)
            content = bytes(content[: rng.randrange(len(content))] if rng.random() < 0.2 else content)
        else:
            damaged = notebook
            for _ in range(rng.choice([1, 10, 100])):
                damaged = mutated(damaged, rng)
            content = json.dumps(damaged).encode()
        try:
            cells = read_cells(content)
        except Unreadable as reason:
            unreadable += 1
            assert str(reason)
            continue
        assert all(isinstance(cell, Cell) for cell in cells)
        identify(cells, "homework", manifest)
        for it in match(cells, manifest["notebooks"][LESSON]).values():
            assert (it.source is None) == (it.how == "needs a human") and (it.source is not None or it.note)
    assert 0 < unreadable < 150, "both kinds must occur"
