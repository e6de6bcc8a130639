"""Which answer stands in which cell: told for sure, or left to a human; whatever the file is like."""

import json
import random
import time

import nbformat
import pytest

from grading.cells import Cell, Unreadable, read_cells
from grading.context import names
from grading.matching import SIGNS, identify, match
from grading.release import release
from grading.sources import PARSED
from lab import build, lessons

LESSON, DISCUSSION = "02_forward_noising", "06_discussion"
ALPHA, NOISE, POSTERIOR = "ex-2-1-alpha-bars", "ex-2-2-add-noise", "ex-2-3-posterior-variances"
REVERSE = "ex-2-4-reverse-density"
TEXT = "text-6-3-measurement"
GRADE_ID, CELL_ID, NAME = SIGNS
DONE = {
    ALPHA: "def alpha_bars(betas):\n    return np.cumprod(1 - betas)",
    NOISE: "def add_noise(x0, t, noise, alpha_bars):\n    a = alpha_bars[t]\n    return a * x0 + (1 - a) * noise",
    POSTERIOR: "def posterior_variances(betas):\n    return betas",
    REVERSE: "def reverse_density(grid, x_t, t, s, clean, alpha_bars):\n    return grid",
}
STUB = 'def alpha_bars(betas):\n    raise NotImplementedError("alpha_bars")'
EMPTY = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    """The release, of the text twins: they need not be executed."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("release")
    for lesson in lessons.LESSONS:
        nbformat.write(build.read_twin(lesson), source / f"{lesson}.ipynb")
    release(out=folder, source=source)
    return folder


@pytest.fixture(scope="session")
def manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def entry(manifest):
    return manifest["notebooks"][LESSON]


def handed_out(out, lesson=LESSON):
    return json.loads(nbformat.writes(nbformat.read(out / "student" / f"{lesson}.ipynb", 4), split_lines=False))


@pytest.fixture
def book(out):
    """A student's notebook with all answers of lesson 2, marker lines kept; a plain dict."""
    made = handed_out(out)
    for name, text in DONE.items():
        the(made, name)["source"] = f"# exercise: {name}\n{text}"
    return made


def the(book, cell_id):
    return next(cell for cell in book["cells"] if cell["id"] == cell_id)


def checks_of(book):
    return [cell for cell in book["cells"] if cell["id"].startswith("check-")]


def code(source, **rest):
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None} | rest


def cells_of(book):
    return read_cells(json.dumps(book).encode())


def strip(book, *signs):
    """Take away what cells are known by."""
    for cell in book["cells"]:
        cell["metadata"] = {} if GRADE_ID in signs else cell["metadata"]
        if CELL_ID in signs:
            cell.pop("id", None)


# --- how a cell is found --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lesson", lessons.LESSONS)
@pytest.mark.parametrize("left", SIGNS)
def test_every_answer_of_every_lesson_by_each_sign(lesson, left, out, manifest):
    """In any order of the cells, and whether it is answered or not."""
    book, asked = handed_out(out, lesson), manifest["notebooks"][lesson]["questions"]
    cells = {question["answer"]: the(book, question["cell"]) for question in asked}
    strip(book, *{NAME: (GRADE_ID, CELL_ID), CELL_ID: (GRADE_ID,), GRADE_ID: (CELL_ID,)}[left])
    random.Random(0).shuffle(book["cells"])
    for body in (None, "return 12345"):
        for cell in cells.values():
            cell["source"] = cell["source"].replace("raise NotImplementedError", body or "raise NotImplementedError")
            cell["source"] = cell["source"].replace("*Your answer here.*", body or "*Your answer here.*")
        found = match(cells_of(book), manifest["notebooks"][lesson])
        for question in asked:
            it = found[question["answer"]]
            if question["kind"] == "text" and left == NAME:
                assert (it.source, it.how) == (None, "needs a human") and it.note
            else:
                expected = cells[question["answer"]]["source"]
                assert (it.source, it.how, it.empty, it.note) == (expected, left, body is None, "")
    assert list(found) == list(cells), "in the order of the questions"


def moved(book, delete=True):
    the(book, ALPHA)["source"] = STUB
    book["cells"] = [cell for cell in book["cells"] if not delete or cell["id"] != ALPHA]
    book["cells"].append(code(f"import numpy\n\n{DONE[ALPHA]}"))


def merged(book):
    the(book, NOISE)["source"] += f"\n\n{the(book, ALPHA)['source']}"
    book["cells"].remove(the(book, ALPHA))


def exchanged(book):
    first, second = the(book, ALPHA), the(book, NOISE)
    first["source"], second["source"] = second["source"], first["source"]


def tagged(book):
    """The checks claim to be answers."""
    for cell, name in zip(checks_of(book), DONE, strict=True):
        cell["metadata"]["nbgrader"]["grade_id"] = cell["id"] = name


def tags_exchanged(book):
    one, two = the(book, ALPHA)["metadata"], the(book, NOISE)["metadata"]
    one["nbgrader"], two["nbgrader"] = two["nbgrader"], one["nbgrader"]


def without_checks(book):
    book["cells"] = [cell for cell in book["cells"] if cell not in checks_of(book)]


RIGHT = {  # what students do, and the sign by which the answer is found
    "duplicates": (lambda book: book["cells"].extend([the(book, ALPHA)] * 3), GRADE_ID),
    "in a new cell": (moved, NAME),
    "in a new cell, the stub is left": (lambda book: moved(book, delete=False), NAME),
    "two answers in one cell": (merged, NAME),
    "two answers exchanged": (exchanged, NAME),
    "with the check": (lambda book: the(book, ALPHA).update(source=f"{DONE[ALPHA]}\n\ncheck(alpha_bars)"), GRADE_ID),
    "with magics": (lambda book: the(book, ALPHA).update(source=f"%%time\n!ls\n{DONE[ALPHA]}\nnp?"), GRADE_ID),
    "with CRLF": (lambda book: the(book, ALPHA).update(source=DONE[ALPHA].replace("\n", "\r\n")), GRADE_ID),
    "retyped as text": (lambda book: the(book, ALPHA).update(cell_type="markdown"), GRADE_ID),
    "checks tagged": (tagged, GRADE_ID),
    "tags exchanged": (tags_exchanged, CELL_ID),
    "without checks": (without_checks, GRADE_ID),
    "checks doubled": (lambda book: book["cells"].extend(checks_of(book)), GRADE_ID),
    "checks as text": (lambda book: [cell.update(cell_type="markdown") for cell in checks_of(book)], GRADE_ID),
    "as Colab has it": (lambda book: [cell.update(metadata={"id": cell.pop("id")}) for cell in book["cells"]], CELL_ID),
}


@pytest.mark.parametrize("change, how", RIGHT.values(), ids=RIGHT)
def test_what_students_do_costs_nothing(change, how, book, entry):
    change(book)
    found = match(cells_of(book), entry)
    assert found[ALPHA].how == how
    for name, it in found.items():
        assert DONE[name] in it.source.replace("\r", "") and (it.empty, it.note, it.helpers) == (False, "", ())


HUMAN = {  # what students do, and why a human decides
    "no cell": (lambda book: book["cells"].remove(the(book, ALPHA)), "no cell could be matched"),
    "two answers": (
        lambda book: book["cells"].append(the(book, ALPHA) | {"id": "x", "source": f"{DONE[ALPHA]} * 1.0"}),
        "2 different cells claim this answer by their grade_id",
    ),
}


@pytest.mark.parametrize("change, why", HUMAN.values(), ids=HUMAN)
def test_what_a_human_decides(change, why, book, entry):
    change(book)
    found = match(cells_of(book), entry)
    assert (found[ALPHA].source, found[ALPHA].how) == (None, "needs a human") and why in found[ALPHA].note
    assert found[NOISE].source.endswith(DONE[NOISE])


@pytest.mark.parametrize("helper", ["def keep(b):\n    return 1 - b", "import keep", "if True:\n    keep, _ = 1, 2"])
def test_a_cell_of_the_students_own_that_the_answer_needs(helper, book, entry):
    book["cells"].insert(0, code(helper, id="new"))
    the(book, ALPHA)["source"] = "def alpha_bars(betas):\n    return np.cumprod(keep(betas))"
    found = match(cells_of(book), entry)
    assert {name: it.helpers for name, it in found.items() if it.helpers} == {ALPHA: (helper,)}


SPLIT = {  # the upper half of an answer cell; the lower half has the function
    "an import": ("import math as m", "m.pi * betas"),
    "a helper": ("def column(x):\n    return x", "column(betas)"),
    "a star": ("from math import *", "pi * betas"),
}


@pytest.mark.parametrize("upper, code_of_it", SPLIT.values(), ids=SPLIT)
def test_a_split_cell(upper, code_of_it, book, entry):
    """JupyterLab leaves the same grade_id on both halves."""
    lower = the(book, ALPHA)
    lower["source"] = f"def alpha_bars(betas):\n    return {code_of_it}"
    book["cells"].insert(book["cells"].index(lower), lower | {"id": "half", "source": upper})
    it = match(cells_of(book), entry)[ALPHA]
    assert (it.source, it.how, it.helpers) == (lower["source"], GRADE_ID, (upper,))


def test_an_import_in_a_cell_of_the_lesson(book, entry):
    imports = next(cell for cell in book["cells"] if "import numpy as np" in cell["source"])
    imports["source"] += "\nimport math"
    the(book, NOISE)["source"] = "def add_noise(x0, t, noise, alpha_bars):\n    return math.sqrt(2) * x0"
    found = match(cells_of(book), entry)
    assert found[NOISE].helpers == (imports["source"],) and not found[ALPHA].helpers


# --- what is an answer ----------------------------------------------------------------------------------------------
CODE = {  # and whether it is an answer
    f"# my answer\n\n{STUB}  # todo\n": False,
    "": False,
    " \n\t\n": False,
    "def alpha_bars(betas):\n    pass": False,
    'def alpha_bars(betas):\n    """Mine."""\n    ...': False,
    "def alpha_bars(b):\n    raise NotImplementedError": False,
    f"{STUB}\n\nchecks.check_alpha_bars(alpha_bars)": False,
    f"%time\n{STUB}": False,
    f"# exercise: {ALPHA}": False,
    "alpha_bars = lambda betas: 1": True,
    "def alpha_bars(betas:\n  retrun 1": True,
    f"def alpha_bars(betas):\n    return {'-' * 15000}1": True,
    "%%time\ndef alpha_bars(betas):\n    return 1": True,
    f"{STUB}\n\nalpha_bars = np.cumprod": True,
    "class alpha_bars:\n    def __call__(self, betas):\n        return 1": True,
    "def alpha_bars(betas):\n    return '\\d'": True,
    "if True:\n    def alpha_bars(betas):\n        return 1": True,
    "def mine(betas):\n    return 1": True,
}
TEXTS = {
    f"<!-- exercise: {TEXT} -->\n*Your answer here.*": False,
    f"<!-- exercise: {TEXT} -->": False,
    "Your answer  here.\n": False,
    "*Your answer here.*\u200b": False,
    "Few data.": True,
    "*Your answer here.* Few data.": True,
    "![](attachment:a.png)": True,
}
SOURCES = [(LESSON, ALPHA, *it) for it in CODE.items()] + [(DISCUSSION, TEXT, *it) for it in TEXTS.items()]


@pytest.mark.parametrize("lesson, name, source, answered", SOURCES, ids=lambda value: str(value)[:30])
def test_what_is_an_answer(lesson, name, source, answered, out, manifest, recwarn):
    book = handed_out(out, lesson)
    the(book, name)["source"] = source
    it = match(cells_of(book), manifest["notebooks"][lesson])[name]
    assert (it.source, it.how, it.empty, it.note) == (source, GRADE_ID, not answered, "") and not recwarn.list


def test_a_text_beside_its_cell_needs_a_human(out, manifest):
    book = handed_out(out, DISCUSSION)
    place = book["cells"].index(the(book, TEXT)) + 1
    book["cells"].insert(place, {"cell_type": "markdown", "source": "Because the data are few.", "metadata": {}})
    it = match(cells_of(book), manifest["notebooks"][DISCUSSION])[TEXT]
    assert (it.source, it.how) == (None, "needs a human") and "a cell beside it" in it.note


# --- which lesson it is ---------------------------------------------------------------------------------------------
NAMES = ("{}", "{} (1)", "Copy of {}", "anna_{}_final", "{}.ipynb", "HOMEWORK {}", "homework", "", "{} and 03_unet")


@pytest.mark.parametrize("lesson", lessons.LESSONS)
def test_known_by_its_cells(lesson, out, manifest):
    """Whatever its name is, with some cells of another lesson, and by each sign alone."""
    book, other = handed_out(out, lesson), "03_unet" if lesson != "03_unet" else LESSON
    cells = cells_of(book) + cells_of(handed_out(out, other))[:5]
    doubt = f"its cells are those of {lesson}, but its name is that of {other}"
    for name, doubts in [(name.format(lesson), "") for name in NAMES] + [(other, doubt), (f"{other} (1)", doubt)]:
        assert identify(cells, name, manifest) == (lesson, "" if lesson in name else doubts)
    for left in ("id", "nbgrader", "source"):
        bare = [Cell(**({"id": "", "type": "code", "source": ""} | {left: getattr(cell, left)})) for cell in cells]
        assert identify(bare, "homework", manifest) == (lesson, "")


def test_what_cannot_be_told(manifest):
    both = [manifest["notebooks"][lesson]["cells"][0] for lesson in (LESSON, "03_unet")]
    for cells in ([Cell("", "code", "print(1)")], [], [Cell(cell["id"], "markdown", cell["source"]) for cell in both]):
        for name in ("homework", LESSON):
            assert identify(cells, name, manifest) == (None, "this is none of the notebooks that were handed out")


# --- whatever there may be: with anything quadratic these tests would take hours ------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("piece", [" ", "def alpha_bars(", "# exercise: a"])
def test_a_cell_of_10_megabytes(piece, book, manifest):
    the(book, ALPHA)["source"] += "\n# exercise: a" + piece * (10_000_000 // len(piece)) + "x"
    cells = cells_of(book)
    assert identify(cells, LESSON, manifest) == (LESSON, "")
    found = match(cells, manifest["notebooks"][LESSON])
    assert found[ALPHA].how == "needs a human" and "more than 20,000 characters" in found[ALPHA].note
    assert found[NOISE].source.endswith(DONE[NOISE])


@pytest.mark.parametrize("line", ["%a\n", "x = !a\n", "a?\n", "(", "import a.b\n", "if a:\n x = 1\nel", "-", "\t"])
def test_the_longest_code_that_is_read_takes_no_time(line):
    begin = time.monotonic()
    names(line * (PARSED // len(line)))
    assert time.monotonic() - begin < 5


def test_a_notebook_with_very_much_code_is_not_read(book):
    book["cells"] += [code("x = 1\n" * 1000)] * 200
    with pytest.raises(Unreadable, match="more than 1,000,000 characters of code"):
        cells_of(book)


# --- what the files are like ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-32"])
def test_encodings(encoding):
    content = json.dumps({**EMPTY, "cells": [code("# Müller")]}, ensure_ascii=False).encode(encoding)
    assert [(cell.source, cell.type) for cell in read_cells(content)] == [("# Müller", "code")]


def damaged(book, rng):
    """Somewhere in it, a value is another one."""
    book = json.loads(json.dumps(book))
    inside = [book]
    for value in inside:  # the list grows
        its = value.values() if isinstance(value, dict) else value
        inside += [each for each in its if isinstance(each, dict | list) and each]
    value = rng.choice([book, *inside])
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    value[key] = rng.choice([None, True, -1, 1e999, 10**30, "", "\ud800", [], [[]], {}, {"": None}, {"a": []}])
    return book


def test_any_json(book, manifest):
    """It is unreadable, or each answer is found or left to a human."""
    rng, unreadable = random.Random(7), 0
    for _ in range(200):
        wrong = book
        for _ in range(rng.choice([1, 10, 30])):
            wrong = damaged(wrong, rng)
        try:
            cells = cells_of(wrong)
        except Unreadable:
            unreadable += 1
            continue
        identify(cells, "homework", manifest)
        for it in match(cells, manifest["notebooks"][LESSON]).values():
            assert (it.source is None) == (it.how == "needs a human") and (it.source is not None or it.note)
    assert 0 < unreadable < 200, "both kinds must occur"
