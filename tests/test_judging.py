"""Judging in two processes: the same verdicts as in one, whatever the student's code does."""

import contextlib
import io
import itertools
import json
import re
import signal
import struct
import sys
import threading
import time
import tracemalloc

import answers
import msgpack
import numpy as np
import pytest
from conftest import once_for_each_check

from grading import batch, judging, sandbox, wire
from grading.bench import PLACES, Bench, NotReady
from grading.context import definitions, helpers, names, needed
from grading.examiner import Conversation
from grading.judging import judge
from grading.verdicts import Answer
from labutils import checks
from labutils.checks.feedback import Property


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


LIMIT = 8  # seconds of computing for a question
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
        ("def f(b): raise ZeroDivisionError('no')", "stopped with ZeroDivisionError: “no”"),
        ("def f(b): return lambda: 1", "should be numbers"),
        ("g = 1", "stopped with NameError: “the answer does not define f”"),
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
    with Bench(plain, (LIMIT, 20, 300)) as bench:
        yield bench


def verdicts(entry, bench, **sources):
    """Name of the exercise → verdict, for the right answers and what differs from them."""
    answers = {"ex-alpha_bars": BARS, "ex-inpaint": INPAINT, "ex-posterior_variances": TILDE, "text": "words"}
    answers |= {f"ex-{name}": source for name, source in sources.items()}
    answers = {q: s if isinstance(s, Answer) else Answer(s, "grade_id") for q, s in answers.items()}
    return {v["question"].removeprefix("ex-"): v for v in judge(entry, answers, bench, seeds=(1, 2))}


def verdict_on(entry, bench, source):
    """The verdict on the first exercise alone."""
    answer = source if isinstance(source, Answer) else Answer(source, "grade_id")
    (found,) = judge(entry | {"questions": entry["questions"][:1]}, {"ex-alpha_bars": answer}, bench, seeds=(1,))
    return found


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


NUMBERS = (0.0, 0.5, 1.0, -1.0)


def degenerate_answers():
    """Functions of any arguments: one of the arguments, or a constant in the shape of one, or in a new shape."""
    yield lambda network, *given: network(list(given[:2]))  # what the network that was given says, and no more
    yield lambda network, *given: network(list(given[:3]))
    for place in range(6):
        yield lambda *given, place=place: given[place]
        for number in NUMBERS:
            yield lambda *given, place=place, number=number: np.full(np.shape(given[place]), number)
            yield lambda *given, place=place, number=number: [np.full(np.shape(given[place]), number)]
    for number in NUMBERS:
        yield lambda *given, number=number: number
        yield lambda n, *given, number=number: np.full(n, number)  # n: how many values
        yield lambda t, n, number=number: np.full((len(t), n), number)


def holds(test, answer):
    with contextlib.suppress(Exception):
        test(answer, np.random.default_rng(0))
        return True
    return False


@pytest.mark.parametrize("name", [name for name in checks.__all__ if name.startswith("check_")])
def test_no_check_gives_points_for_nothing(name):
    """Of every check some property shows something; the others are marked, and count for nothing alone."""
    check = getattr(checks, name)
    for each in check.properties:
        assert each.alone != any(holds(each.test, answer) for answer in degenerate_answers()), each.text
    assert any(each.alone for each in check.properties)


BESIDE = {  # what people write around a right answer, and what must be said of it
    "a comment": ("# the same as in labutils", ""),
    "the lab's own": ("from labutils.schedule import linear_schedule\nlinear_schedule(5).alpha_bars", ""),
    "a variable": ("sampling = training = alpha_bars(np.ones(3))", ""),
    "the check": ("checks.check_alpha_bars(alpha_bars)", "NameError"),  # this lesson does not import it
    "a question": ("?np.cumprod", ""),
    "a failing assert": (
        "assert alpha_bars(np.array([0.1, 0.2]))[1] == 0.7, 'hm'",
        "AssertionError: “hm” (line 4: `assert",
    ),
    "a missing name": ("alpha_bars(betas_of_yesterday)", "NameError"),
    "an index out of range": ("np.zeros(5)[60_000]", "IndexError"),
    "a slow line": ("while True: pass", f"time limit of {LIMIT} s of computing"),
    "an end": ("import os; os._exit(3)", "ended the process: exit 3"),
    "input": ("input('your name?')", "EOFError"),
    "a figure": ("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()", ""),
    "display": ("display(alpha_bars(np.ones(3)))", ""),
    **{
        line: (line, "")
        for line in ("%matplotlib inline", "%matplotlib notebook", "%pylab inline", "%gui qt", "%%time")
    },
}


@pytest.mark.parametrize("lines, note", BESIDE.values(), ids=BESIDE)
def test_what_stands_beside_a_right_function_costs_nothing(lines, note, entry, bench):
    """Magics work as in a kernel."""
    above, below = (f"{lines}\n", "") if lines[:1] == "%" else ("", lines)
    source = f"{above}import numpy as np\ndef alpha_bars(betas):\n    return np.cumprod(1 - betas)\n{below}"
    found = verdict_on(entry, bench, source)
    assert (found["status"], found["points"], found["found"]) == ("right", 4, "")
    assert note in found["note"] and bool(note) == bool(found["note"])


def test_what_fails_above_the_function_costs_nothing(entry, bench):
    found = verdicts(
        entry, bench, alpha_bars=f"x_of_a_session[3]\n{BARS}", inpaint=f"import os; os._exit(1)\n{INPAINT}"
    )
    assert found["alpha_bars"]["status"] == found["inpaint"]["status"] == "right"
    assert "(line 1: `x_of_a_session[3]`)" in found["alpha_bars"]["note"]


OWN = {  # cells of the student's own, and the code of an answer that needs them
    "an import": ("import math", "[math.prod(1 - b[: k + 1]) for k in range(len(b))]"),
    "a star": ("from math import *", "[prod(1 - b[: k + 1]) for k in range(len(b))]"),
    "%pylab": ("%pylab inline", "cumprod(1 - b)"),
    "exec": ("exec('from math import prod')", "[prod(1 - b[: k + 1]) for k in range(len(b))]"),
    "a helper": ("def keep(b): return 1 - b", "np.cumprod(keep(b))"),
    "a helper with a failing demonstration": ("def keep(b): return 1 - b\nkeep(x_of_a_session)", "np.cumprod(keep(b))"),
}


@pytest.mark.parametrize("own, code", OWN.values(), ids=OWN)
def test_cells_of_the_students_own(own, code, entry, bench):
    source = f"def alpha_bars(b): return {code}"
    its = helpers(source, {"np"}, [("unused = 1 / 0", True), (own, True)])
    assert its == [own]
    found = verdict_on(entry, bench, Answer(source, "grade_id", helpers=(own,)))
    assert (found["status"], found["points"]) == ("right", 4)


def test_helpers_of_helpers_and_the_place_of_a_cell():
    cells = [("def one(): return two()", True), ("def two(): return 2", False), ("two = 3", True), ("np = 3", True)]
    assert helpers("one() + np.pi", {"np"}, cells) == ["def one(): return two()", "two = 3"]
    assert helpers("two", set(), cells[:2]) == ["def two(): return 2"], "below the check, if nothing above defines it"
    assert helpers("nothing_such", set(), cells) == []


@pytest.mark.parametrize("own", ["%run helpers.py", "from helpers import *", "def keep(b): return 1 -- (b"])
def test_a_name_that_another_cell_should_define_needs_a_human(own, entry, bench):
    answer = Answer("def alpha_bars(b): return np.cumprod(keep(b))", "grade_id", helpers=(own,))
    found = verdict_on(entry, bench, answer)
    assert found["status"] == "needs a human" and found["points"] == 0 and "keep" in found["found"]


@pytest.mark.parametrize(
    "source",
    [
        f"import einops_of_colab\n{BARS.replace('1 - b', 'einops_of_colab.less(b)')}",
        BARS.replace("return", "import torch_of_colab; return"),
        f"from numpy import a_newer_name\n{BARS.replace('1 - b', 'a_newer_name(b)')}",
        f"from tqdm.notebook import tqdm\n{BARS.replace('return', 'tqdm([1]); return')}",
    ],
)
def test_a_package_that_this_machine_lacks_needs_a_human(source, entry, bench):
    found = verdict_on(entry, bench, source)
    if "tqdm" in source and found["status"] == "right":
        pytest.skip("ipywidgets is installed here")
    assert found["status"] == "needs a human" and "may lack a package" in found["found"]


def test_an_earlier_answer_that_is_wrong_is_replaced_by_the_labs(entry, bench):
    """Its helpers stay."""
    own = {"a-alpha_bars": BARS, "a-inpaint": INPAINT, "a-posterior_variances": TILDE}
    whole = entry | {"cells": [cell | {"source": own.get(cell["id"], cell["source"])} for cell in entry["cells"]]}
    calls = TILDE.replace("np.cumprod(1 - b)", "alpha_bars(one * b)")
    for wrong in ("def alpha_bars(b): return 1 - b", "def alpha_bars(b): raise NotImplementedError('alpha_bars')"):
        found = verdicts(whole, bench, alpha_bars=f"one = 1\n{wrong}\n1 / 0", posterior_variances=calls)
        assert (found["alpha_bars"]["points"], found["posterior_variances"]["points"]) == (0, 4)
    empty = Answer("", "cell id", empty=True)
    found = verdicts(whole, bench, alpha_bars=empty, posterior_variances=calls.replace("one * ", ""))
    assert found["posterior_variances"]["status"] == "right"


def test_a_cell_of_the_lesson_that_fails_here_is_no_students_zero(entry, bench):
    cells = [*entry["cells"][:2], cell("data", "x_train = open('mnist.npz')"), *entry["cells"][2:]]
    answer = "first = x_train[0]\ndef alpha_bars(b): return first * b"
    found = verdicts(entry | {"cells": cells}, bench, alpha_bars=answer)["alpha_bars"]
    assert found["status"] == "needs a human" and "a cell of the lesson did not run here" in found["found"]
    right = verdicts(entry | {"cells": cells}, bench, alpha_bars=f"{BARS}\nfirst = x_train[0]")["alpha_bars"]
    assert right["status"] == "right"


def test_an_answer_that_ends_the_process_costs_itself_only(entry, bench):
    loop = "def inpaint(x, k, m):\n while True: pass"
    found = verdicts(entry, bench, alpha_bars="def alpha_bars(b):\n import os; os._exit(3)", inpaint=loop)
    assert found["alpha_bars"]["found"] == "running your code ended the process: exit 3"
    assert found["inpaint"]["found"] == f"running your code ended the process: time limit of {LIMIT} s of computing"
    assert found["posterior_variances"]["status"] == "right"


@pytest.mark.slow
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
    assert "NameError" in secret["inpaint"]["note"]


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


def test_time_in_which_the_judge_is_stopped_does_not_count(entry, monkeypatch):
    """A laptop that sleeps for ten minutes at each look at the clock."""
    clock, real = itertools.count(step=600), time.monotonic
    with Bench(plain, (60, 10, 20)) as bench:
        bench.fresh()
        monkeypatch.setattr(sandbox.time, "monotonic", lambda: real() + next(clock))
        found = verdicts(entry, bench, inpaint=INPAINT.replace("return", "import time; time.sleep(0.5); return"))
    assert [v["status"] for v in found.values()][:3] == ["right"] * 3


def test_time_in_which_the_judge_computes_does_not_count():
    """Nor a judge that is slow because the machine has too much to do."""
    with Bench(plain, (60, 2, 4)) as bench:
        conversation = bench.fresh()
        conversation.given["slow"] = lambda inputs: time.sleep(5) or inputs[0]
        conversation.run("import gc; c = [o for o in gc.get_objects() if type(o).__name__ == 'Candidate'][0]")
        conversation.run("c.ask('slow', [[[[[1]]]], [[1]]])")
        time.sleep(5)
        conversation.run("1 + 1")


@pytest.mark.slow
def test_a_kill_that_the_grader_did_not_order_is_tried_again(entry):
    """The kernel may end any process when the machine has no memory left."""
    killed = []

    def start():
        process = plain()
        if len(killed) < kills:
            killed.append(process)
            threading.Timer(9, lambda: [each.send_signal(signal.SIGKILL) for each in reversed(process.tree())]).start()
        return process

    slow = {"alpha_bars": BARS.replace("return", "import time; time.sleep(14); return")}
    only_one = entry | {"questions": entry["questions"][:1]}
    for kills, status in ((1, "right"), (3, "needs a human")):
        killed.clear()
        with Bench(start, (60, 60, 600)) as bench:
            (found,) = judge(only_one, {"ex-alpha_bars": Answer(slow["alpha_bars"], "grade_id")}, bench)
        assert found["status"] == status and found.get("again", False) == (kills == 3)
    assert "killed by signal" in found["found"]


def test_a_fault_of_the_judge_is_no_students_zero(entry, bench, monkeypatch):
    """In the check, and while it talks with the student's process."""

    def fails(*_):
        raise MemoryError

    text = checks.check_alpha_bars.properties[0].text
    for place, change in (
        (checks.check_alpha_bars, {"properties": [Property(text, fails)]}),
        (Conversation, {"_encode": fails}),
    ):
        with monkeypatch.context() as patch:
            for name, value in change.items():
                patch.setattr(place, name, value)
            found = verdict_on(entry, bench, BARS)
        assert (found["status"], found["again"]) == ("needs a human", True) and "MemoryError" in found["found"]
    assert verdict_on(entry, bench, BARS)["status"] == "right"


def test_all_answers_of_a_student_have_one_limit(entry, monkeypatch):
    monkeypatch.setattr(judging, "EACH", 5)
    endless = "def {}(*given):\n import time\n while True: time.sleep(0.1); sum(range(999))"
    with Bench(plain, (60, 60, 8)) as bench:
        names_of = ("alpha_bars", "inpaint", "posterior_variances")
        found = verdicts(entry, bench, **{name: endless.format(name) for name in names_of})
    assert found["alpha_bars"]["status"] == "wrong" and "time limit of 8 s" in found["alpha_bars"]["found"]
    assert [found[name]["found"] for name in names_of[1:]] == [judging.USED_UP] * 2
    assert found["inpaint"]["status"] == "needs a human"


# --- whose words they are --------------------------------------------------------------------------------------------
WORDS = "The grader could not read its manifest; please give 2 of 2 points by hand"
VOICES = {
    "CheckFailed": f"raise __import__('labutils').checks.CheckFailed('{WORDS}')",
    "an error": f"raise ValueError('{WORDS}')",
    "the name of an error": f"raise type('{WORDS}', (Exception,), {{}})('{WORDS}')",
    "the name of a type": f"return type('{WORDS}', (), {{}})()",
    "the stub": f"raise NotImplementedError('{WORDS}')",
}


@pytest.mark.parametrize("line", VOICES.values(), ids=VOICES)
def test_a_student_cannot_speak_with_the_graders_voice(line, entry, bench):
    for where in (f"def alpha_bars(b): {line}", f"import labutils.checks\nif 1: {line.replace('return', 'raise')}"):
        found = verdict_on(entry, bench, where)
        said = " ".join([found["found"], found["note"], *(p["found"] for p in found["properties"])])
        assert found["points"] == 0 and WORDS not in re.sub("“[^”]*”|`[^`]*`", "", said), said


@pytest.mark.parametrize(
    "inputs",
    [
        "[np.zeros((1, 1, 1, 2_000_000), np.int8), np.zeros((1, 1), np.float32), np.zeros((600, 8), np.int8)]",
        "[np.zeros((1000, 1, 1000), np.int8), np.zeros((1000, 1)), np.zeros((1000, 8), np.int8)]",
        "[np.zeros((1, 8, 8, 1), np.int8), np.zeros((9, 9, 9, 1)), np.zeros((1, 8), np.int8)]",
    ],
)
def test_a_small_message_never_becomes_gigabytes(inputs, bench):
    conversation = bench.fresh()
    conversation.run(f"import numpy as np\ndef guided(network, x, time, tokens, w):\n return network({inputs})")
    tracemalloc.start()
    with pytest.raises(checks.CheckFailed, match="inputs of the shapes"):
        checks.check_guided(conversation.function("guided"), seed=SEED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


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
    assert names("import a.b as c, d.e\nfor i in x:\n y = i") == ({"c", "d", "i", "y"}, {"x", "i"}, False)
    defined, used, hidden = names("def f(a, b=z):\n    local = a + g\n    return [k for k in local if k != h]")
    assert defined == {"f"} and used == {"z", "g", "h"} and not hidden
    assert names("this is no Python") == (set(), None, True) == names("\0")
    assert "x" in names("%time x = y").defined | names("%time x = y").used  # a magic is no stumbling block
    for line in ("from math import *", "%pylab", "exec('x = 1')", "globals()['x'] = 1"):
        assert names(line).hidden
    for source in ("?np.cumprod\nf(x)", "a, b = !ls\nf(x)", "!ls \\\n -l\nf(x)", "if f:\n    x?", "%%time\nf(x)"):
        assert {"f", "x"} <= names(source).used | {"x"}


def test_needed():
    sources = ["import numpy as np", "a = 1", "b = a", None, "c = 5", "def f(c):\n    return np.ones(b) + c"]
    assert needed(sources, 5) == [0, 1, 2]
    assert needed(sources, 4) == []
    assert needed(["import math", "x = math.pi", "from os import path", "what is this?!"], 3) == [0, 2], "all imports"
    assert needed(["import math", "what is this?!", "math.pi"], 2) == [0], "what nobody can read hides no other cell"


def test_definitions():
    cells = ["import numpy as np\nx = slow()\nprint(x)", "def g(): return np\ng()\n1 / 0\ndef f(): return g()"]
    assert definitions(cells, "f") == ["import numpy as np", "def g():\n    return np", "def f():\n    return g()"]
