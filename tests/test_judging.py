"""Judging in two processes: the same verdicts as in one, whatever the student's code does."""

import contextlib
import io
import json
import struct
import sys
import tracemalloc

import answers
import msgpack
import numpy as np
import pytest
from conftest import once_for_each_check

from grading import batch, judging, sandbox, wire
from grading.bench import PLACES, Bench, NotReady
from grading.context import names, needed
from grading.degenerate import degenerate_answers, is_trivial
from grading.examiner import Conversation
from grading.judging import judge
from grading.sources import uses_the_labs_own
from grading.verdicts import Answer
from labutils import checks

pytestmark = pytest.mark.xdist_group("judging")


def plain():
    """The student's process without any confinement."""
    return sandbox.Confined([sys.executable, "-m", "grading.candidate"], level="off", environment=PLACES)


@pytest.fixture(scope="module")
def process():
    with plain() as process:
        yield process


@pytest.fixture(scope="module")
def conversation(process):
    conversation = Conversation(process)
    folder = str(answers.__file__).rsplit("/", 1)[0]
    conversation.run(f"import sys; sys.path.insert(0, {folder!r}); import answers")
    return conversation


SEED = 20_26  # not the one that notebooks use


@pytest.mark.parametrize("number", once_for_each_check(answers.RIGHT))
def test_right_answers_pass_from_another_process(number, conversation):
    check = answers.RIGHT[number][0]
    conversation.run(f"answer = answers.RIGHT[{number}][1]")
    check(conversation.function("answer"), seed=SEED)


@pytest.mark.parametrize("number", once_for_each_check(answers.WRONG))
def test_wrong_answers_fail_from_another_process(number, conversation):
    check, _, sentence = answers.WRONG[number]
    conversation.run(f"answer = answers.WRONG[{number}][1]")
    with pytest.raises(checks.CheckFailed) as caught:
        check(conversation.function("answer"), seed=SEED)
    assert any(part.replace("\\", "") in str(caught.value) for part in sentence.split("|")), str(caught.value)


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("def f(b): raise NotImplementedError", "not written yet"),
        ("def f(b): raise ZeroDivisionError('no')", "stopped with ZeroDivisionError: no"),
        ("def f(b): return {}", "should be numbers"),
        ("def f(b): return lambda: 1", "should be numbers"),
        ("def f(b):\n x = []\n x.append(x)\n return x", "recursion limit"),
        ("g = 1", "stopped with NameError: the answer does not define f"),
    ],
)
def test_what_students_code_does(source, sentence, conversation):
    conversation.run(f"globals().pop('f', None)\n{source}")
    with pytest.raises(checks.CheckFailed) as caught:
        checks.check_alpha_bars(conversation.function("f"), seed=SEED)
    assert any(part in str(caught.value) for part in sentence.split("|")), str(caught.value)


def cell(name, source="", **nbgrader):
    tags = ["parameters"] if name == "parameters" else []
    return {"id": name, "type": "code", "source": source, "tags": tags, "nbgrader": nbgrader or None}


@pytest.fixture(scope="module")
def entry():
    """A lesson with three exercises and a question in free text, as in a manifest."""
    cells = [cell("parameters", 'PRESET = "quick"'), cell("import", "import numpy as np")]
    questions = []
    for name in ("alpha_bars", "inpaint", "posterior_variances"):
        cells.append(cell(f"a-{name}", solution=True, grade=False, grade_id=f"ex-{name}"))
        test = f"checks.check_{name}({name})"
        cells.append(cell(f"c-{name}", test, solution=False, grade=True, grade_id=f"check-{name}"))
        asked = {"answer": f"ex-{name}", "check": f"check-{name}", "cell": f"a-{name}", "function": name}
        questions.append(asked | {"points": 4, "kind": "code"})
    cells.append(cell("t", solution=True, grade=True, grade_id="text") | {"type": "markdown"})
    questions.append({"answer": "text", "check": None, "cell": "t", "points": 3, "kind": "text"})
    return {"cells": cells, "questions": questions}


BARS = "def alpha_bars(b): return np.cumprod(1 - b)"
INPAINT = "def inpaint(x, k, m): return m * k + (1 - m) * x"
TILDE = "def posterior_variances(b):\n a = np.cumprod(1 - b)\n return b * (1 - np.append(1, a[:-1])) / (1 - a)"


@pytest.fixture(scope="module")
def bench():
    """One process for most of these tests: each question runs in a fork of its own."""
    with Bench(plain, (12, 20, 300)) as bench:
        yield bench


def verdicts(entry, bench, **sources):
    """Name of the exercise → verdict, for the right answers and what differs from them."""
    answers = {"ex-alpha_bars": BARS, "ex-inpaint": INPAINT, "ex-posterior_variances": TILDE, "text": "words"}
    answers |= {f"ex-{name}": source for name, source in sources.items()}
    answers = {q: s if isinstance(s, Answer) else Answer(s, "grade_id") for q, s in answers.items()}
    return {v["question"].removeprefix("ex-"): v for v in judge(entry, answers, bench, seeds=(1, 2))}


def test_all_right(entry, bench):
    found = verdicts(entry, bench)
    assert [v["status"] for v in found.values()] == ["right"] * 3 + ["to be marked by hand"]
    assert [v["points"] for v in found.values()] == [4, 4, 4, None]
    json.dumps(found)


def test_credit_for_each_property_and_nothing_for_what_did_not_run(entry, bench):
    kept = TILDE.replace("return ", "r = ") + "\n r[0] = b[0]\n return r"
    missing = Answer("", "cell id", empty=True)
    unsure = Answer(None, "needs a human", "two cells claim it")
    found = verdicts(entry, bench, posterior_variances=kept, alpha_bars=missing, inpaint=unsure)
    assert found["posterior_variances"]["status"] == "partly right" and found["posterior_variances"]["points"] == 2
    assert "β̃_0 should be 0" in found["posterior_variances"]["found"]
    assert (found["alpha_bars"]["status"], found["alpha_bars"]["points"]) == ("not answered", 0)
    assert (found["inpaint"]["status"], found["inpaint"]["found"]) == ("needs a human", "two cells claim it")


def test_answers_that_compute_nothing_earn_nothing(entry, bench):
    found = verdicts(
        entry,
        bench,
        inpaint="def inpaint(x, k, m): return k",
        posterior_variances="def posterior_variances(b): return np.zeros(len(b))",
        alpha_bars="def alpha_bars(b): return 0.5",
    )
    assert [found[name]["points"] for name in ("inpaint", "posterior_variances", "alpha_bars")] == [0, 0, 0]
    assert [p["holds"] for p in found["inpaint"]["properties"]] == [False, True], "the student sees what holds"


@pytest.mark.parametrize("name", [name for name in checks.__all__ if name.startswith("check_")])
def test_no_check_gives_points_for_nothing(name):
    """Of every check some property shows something; alone, the others count for nothing."""
    check = getattr(checks, name)
    assert not is_trivial(check, 0) or not all(is_trivial(check, place) for place in range(len(check.properties)))
    for answer in degenerate_answers():
        with pytest.raises(checks.CheckFailed):
            check(answer)


@pytest.mark.parametrize(
    "source",
    [
        "from labutils.schedule import NoiseSchedule\ndef alpha_bars(b): return NoiseSchedule(b).alpha_bars",
        "import labutils.schedule as s\ndef alpha_bars(b): return s.NoiseSchedule(b).alpha_bars",
        "def alpha_bars(b): return __import__('labutils').schedule.NoiseSchedule(b).alpha_bars",
        "def alpha_bars(b): return NoiseSchedule(b).alpha_bars",
        "def alpha_bars(b):\n from importlib import import_module as i\n return i('labutils.schedule').x(b)",
    ],
)
def test_the_labs_own_solution_is_left_to_a_human(source, entry, bench):
    found = verdicts(entry, bench, alpha_bars=source)["alpha_bars"]
    assert (found["status"], found["points"], found["found"]) == ("needs a human", 0, "uses the lab's own solution")


def test_a_library_with_the_name_of_the_exercise_is_not_the_labs_own(entry):
    question = {"cell": "a-alpha_bars", "function": "alpha_bars"}
    for own, source in ((False, "def alpha_bars(b): return tf.math.alpha_bars(b)"), (True, "x = table.alpha_bars")):
        assert uses_the_labs_own(source, entry, question) is own


def test_an_answer_that_ends_the_process_costs_itself_only(entry, bench):
    loop = "def inpaint(x, k, m):\n while True: pass"
    found = verdicts(entry, bench, alpha_bars="def alpha_bars(b):\n import os; os._exit(3)", inpaint=loop)
    assert found["alpha_bars"]["found"] == "running your code ended the process: exit 3"
    assert found["inpaint"]["found"] == "running your code ended the process: time limit of 12 s of computing"
    assert found["posterior_variances"]["status"] == "right"


def test_each_question_has_the_whole_time(entry):
    """Two answers that take most of the time, and one limit for all properties and seeds of one answer."""
    slow = "\n import time; end = time.process_time() + {}\n while time.process_time() < end: pass\n return"
    bars = BARS.replace(": return", ":" + slow.format(2))
    inpaint = INPAINT.replace(": return", ":" + slow.format(2))
    with Bench(plain, (14, 60, 600)) as bench:
        found = verdicts(entry, bench, alpha_bars=bars, inpaint=inpaint)
        assert [v["status"] for v in found.values()][:3] == ["right"] * 3
        found = verdicts(entry, bench, alpha_bars=BARS.replace(": return", ":" + slow.format(6)))
    assert "time limit of 14 s" in found["alpha_bars"]["found"] and found["inpaint"]["status"] == "right"


def test_what_an_answer_leaves_behind_costs_itself_only(entry, bench):
    sly = "import numpy, os\nopen('scipy.py', 'w').write('raise SystemExit')\n"
    sly += "def alpha_bars(b):\n np.cumprod = np.append = len\n os.fork() or __import__('time').sleep(60)\n return b"
    found = verdicts(entry, bench, alpha_bars=sly, inpaint=f"import scipy\n{INPAINT}")
    assert found["alpha_bars"]["points"] == 0
    assert found["inpaint"]["status"] == found["posterior_variances"]["status"] == "right"
    secret = verdicts(entry, bench, alpha_bars=f"globals()['secret'] = 1\n{BARS}", inpaint=f"secret\n{INPAINT}")
    assert "NameError" in secret["inpaint"]["found"]


def test_a_cell_that_fails(entry, bench):
    found = verdicts(
        entry, bench, alpha_bars="def alpha_bars(", inpaint="import nothing_such", posterior_variances="x = 1 / 0"
    )
    assert "SyntaxError" in found["alpha_bars"]["found"] and "ModuleNotFoundError" in found["inpaint"]["found"]
    assert "ZeroDivisionError" in found["posterior_variances"]["found"]
    assert all(found[name]["points"] == 0 for name in ("alpha_bars", "inpaint", "posterior_variances"))


# --- the grader's own failures -------------------------------------------------------------------------------------
def broken():
    return sandbox.Confined([sys.executable, "-c", "raise SystemExit(5)"], level="off")


def test_a_process_that_does_not_start_is_no_students_zero(entry):
    with Bench(broken) as bench:
        with pytest.raises(NotReady, match="exit 5"):
            bench.fresh()
        found = verdicts(entry, bench)
    assert [v["status"] for v in found.values()] == ["needs a human"] * 3 + ["to be marked by hand"]
    assert "the grader could not run it: exit 5" in found["inpaint"]["found"]


def test_a_machine_without_memory_is_no_students_zero(entry, monkeypatch):
    with Bench(plain, (60, 60, 600)) as bench:
        bench.fresh()
        monkeypatch.setattr(sandbox, "RESERVE", 1 << 60)
        answers = {"ex-alpha_bars": Answer("import time; time.sleep(60)", "grade_id")}
        (found,) = judge(entry | {"questions": entry["questions"][:1]}, answers, bench)
    assert found["status"] == "needs a human" and "no memory left" in found["found"] and found["again"]


def test_the_labs_own_answers_come_first(entry, monkeypatch):
    """A grader on which they fail stops with one line, and judges no student."""
    monkeypatch.setattr(judging, "start_candidate", lambda level: broken())
    manifest = {"notebooks": {"lesson": entry}}
    own = batch.own_answers(manifest, [type("Paper", (), {"lesson": "lesson"})])
    assert own[0][2]["ex-inpaint"].source == ""
    results = judging.judge_student(own, manifest["notebooks"], "off", (1,))
    with pytest.raises(ValueError, match="no student was graded: the lab's own answer to ex-alpha_bars") as caught:
        batch.check_own([results])
    assert "\n" not in str(caught.value)


def test_a_verdict_depends_on_the_code_of_the_checks(tmp_path, monkeypatch):
    paper = type("Paper", (), {"lesson": "lesson", "answers": {}})
    monkeypatch.setattr(batch, "PACKAGES", [tmp_path])
    keys = set()
    for text in ("x = 1", "x = 2"):
        (tmp_path / "check.py").write_text(text)
        batch.code_digest.cache_clear()
        keys.add(batch.key_of(paper, "", "off", (1,)))
    batch.code_digest.cache_clear()
    assert len(keys) == 2


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


def framed(text):
    return wire.HEAD.pack(len(text)) + text


def array(dtype, *shape, body=b""):
    about = msgpack.packb([dtype, shape])
    return framed(msgpack.packb(msgpack.ExtType(wire.ARRAY, wire.HEAD.pack(len(about)) + about + body)))


@pytest.mark.parametrize(
    "content",
    [
        b"\0",
        b"\xff" * 8,
        framed(b"\xc1"),
        framed(b"\x01\x01"),
        wire.HEAD.pack(4) + b"\xa3x",
        array("|O", 1),
        array("<f8", -1),
        array("<f8", 9),
        array("<f8", 99999999999, 99999),
        array("<f8", body=b"abc"),
        framed(msgpack.packb(msgpack.ExtType(wire.SPECIAL, msgpack.packb({"kind": "network"})))),
        framed(msgpack.packb(msgpack.ExtType(99, b""))),
        framed(b"\x91" * 100_000),
    ],
)
def test_nonsense_is_refused(content):
    with pytest.raises(wire.BrokenMessage):
        wire.receive(io.BytesIO(content))


STRANGER = msgpack.packb(msgpack.ExtType(wire.OTHER, b"a"))


@pytest.mark.parametrize("item", [b"\x80", b"\x90", b"\xc0", b"\xa3abc", b"\xcb12345678", STRANGER], ids=repr)
def test_one_message_costs_little_memory(item):
    """Whatever its few bytes become: less than 100 MB."""
    count = (wire.MOST_BYTES - 100) // len(item)
    inner = struct.pack(">BI", 0xDD, 100_000) + item * 100_000
    rest = b"\xdd" + struct.pack(">I", count // 100_000 or 1) + (inner * (count // 100_000 or 1))
    tracemalloc.start()
    with contextlib.suppress(wire.BrokenMessage):
        wire.receive(io.BytesIO(framed(rest[: wire.MOST_BYTES])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    with pytest.raises(wire.BrokenMessage):
        wire.receive(io.BytesIO(wire.HEAD.pack(wire.MOST_BYTES + 1)))


def test_what_is_too_large_is_not_sent():
    with pytest.raises(wire.TooLarge):
        wire.send(io.BytesIO(), np.zeros(9_000_000))
    with pytest.raises(ValueError, match="recursion"):
        wire.send(io.BytesIO(), (knot := []).append(knot) or knot)


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
