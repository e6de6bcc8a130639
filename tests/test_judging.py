"""Judging in two processes: the same verdicts as in one, whatever the student's code does."""

import io
import json
import subprocess
import sys

import answers
import numpy as np
import pytest

from grading import wire
from grading.bench import Bench
from grading.context import names, needed
from grading.examiner import Conversation, Ended
from grading.judging import judge
from grading.verdicts import Answer
from labutils import checks


class Plain:
    """The student's process without any confinement."""

    def __init__(self):
        command = [sys.executable, "-m", "grading.candidate"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def kill(self):
        self.process.kill()

    def wait(self, seconds):
        return f"exit {self.process.wait(seconds)}"

    def close(self):
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


@pytest.fixture(scope="module")
def process():
    process = Plain()
    yield process
    process.close()


@pytest.fixture(scope="module")
def conversation(process):
    conversation = Conversation(process)
    folder = str(answers.__file__).rsplit("/", 1)[0]
    conversation.run(f"import sys; sys.path.insert(0, {folder!r}); import answers")
    return conversation


SEED = 20_26  # not the one that notebooks use


def first_of_each_check(table):
    """Indices: one row for each exercise, so one for each kind of value that travels between the processes."""
    checked = [row[0] for row in table]
    return [checked.index(check) for check in dict.fromkeys(checked)]


@pytest.mark.parametrize("number", first_of_each_check(answers.RIGHT))
def test_right_answers_pass_from_another_process(number, conversation):
    check = answers.RIGHT[number][0]
    conversation.run(f"answer = answers.RIGHT[{number}][1]")
    check(conversation.function("answer"), seed=SEED)


@pytest.mark.parametrize("number", first_of_each_check(answers.WRONG))
def test_wrong_answers_fail_from_another_process(number, conversation):
    check, _, sentence = answers.WRONG[number]
    conversation.run(f"answer = answers.WRONG[{number}][1]")
    with pytest.raises(checks.CheckFailed) as caught:
        check(conversation.function("answer"), seed=SEED)
    assert any(part in str(caught.value) for part in sentence.split("|")), str(caught.value)


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("def f(b): raise NotImplementedError", "not written yet"),
        ("def f(b): raise ZeroDivisionError('no')", "stopped with ZeroDivisionError: no"),
        ("def f(b): return {}", "should be numbers"),
        ("def f(b): return lambda: 1", "should be numbers"),
        ("def f(b): return 'passed'", "should be numbers"),
        ("def f(b):\n x = []\n x.append(x)\n return x", "RecursionError|should be numbers"),
        ("def f(b): raise SystemExit(0)", "stopped with SystemExit"),
        ("def f(b): raise KeyboardInterrupt", "stopped with KeyboardInterrupt"),
        ("def f(b):\n class Liar:\n  def __eq__(self, o): return True\n return Liar()", "should be numbers"),
        ("g = 1", "stopped with NameError: the answer does not define f"),
        (
            "import builtins, numpy\nbuiltins.print('passed')\nnumpy.allclose = lambda *a, **k: True\n"
            "from labutils import checks\nchecks.check_alpha_bars = print\ndef f(b): return b",
            "ᾱ_t should be",
        ),
    ],
)
def test_what_students_code_does(source, sentence, conversation):
    conversation.run(f"globals().pop('f', None)\n{source}")
    with pytest.raises(checks.CheckFailed) as caught:
        checks.check_alpha_bars(conversation.function("f"), seed=SEED)
    assert any(part in str(caught.value) for part in sentence.split("|")), str(caught.value)


def question(name, check, points=4):
    cells = [
        {"id": "parameters", "type": "code", "source": 'PRESET = "quick"', "tags": ["parameters"], "nbgrader": None},
        {"id": "import", "type": "code", "source": "import numpy as np", "tags": [], "nbgrader": None},
        {
            "id": f"a-{name}",
            "type": "code",
            "source": "",
            "tags": [],
            "nbgrader": {"solution": True, "grade": False, "grade_id": f"ex-{name}"},
        },
        {
            "id": f"c-{name}",
            "type": "code",
            "source": f"checks.{check}({name})",
            "tags": [],
            "nbgrader": {"solution": False, "grade": True, "grade_id": f"check-{name}"},
        },
    ]
    asked = {"answer": f"ex-{name}", "check": f"check-{name}", "cell": f"a-{name}", "points": points, "kind": "code"}
    return cells, asked


@pytest.fixture(scope="module")
def entry():
    bars, inpaint, tilde = (
        question("alpha_bars", "check_alpha_bars"),
        question("inpaint", "check_inpaint"),
        question("posterior_variances", "check_posterior_variances"),
    )
    text = {"answer": "text", "check": None, "cell": "t", "points": 3, "kind": "text"}
    cells = [
        *bars[0],
        *inpaint[0][2:],
        *tilde[0][2:],
        {
            "id": "t",
            "type": "markdown",
            "source": "",
            "tags": [],
            "nbgrader": {"solution": True, "grade": True, "grade_id": "text"},
        },
    ]
    return {"cells": cells, "questions": [bars[1], inpaint[1], tilde[1], text]}


BARS = "def alpha_bars(b): return np.cumprod(1 - b)"
INPAINT = "def inpaint(x, k, m): return m * k + (1 - m) * x"
TILDE = "def posterior_variances(b):\n a = np.cumprod(1 - b)\n return b * (1 - np.append(1, a[:-1])) / (1 - a)"


def verdicts(entry, seconds=60, bench=None, **sources):
    """Name of the exercise → verdict, for the right answers and what differs from them."""
    answers = {"ex-alpha_bars": BARS, "ex-inpaint": INPAINT, "ex-posterior_variances": TILDE, "text": "words"}
    answers |= {f"ex-{name}": source for name, source in sources.items()}
    answers = {q: s if isinstance(s, Answer) else Answer(s, "grade_id") for q, s in answers.items()}
    if bench is None:
        with Bench(Plain, seconds) as bench:
            found = judge(entry, answers, bench, seeds=(1, 2))
    else:
        found = judge(entry, answers, bench, seeds=(1, 2))
    return {v["question"].removeprefix("ex-"): v for v in found}


def test_all_right(entry):
    found = verdicts(entry)
    assert [v["status"] for v in found.values()] == ["right"] * 3 + ["to be marked by hand"]
    assert [v["points"] for v in found.values()] == [4, 4, 4, None]
    json.dumps(found)


def test_credit_for_each_property_and_nothing_for_what_did_not_run(entry):
    kept = TILDE.replace("return ", "r = ") + "\n r[0] = b[0]\n return r"
    found = verdicts(
        entry,
        posterior_variances=kept,
        alpha_bars=Answer("", "cell id", empty=True),
        inpaint=Answer(None, "needs a human", "two cells claim it"),
    )
    assert found["posterior_variances"]["status"] == "partly right" and found["posterior_variances"]["points"] == 2
    assert "β̃_0 should be 0" in found["posterior_variances"]["found"]
    assert (found["alpha_bars"]["status"], found["alpha_bars"]["points"]) == ("not answered", 0)
    assert (found["inpaint"]["status"], found["inpaint"]["found"]) == ("needs a human", "two cells claim it")


def test_an_answer_that_ends_the_process_costs_itself_only(entry):
    loop = "def inpaint(x, k, m):\n while True: pass"
    found = verdicts(entry, seconds=25, alpha_bars="def alpha_bars(b):\n import os; os._exit(3)", inpaint=loop)
    assert found["alpha_bars"]["found"] == "running your code ended the process: exit 3"
    assert found["inpaint"]["found"] == "running your code ended the process: time limit of 25 s"
    assert found["posterior_variances"]["status"] == "right"


def test_an_answer_too_long_for_the_parser_is_left_to_a_human(entry):
    found = verdicts(entry, alpha_bars=BARS + "\nimport a" + ".a" * 500_000)
    assert found["alpha_bars"]["status"] == "needs a human" and found["inpaint"]["status"] == "right"


def test_what_a_wrong_answer_leaves_behind_costs_itself_only(entry):
    found = verdicts(entry, alpha_bars="def alpha_bars(b):\n np.cumprod = len\n return b")
    assert found["alpha_bars"]["status"] == "wrong" and found["posterior_variances"]["status"] == "right"


def test_notebooks_of_one_student_share_a_process_and_nothing_else(entry):
    started = []

    def start():
        started.append(Plain())
        return started[-1]

    with Bench(start) as bench:
        first = verdicts(entry, bench=bench, alpha_bars=f"secret = 1\n{BARS}")
        second = verdicts(entry, bench=bench)
        assert first == second and len(started) == 1
        uses = "def alpha_bars(b): return np.cumprod(1 - b) * secret"
        third = verdicts(entry, bench=bench, alpha_bars=uses)["alpha_bars"]
        assert "NameError" in third["found"] and len(started) == 2, "tried again in a new process"
        # Nothing but its own cells was run in that one, and it stays for what comes next.
        assert verdicts(entry, bench=bench, inpaint="def inpaint(x, k, m): return x")["inpaint"]["status"] == "wrong"


def test_what_an_earlier_notebook_broke_does_not_count(entry):
    with Bench(Plain) as bench:
        sly = f"{BARS}\nimport numpy.random\nnp.append = len"
        assert verdicts(entry, bench=bench, alpha_bars=sly)["alpha_bars"]["status"] == "right"
        assert verdicts(entry, bench=bench)["posterior_variances"]["status"] == "right"


def test_a_cell_that_fails(entry):
    found = verdicts(
        entry, alpha_bars="def alpha_bars(", inpaint="import nothing_such", posterior_variances="x = 1 / 0"
    )
    assert "SyntaxError" in found["alpha_bars"]["found"] and "ModuleNotFoundError" in found["inpaint"]["found"]
    assert "ZeroDivisionError" in found["posterior_variances"]["found"]
    assert all(found[name]["points"] == 0 for name in ("alpha_bars", "inpaint", "posterior_variances"))


# --- the messages ---------------------------------------------------------------------------------------------------
def there_and_back(value):
    stream = io.BytesIO()
    wire.send(stream, value)
    stream.seek(0)
    return wire.receive(stream)


def test_values_travel():
    for value in (None, True, 3, 2.5, "é", [1, [2.0, "a"]], (1, ()), {"a": [None]}):
        assert there_and_back(value) == value
    for array in (np.arange(6).reshape(2, 3), np.float32(1.5), np.zeros((0, 3)), np.array([True]), np.arange(4)[::2]):
        back = there_and_back(array)
        assert isinstance(back, np.ndarray) and np.array_equal(back, array) and back.shape == np.shape(array)
    assert np.isnan(there_and_back(np.nan)).all()
    assert type(there_and_back(np.array(["text"]))).__name__ == "ndarray"  # not numbers: a word about it
    assert not isinstance(there_and_back(np.array([object()])), np.ndarray)
    assert wire.receive(io.BytesIO()) is None


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\0" * 8,
        b"\xff" * 8,
        wire.HEAD.pack(4, 0) + b"nul",
        wire.HEAD.pack(2, 0) + b"{}",
        wire.HEAD.pack(2, 0) + b"[]",
        wire.HEAD.pack(11, 0) + b'{"what": 1}',
        *(
            wire.HEAD.pack(len(text), 0) + text
            for text in (
                b'{"array": {"dtype": "|O", "shape": [1]}}',
                b'{"array": {"dtype": "<f8", "shape": [-1]}}',
                b'{"array": {"dtype": "<f8", "shape": [9]}}',
                b'{"array": {"dtype": "<f8", "shape": [99999999999, 99999]}}',
                b'{"list": 3}',
                b'{"special": {"kind": "network"}}',
                b"[" * 100_000,
            )
        ),
    ],
)
def test_nonsense_is_refused(content):
    with pytest.raises(wire.BrokenMessage):
        wire.receive(io.BytesIO(content))


def test_what_would_take_much_memory_is_refused():
    """A message of 64 MB in which each few bytes become an object, or each of many objects a type of its own."""
    kinds = "".join(f',{{"other": "{number}"}}' for number in range(wire.MOST_KINDS + 1))
    long = b'"' + b"x" * wire.MOST_TEXT + b'"'
    for text in (f'{{"list": [{kinds[1:]}]}}'.encode(), long):
        with pytest.raises(wire.BrokenMessage):
            wire.receive(io.BytesIO(wire.HEAD.pack(len(text), 0) + text))
    same = b'{"list": [' + b",".join([b'{"other": "A"}'] * 1000) + b"]}"
    assert len(wire.receive(io.BytesIO(wire.HEAD.pack(len(same), 0) + same))) == 1000


def test_a_process_that_does_not_start_or_stops():
    class Silent:
        stdin, stdout = io.BytesIO(), io.BytesIO()

    with pytest.raises(Ended):
        Conversation(Silent())


# --- what an answer needs -------------------------------------------------------------------------------------------
def test_names():
    assert names("import a.b as c, d.e\nfor i in x:\n y = i") == ({"c", "d", "i", "y"}, {"x", "i"})
    defined, used = names("def f(a, b=z):\n    local = a + g\n    return [k for k in local if k != h]")
    assert defined == {"f"} and used == {"z", "g", "h"}
    assert names("this is no Python") == (set(), set()) == names("\0")
    assert "x" in names("%time x = y")[0] or names("%time x = y")[1]  # a magic is no stumbling block


def test_needed():
    sources = ["import numpy as np", "a = 1", "b = a", None, "c = 5", "def f(c):\n    return np.ones(b) + c"]
    assert needed(sources, 5) == [0, 1, 2]
    assert needed(sources, 4) == []
