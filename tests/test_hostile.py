"""One class with every attack in it: honest students get what they get without the attackers, and those get nothing.

The attacks stand in tables, one a line with what must be found: code in answers (GENTLE to ASIDES), damaged notebooks
(DAMAGES, NAMES), files that are no notebooks (FILES).
"""

import argparse
import csv
import functools
import html.parser
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import joblib
import msgpack
import pytest
from conftest import needs

import grading
import labutils
from grading import batch, judging, sandbox, wire
from grading.release import release
from grading.submissions import file_name

pytestmark = [pytest.mark.slow, needs("bubblewrap")]
LESSON, OTHER = "02_forward_noising", "06_discussion"
ONE, TWO, THREE = "ex-2-1-alpha-bars", "ex-2-2-add-noise", "ex-2-3-posterior-variances"
POINTS = {ONE: 2, TWO: 3, THREE: 3}
SECONDS = (12, 8, 60)  # of computing, waiting and in all for one question; what waits for ever costs the test that much
SMALL = sandbox.Limits(memory_bytes=2 << 30, file_bytes=8 << 20, scratch_bytes=16 << 20)
HEADS = {
    ONE: ("def alpha_bars(betas):", "np.cumprod(1 - betas)"),
    TWO: (
        "def add_noise(x0, t, noise, alpha_bars):",
        "(lambda a: np.sqrt(a) * x0 + np.sqrt(1 - a) * noise)(alpha_bars[t].reshape(-1, 1, 1, 1))",
    ),
    THREE: (
        "def posterior_variances(betas):",
        "(lambda a: betas * (1 - np.append(1, a[:-1])) / (1 - a))(np.cumprod(1 - betas))",
    ),
}
RIGHT = {question: f"{head}\n    return {right}" for question, (head, right) in HEADS.items()}
HONEST = {  # student → answers that differ from the right ones, and points
    "s005-ada": ({}, 8),
    "s055-goran": ({ONE: "def alpha_bars(betas):\n    return 1 - betas", TWO: None}, 3),
    "s155-mo": ({ONE: None, TWO: None, THREE: None}, 0),
}
LATE = "ended the process: time limit"
KILLED = "killed by signal 9"  # by whom, the grader cannot know
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork(): os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
    stay = "import time\\nwhile True: open('alive', 'a').write('x'); time.sleep(0.1)"
    os.execv(sys.executable, [sys.executable, '-c', stay, mark])
os.wait()
"""
# Finds the object that talks with the judge, to talk in its place.
TALK = """
frame = sys._getframe()
while not hasattr(frame.f_locals.get('self'), 'say'): frame = frame.f_back
judge = frame.f_locals['self']
"""
KINDS = f"""{TALK}
text = bytes.fromhex('{(struct.pack(">BI", 0xDD, 99_999) + msgpack.packb(msgpack.ExtType(wire.OTHER, b"a"))).hex()}')
text += text[5:] * 99_998
judge.write.write(len(text).to_bytes(4, 'big') + text); judge.write.flush()
"""
LIAR = """
class Liar:
    sizes = iter(range(1, 99))
    def __eq__(self, other): return True
    def __array__(self, dtype=None, copy=None): return np.zeros((2, next(self.sizes)))
return Liar()
"""
ARRAY = """
class Liar(np.ndarray):
    __eq__ = __le__ = lambda self, other: True
    __sub__ = __abs__ = lambda self, *other: np.zeros(1)
    shape = property(lambda self: right.shape)
return wrong.view(Liar)
"""
SHADOW = "for name in ('numpy', 'lab' + 'utils', 'json', 'scipy'): open(f'{name}.py', 'w').write('raise SystemExit')"

# Code in the function of an answer, and a pattern of what must be found. No points. Each process costs seconds, so an
# answer holds two attacks: one of these, after which its process lives on, for the first call …
GENTLE = {
    "SystemExit": ("raise SystemExit", "SystemExit"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "an endless result": ("return iter(int, 1)", "should be numbers"),
    "a deep result": ("for _ in range(99_999): right = [right]\nreturn right", "recursion limit"),
    "no numbers": ("return right * np.nan", "NaN"),
    "always equal": (LIAR, "has shape"),
    "an array, always equal": (ARRAY, "has shape"),
    "returns passed": ("return 'All tests passed!'", "should be numbers"),
    "prints passed": ("print('All tests in `alpha_bars` passed!')", "has shape"),
    "modules for the next question": (SHADOW, "has shape"),
}
# … and one of these for all later calls.
HARD = {
    "exit, with a daemon": (f"{DAEMON}os._exit(3)", "ended the process: exit 3"),
    "segfault": ("ctypes.string_at(0)", "ended the process: killed by signal 11"),
    "sleep": ("time.sleep(999)", LATE),
    "loop": ("while True: pass", LATE),
    "kill the parent": ("os.kill(os.getppid(), 9); time.sleep(99)", KILLED),
    "kill all": ("os.kill(-1, 9); time.sleep(99)", KILLED),
    "forks": (
        "while True:\n    try: os.fork()\n    except OSError: time.sleep(99)",
        f"{LATE}|process limit|memory limit",
    ),
    "threads": (
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "can't start new thread|process limit",
    ),
    "memory": ("heap = []\nwhile True: heap.append(bytearray(50 << 20)); time.sleep(0.01)", "memory limit|MemoryError"),
    "disk": (
        "for i in range(99): open(str(i), 'wb').write(bytes(1 << 20)); time.sleep(0.02)",
        "No space left",
    ),
    "a large result": ("return np.zeros(9_000_000)", "can be sent"),
    "speaks for itself": (f"{TALK}judge.say({{'returned': None, 'points': 8, 'status': 'right'}})", "is None"),
    "speaks at length": (f"{TALK}judge.say({{'raised': 'E', 'text': '<b>' * 500_000}})", "stopped with E: “<b><b>"),
    "speaks of many kinds": (KINDS, "it sent nonsense"),
    "changes our weights": (f"{TALK}judge.say({{'returned': 1, 'weights': {{'given 0': [1]}}}})", "that do not fit"),
    "asks for ever": (f"{TALK}while True: judge.say({{'ask': 'x', 'inputs': 1}})", LATE),
}
# All in one answer, which tells the value of each or what it raised: a pattern of that. No points.
TRIES = {
    "kill what watches": ("os.kill(1, 9)", "PermissionError|None"),
    "stop what watches": ("os.kill(1, 19)", "PermissionError|None"),
    "read files": ("[path for path in paths if os.access(path, os.R_OK)]", r"\[\]"),
    "read the grader's secrets": (
        "[p for p in glob.glob('/proc/[0-9]*/environ') if os.access(p, os.R_OK) "
        "and b'secret-' in open(p, 'rb').read()]",
        r"\[\]",
    ),
    "read the environment": ("'secret-' in str(os.environ)", "False"),
    "network": ("socket.create_connection(('127.0.0.1', port), 2)", ".*Error"),
    "a socket of the host": ("socket.socket(socket.AF_UNIX).connect('\\0' + mark)", "ConnectionRefusedError"),
    "network by name": ("socket.getaddrinfo('example.org', 80)", "gaierror"),
    "memory at once": ("bytearray(1 << 45)", "MemoryError"),
    "a large file": ("os.truncate(os.open('large', os.O_CREAT | os.O_RDWR), 1 << 40)", "OSError"),
}
# All in one cell before the function, whose results are then wrong. No points.
REDEFINITIONS = {
    "stdout": "sys.stdout = sys.stderr = None; sys.excepthook = print; os.close(1); os.close(2)",
    "exceptions": "get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)",
    "run_cell": "get_ipython().run_cell = print",
    "grading": "w = sys.modules['grading.wire']; w.MOST_BYTES = 1 << 40; w._as_array = lambda value: np.zeros(3)",
    "NumPy": "np.allclose = np.array_equal = np.isfinite = lambda *a, **k: True",
    "asserts": "builtins.AssertionError = builtins.ValueError = builtins.NotImplementedError = str",
    "checks": "c = sys.modules['lab' + 'utils.checks']; c.check_alpha_bars = c.check_add_noise = print",
    "feedback": "f = sys.modules['lab' + 'utils.checks.feedback']; f.compare = f.require = f.as_numbers = print",
}
# Whole cells. No points.
CELLS = {
    "bash": ("%%bash\necho All tests passed!\nkill -9 0", "not written yet"),
    "another program": ("%run numpy.py", "not written yet"),
}
# Each in the function of an answer, before the right result, which gets its points.
ASIDES = {
    "output": "for _ in range(20): print('x' * 99_999); sys.stderr.write('x' * 99_999); os.write(1, bytes(99_999))",
    "daemon": DAEMON,
    "thread": "threading.Thread(target=time.sleep, args=(999,)).start()",
    "write elsewhere": "for path in paths + [os.path.join(folder, mark) for folder in folders]:\n"
    "    try: open(path, 'a').write(mark)\n    except OSError: pass",
    "shell": "!cat /etc/passwd; echo passed; touch here",
}


class Answer(NamedTuple):
    """An answer with attacks in it; each pattern is for what must be found of one property."""

    attacks: tuple
    where: str
    code: str
    says: tuple
    right: bool = False

    def source(self, question, given):
        """The cell; ``given`` are lines that define what an attack may use."""
        if self.where == "cell":
            return self.code
        head, right = HEADS[question]
        given = f"import builtins, ctypes, glob, json, os, signal, socket, sys, threading, time\n{given}"
        if self.where == "before":
            name = f"attack_{head[4:7]}"  # of a name that no other answer needs
            attack = f"def {name}():\n{textwrap.indent(given + self.code, '    ')}\n{name}()\n"
            return f"{attack}{head}\n    return 0 * {right}.ravel()[1:]"
        head = head.replace("):", ", calls=iter(range(99))):")
        result = "right" if self.right else "wrong"
        lines = f"{given}right = {right}\nwrong = 0 * right.ravel()[1:]\n{self.code}\nreturn {result}"
        return f"{head}\n{textwrap.indent(lines, '    ')}"


def all_answers():
    for first, second in itertools.zip_longest(GENTLE, HARD):
        pair = [GENTLE[first], HARD[second]] if first else [HARD[second]]
        one, other = (textwrap.indent(code, "    ") for code, _ in (pair[0], pair[-1]))
        code = f"if next(calls) == 0:\n{one}\nelse:\n{other}"
        yield Answer((first, second), "function", code, tuple(says for _, says in pair))
    yield Answer(tuple(REDEFINITIONS), "before", "\n".join(REDEFINITIONS.values()), ("has shape",))
    codes = {name: code for name, (code, _) in TRIES.items()}
    code = f"""
tries, here, found = {codes}, locals().copy(), []
for name, code in tries.items():
    try: value = eval(code, here)
    except BaseException as error: value = type(error).__name__
    found.append(f'{{name}}: {{value}};')
raise ValueError(found)"""
    says = "".join(f".*{name}: ({says});" for name, (_, says) in TRIES.items())
    yield Answer(tuple(TRIES), "function", code, (says,))
    yield from (Answer((name,), "cell", code, (says,)) for name, (code, says) in CELLS.items())
    yield from (Answer((name,), "function", code, (), right=True) for name, code in ASIDES.items())


ANSWERS = list(all_answers())


# --- damaged notebooks: each is all right but for the damage -------------------------------------------------------
def the(book, name):
    (cell,) = (cell for cell in book["cells"] if cell.get("id") == name)
    return cell


def checks_of(book):
    return [cell for cell in book["cells"] if cell.get("id", "").startswith("check-")]


def edited_checks(book):
    for cell in checks_of(book):
        cell["source"] = "print('All tests passed!')"


def deleted_checks(book):
    book["cells"] = [cell for cell in book["cells"] if cell not in checks_of(book)]


def checks_worth_800(book):
    for cell in checks_of(book):
        cell["metadata"]["nbgrader"]["points"] = 800


def checks_tagged_as_answers(book):
    for cell, name in zip(checks_of(book), POINTS, strict=True):
        cell["metadata"]["nbgrader"] |= {"grade_id": name, "solution": True, "grade": False}


def tags_of_answers_exchanged(book):
    one, two = the(book, ONE)["metadata"], the(book, TWO)["metadata"]
    one["nbgrader"], two["nbgrader"] = two["nbgrader"], one["nbgrader"]


def doubled_checks(book):
    book["cells"] += checks_of(book)


def checks_as_text(book):
    for cell in checks_of(book):
        cell["cell_type"] = "markdown"


def reordered(book):
    book["cells"].reverse()


def stripped(book):
    for cell in book["cells"]:
        cell["metadata"] = {}
        del cell["id"]


def more_answers(book):
    """Two to one question, many to another, and a third that no parser reads."""
    one, two = the(book, ONE), the(book, TWO)
    book["cells"].append(one | {"source": "def alpha_bars(betas):\n    return 1 - np.cumsum(betas)"})
    book["cells"] += [two | {"source": two["source"] + f" + {number}"} for number in range(500)]
    the(book, THREE)["source"] += "\0"


def of_100_000_cells(book):
    book["cells"] += [{"cell_type": "code", "metadata": {}, "source": f"def f{n}(x): return x"} for n in range(100_000)]


def of_format_3(book):
    cells = book.pop("cells")
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
            del cell["execution_count"]
    book |= {"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}


def in_utf_16(book):
    pass


def with_scripts(book):
    """And half a character, which no file can store."""
    script = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    shown = {"text/html": script, "image/svg+xml": f"<svg>{script}</svg>", "image/png": script, "text/plain": script}
    output = {"output_type": "display_data", "data": shown, "metadata": {}}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [output, {"output_type": "stream", "name": "stdout", "text": script}]
        else:
            cell["source"] = script
    the(book, ONE)["source"] += "  # \ud800"
    the(book, THREE)["source"] = f'def posterior_variances(betas):\n    raise ValueError("{script}")'


def untouched(book):
    pass


# damage → points, status, what must be said of it, and under which name it is sent if not the lesson's.
DAMAGES = {
    edited_checks: (8, "graded", ""),
    deleted_checks: (8, "graded", ""),
    checks_worth_800: (8, "graded", ""),
    checks_tagged_as_answers: (8, "graded", ""),
    tags_of_answers_exchanged: (8, "graded", ""),
    doubled_checks: (8, "graded", ""),
    checks_as_text: (8, "graded", ""),
    reordered: (8, "graded", ""),
    stripped: (8, "graded", "name of the function"),
    more_answers: (0, "needs a human", "501 different cells claim this answer"),
    of_100_000_cells: (0, "unreadable", "characters of code"),
    in_utf_16: (8, "graded", ""),
    of_format_3: (0, "unreadable", "save it with a newer Jupyter"),
    with_scripts: (5, "graded", "stopped with ValueError: “<script>"),
    untouched: (8, "graded", "", "final version (2) of 02_forward_noising"),
}
# Names that mean something to a spreadsheet, a browser or a file system; all send an untouched notebook.
NAMES = ("=cmd|'calc'!A1", "+1", "-1", "@SUM(A1)", "<img src=x onerror=alert(1)>", "S005-ADA", "con", "s005-ada ")


def damaged(student, damage):
    """The bytes of a notebook with the right answers, after the damage."""
    book = json.loads((student / f"{LESSON}.ipynb").read_text(encoding="utf-8"))
    answer_all(book, {})
    damage(book)
    return json.dumps(book).encode("utf-16" if damage is in_utf_16 else "utf-8")


def answer_all(book, answers):
    """Write answers into a notebook; None leaves the stub."""
    for question, right in RIGHT.items():
        if (source := answers.get(question, right)) is not None:
            marker = "" if source.startswith("%") else f"# exercise: {question}\n"
            the(book, question)["source"] = marker + source


# --- files that are no notebooks -----------------------------------------------------------------------------------
def info(name, mode=0):
    found = zipfile.ZipInfo(name)
    found.compress_type, found.external_attr = zipfile.ZIP_DEFLATED, mode << 16
    return found


NAME = f"{LESSON}.ipynb"
# student, or "" where the path does not tell: name and content of a member of the zip, what must be said of it.
FILES = [
    ("no-json", f"no-json/{NAME}", b"All tests passed!", "cannot be read as a notebook"),
    ("empty", f"empty/{NAME}", b"", "cannot be read as a notebook"),
    ("nul", f"nul/{NAME}", bytes(9999), "cannot be read as a notebook"),
    ("bytes", f"bytes/{NAME}", bytes(range(256)) * 99, "cannot be read as a notebook"),
    ("list", f"list/{NAME}", b"[1, 2, 3]", "cannot be read as a notebook"),
    ("no-cells", f"no-cells/{NAME}", b'{"nbformat": 4}', "cannot be read as a notebook"),
    ("deep", f"deep/{NAME}", b"[" * 200_000, "nested too deeply"),
    ("bomb", f"bomb/{NAME}", bytes(30_000_000), "is larger than"),
    ("large", f"large/{NAME}", os.urandom(1 << 16) * 400, "is larger than"),
    ("folder", f"folder/{NAME}/", b"", "no notebook was sent"),
    ("link", info(f"link/{NAME}", 0o120777), b"/etc/passwd", "cannot be read as a notebook"),
    ("pipe", info(f"pipe/{NAME}", 0o010666), b"", "cannot be read as a notebook"),
    ("upwards", f"upwards/../s005-ada/{NAME}", b"{}", "leads upwards"),
    ("windows", f"windows/..\\s005-ada\\{NAME}", b"{}", "cannot be read as a notebook"),
    ("", f"../../../../{NAME}", b"{}", "leads upwards"),
    ("twice", f"twice/{NAME}", b"{}", "2 files have this name"),
    ("twice", f"twice/{NAME}", b"[]", "2 files have this name"),
    ("wrong-name", "wrong-name/X\a.ipynb", b"{}", "cannot be read as a notebook"),
    ("modules", "modules/numpy.py", b"raise SystemExit", "no notebook was sent"),
    ("s005-ada", "s005-ada/numpy.py", b"raise SystemExit", None),
    ("s005-ada", "s005-ada/labutils/__init__.py", b"raise SystemExit", None),
    ("nested", "nested/answers.zip", b"PK\5\6" + bytes(18), "no notebook was sent"),
]


# --- the class -----------------------------------------------------------------------------------------------------
def write_class(path, handed_out, given, attackers):
    """A zip of the class: the honest students, and the attackers beside them."""
    blank = (handed_out / "student" / NAME).read_text(encoding="utf-8")
    members = []

    def add(student, answers):
        book = json.loads(blank)
        answer_all(book, answers)
        members.append((f"{student}/{NAME}", json.dumps(book)))

    for student, (answers, _) in HONEST.items():
        add(student, answers)
    if attackers:
        for student, attacks in packed().items():
            add(student, {question: answer.source(question, given) for question, answer in attacks.items()})
        for damage, (_, _, _, *name) in DAMAGES.items():
            (name,) = name or [LESSON]
            members.append((f"{damage.__name__}/{name}.ipynb", damaged(handed_out / "student", damage)))
        members += [(f"{name}/{NAME}", damaged(handed_out / "student", untouched)) for name in NAMES]
        members += [(f"wrong-lesson/{OTHER}.ipynb", damaged(handed_out / "student", untouched))]
        members += [(f"text/{OTHER}.ipynb", with_hostile_text(handed_out / "student"))]
        members += [(name, content) for _, name, content, _ in FILES]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def with_hostile_text(student):
    book = json.loads((student / f"{OTHER}.ipynb").read_text(encoding="utf-8"))
    the(book, "text-6-4-paste")["source"] = "<script>alert(1)</script>\n=1+1\n![x](javascript:alert(1))"
    return json.dumps(book)


def packed():
    """Attackers who attack in each of their three answers: student → question → Answer."""
    threes = [ANSWERS[i : i + 3] for i in range(0, len(ANSWERS), 3)]
    return {f"s{10 * number:03}-eve": dict(zip(POINTS, three, strict=False)) for number, three in enumerate(threes, 1)}


def grade_short(submissions, manifest, out, mark):
    """As the command does with two jobs, with limits that let the test end soon, and a mark on every process.

    The jobs are threads, so that the limits hold in them, too.
    """
    confined = sandbox.Confined
    sandbox.Confined = lambda command, **options: confined([*command, mark], **({"limits": SMALL} | options))
    judging.Bench = functools.partial(judging.Bench, seconds=SECONDS)
    with joblib.parallel_config(backend="threading"):
        parser = argparse.ArgumentParser()
        batch.add_arguments(parser)
        line = [str(submissions), "--manifest", str(manifest), "--out", str(out), "--jobs", "2", "--seeds", "1"]
        batch.grade(parser.parse_args(line), say=lambda line: None)


def grade(submissions, manifest, out, mark, kills=0):
    """Grade in a process of its own. It is killed at random, and started again; returns the rows of grades.csv."""
    code = "import sys, test_hostile; test_hostile.grade_short(*sys.argv[1:])"
    line = [sys.executable, "-c", code, str(submissions), str(manifest), str(out), mark]
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(grading.__file__).parents[1])])
    # The run after a kill sets aside whoever was being judged; the next one judges them.
    for killed in [True] * kills + [False] * (2 if kills else 1):
        enough = len(list(out.glob("judged/*.json"))) + 3
        with subprocess.Popen(line, env=os.environ | {"PYTHONPATH": places}, stderr=subprocess.PIPE) as process:
            if killed:
                while len(list(out.glob("judged/*.json"))) < enough and process.poll() is None:
                    time.sleep(0.1)
                time.sleep(random.uniform(0, 3))
                assert process.poll() is None and not (out / "grades.csv").exists()
                process.kill()
            error = process.communicate()[1]
        assert process.returncode == (-signal.SIGKILL if killed else 0), error.decode()[-3000:]
        wait_until(lambda: not processes_with(mark))
    with open(out / "grades.csv", newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def verdict(out, student, name=LESSON):
    path = out / "verdicts" / file_name(student) / f"{file_name(name)}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found.pop("seconds", None)
    return found


def contents(*folders):
    """All files below, but for what Python keeps for itself."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if path.suffix != ".pyc"}


def processes_with(mark):
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes()
        except OSError:
            continue
    return [pid for pid, line in found.items() if mark.encode() in line]


class Page(html.parser.HTMLParser):
    """What stands in a page that a browser might run or load."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        loads = [str(value) for name, value in attributes if name in ("src", "href", "srcset", "data", "style")]
        if tag in ("script", "iframe", "object", "embed", "foreignobject", "form", "link", "base", "use"):
            self.found.append(tag)
        self.found += [name for name, _ in attributes if name.startswith("on")]
        self.found += [value for value in loads if not re.fullmatch("feedback/[a-z0-9-]+[.]html", value)]


@pytest.fixture
def scratch(monkeypatch):
    """A folder of this test's own for temporary files, which everyone may enter, as /tmp."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def test_a_class_with_every_attack(tmp_path, monkeypatch, scratch):
    mark = f"hostile-{os.getpid()}-"
    monkeypatch.setenv("API_TOKEN", f"secret-{mark}")
    monkeypatch.chdir(tmp_path)
    release(["2", "6"], tmp_path / "handout", say=lambda line: None)
    handed_out, manifest = tmp_path / "handout", tmp_path / "handout" / "manifest.json"
    write_class(tmp_path / "honest.zip", handed_out, "", attackers=False)
    before = grade(tmp_path / "honest.zip", manifest, tmp_path / "quiet", mark)

    code = [Path(package.__file__).parent for package in (labutils, grading)]
    lessons = code[0].parent / "notebooks"
    secret = [
        manifest,
        tmp_path / "class.zip",
        tmp_path / "quiet" / "grades.csv",
        Path(__file__),
        Path("/etc/passwd"),
        lessons / NAME,
        lessons / "source" / f"{LESSON}.py",
    ]
    folders = [tmp_path, tmp_path / "out", scratch, Path.home(), *code]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as host:
        host.bind(f"\0{mark}")
        host.listen()
        known = [mark, server.getsockname()[1], list(map(str, secret)), list(map(str, folders))]
        hidden = json.dumps(known).encode().hex()  # otherwise the names of folders would seem to import from labutils
        given = f"mark, port, paths, folders = json.loads(bytes.fromhex('{hidden}'))\n"
        write_class(tmp_path / "class.zip", handed_out, given, attackers=True)
        assert all(path.exists() for path in secret)
        outside = contents(handed_out, tmp_path / "quiet", scratch, *code)
        rows = grade(tmp_path / "class.zip", manifest, tmp_path / "out", mark, kills=2)
        server.settimeout(0.01)
        with pytest.raises(TimeoutError):
            server.accept()
    assert contents(handed_out, tmp_path / "quiet", scratch, *code) == outside
    assert sorted(os.listdir(tmp_path)) == ["class.zip", "handout", "honest.zip", "out", "quiet"]
    assert not list(scratch.iterdir()) and not any((folder / mark).exists() for folder in folders)
    assert sum(map(len, contents(tmp_path / "out").values())) < 5_000_000, "what is said of an answer is bounded"

    honest_students_get_the_same(before, rows, tmp_path)
    attackers_get_what_their_answers_are_worth(tmp_path / "out")
    damage_costs_what_it_must(rows, tmp_path / "out")
    files_cost_their_senders_alone(rows)
    tables_and_pages_are_harmless(tmp_path / "out", rows)


def honest_students_get_the_same(before, rows, folder):
    for student, (_, points) in HONEST.items():
        mine = [row for row in rows if row["student_id"] == student]
        assert mine == [row for row in before if row["student_id"] == student]
        assert [(row["notebook"], float(row["score"])) for row in mine] == [(LESSON, points), (OTHER, 0)]
        assert verdict(folder / "out", student) == verdict(folder / "quiet", student)
        page = Path("feedback", f"{file_name(student)}.html")
        assert (folder / "out" / page).read_bytes() == (folder / "quiet" / page).read_bytes()


def attackers_get_what_their_answers_are_worth(out):
    wrong = []
    for student, attacks in packed().items():
        found = verdict(out, student)
        verdicts = {question["question"]: question for question in found["questions"]}
        for question, answer in attacks.items():
            got = verdicts[question]
            said = [each["found"] for each in got["properties"]] or [got["found"]]
            if got["status"] == "needs a human":  # one sentence for all of the answer
                as_said = any(re.search(pattern, said[0], re.DOTALL) for pattern in answer.says)
            else:
                pairs = zip(answer.says, said, strict=False)
                as_said = all(re.search(pattern, text, re.DOTALL) for pattern, text in pairs)
            if not as_said or got["points"] != (POINTS[question] if answer.right else 0):
                wrong.append(f"{student}, {answer.attacks}: {got['status']}, {got['points']} points: {said}"[:600])
        expected = sum(
            points for question, points in POINTS.items() if question not in attacks or attacks[question].right
        )
        status = "needs a human" if any(v["status"] == "needs a human" for v in found["questions"]) else "graded"
        assert wrong or (found["score"], found["status"]) == (expected, status)
        human = {q for q in attacks if verdicts[q]["status"] == "needs a human"}
        assert human <= {q for q, answer in attacks.items() if KILLED in str(answer.says)}, "a kill may be the kernel's"
    assert not wrong, "\n".join(wrong)


def damage_costs_what_it_must(rows, out):
    got, expected = {}, {}
    for damage, (points, status, says, *name) in DAMAGES.items():
        student = damage.__name__
        found = verdict(out, student, *name)
        text = json.dumps([found, [question["found"] for question in found["questions"]]], ensure_ascii=False)
        got[student] = found["notebook"], found["score"], found["status"], says in text
        expected[student] = LESSON, points, status, True
    assert got == expected
    for student in NAMES:
        assert verdict(out, student)["score"] == 8
    # The name of the file is that of another lesson; what stands in it counts, if a human agrees.
    assert verdict(out, "wrong-lesson", OTHER)["notebook"] == LESSON
    mine = [row for row in rows if row["student_id"] == "wrong-lesson"]
    scores = {row["notebook"]: (row["file"], float(row["score"]), row["status"]) for row in mine}
    assert scores == {LESSON: (OTHER, 8, "needs a human"), OTHER: ("", 0, "not submitted")}


def files_cost_their_senders_alone(rows):
    for student, _, _, says in FILES:
        mine = [row for row in rows if row["student_id"] == student]
        if says is None:
            assert [row["remarks"] for row in mine] == ["", ""]
            continue
        assert any(row["status"] == "unreadable" and says in row["remarks"] for row in mine), (says, mine)
        assert sum(float(row["score"]) for row in mine) == 0


def tables_and_pages_are_harmless(out, rows):
    students = {row["student_id"] for row in rows}
    expected = {*HONEST, *packed(), *(damage.__name__ for damage in DAMAGES), *(student for student, *_ in FILES)}
    assert students >= expected and len(students) == len(expected | {*NAMES, "wrong-lesson", "text"})
    for student in students:
        lessons = [row["notebook"] for row in rows if row["student_id"] == student and row["notebook"]]
        assert sorted(lessons) == [LESSON, OTHER], student
    with open(out / "grades.csv", newline="", encoding="utf-8-sig") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    pages = {path: path.read_text(encoding="utf-8") for path in out.rglob("*.html")}
    assert len(pages) == len(students) + 1 + 2  # feedback, index, the questions in free text
    for path, page in pages.items():
        assert not Page(page).found, path
        assert "default-src 'none'" in page


# --- a disk that is full -------------------------------------------------------------------------------------------
SMALL_DISK = """
import json, subprocess, sys
from pathlib import Path
out, command = Path(sys.argv[1]), sys.argv[2:]
(out / "filler").write_bytes(bytes(10_000_000 - 100_000))
for _ in range(2):
    done = subprocess.run(command, capture_output=True, text=True)
    (out / "filler").unlink(missing_ok=True)
    files = {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    table = (out / "grades.csv").read_text("utf-8-sig") if (out / "grades.csv").exists() else ""
    print(json.dumps([done.returncode, done.stderr, files, table]))
"""


def test_a_full_disk(tmp_path):
    """One clear line and nothing by halves; with more space the same command goes on."""
    release(["2"], tmp_path / "handout", say=lambda line: None)
    students = [f"s{number:02}" for number in range(20)]
    for student in students:  # with nothing answered, so that no process is needed
        (tmp_path / "in" / student).mkdir(parents=True)
        shutil.copy(tmp_path / "handout" / "student" / NAME, tmp_path / "in" / student)
    out, manifest = tmp_path / "out", tmp_path / "handout" / "manifest.json"
    out.mkdir()
    line = ["bwrap", "--dev-bind", "/", "/", "--size", "10000000", "--tmpfs", str(out)]
    line += [sys.executable, "-c", SMALL_DISK, str(out), sys.executable, "-m", "grading", "grade", str(tmp_path / "in")]
    line += ["--out", str(out), "--manifest", str(manifest), "--sandbox", "off"]  # no sandbox within a sandbox
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (code, error, files, table), (second, _, more, full) = map(json.loads, done.stdout.splitlines())
    assert code == 2 and "No space left on device" in error.splitlines()[-1] and "Traceback" not in error, error
    assert not table and not [name for name in files if ".partial-" in name]
    assert [row["student_id"] for row in csv.DictReader(full.splitlines())] == students
    judged = [name for name in files if name.startswith("judged/")]
    assert second == 0 and judged and all(more[name] == files[name] for name in judged), "what was known is kept"
