"""Answers that attack the grader: each gets what it is worth, and nothing else in the world changes.

The attacks stand in tables (GENTLE to ASIDES), one a line with what must be found. test_submissions has those on the
reading of files, test_matching and test_cells damaged notebooks, test_gradebook names and texts.
"""

import csv
import itertools
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import NamedTuple

import msgpack
import pytest
from conftest import needs
from test_sandbox import processes_with, wait_until

from grading import judging, sandbox, wire
from grading.bench import PACKAGES, PLACES, Bench
from grading.release import release
from grading.verdicts import Answer as Given
from lab import lessons
from labutils.pretrained import CHECKPOINT_DIR

pytestmark = [pytest.mark.slow, needs("bubblewrap")]
LESSON = "02_forward_noising"
NAME = f"{LESSON}.ipynb"
ONE, TWO, THREE = "ex-2-1-alpha-bars", "ex-2-2-add-noise", "ex-2-3-posterior-variances"
FOUR = "ex-2-4-reverse-density"
POINTS = {ONE: 1, TWO: 3, THREE: 2, FOUR: 4}
SECONDS = (12, 6, 60)  # of computing, waiting and in all for one question; what waits for ever costs the test that much
SMALL = sandbox.Limits(memory_bytes=2 << 30, processes=120, file_bytes=8 << 20, scratch_bytes=16 << 20)
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
    FOUR: (
        "def reverse_density(grid, x_t, t, s, clean, alpha_bars):",
        "reverse_steps.reverse_density(grid, x_t, t, s, clean, alpha_bars)",
    ),
}
RIGHT = {question: f"{head}\n    return {right}" for question, (head, right) in HEADS.items()}
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
    "kill the parent": ("os.kill(os.getppid(), 9); time.sleep(99)", KILLED),
    "kill all": ("os.kill(-1, 9); time.sleep(99)", KILLED),
    "forks": (
        "while True:\n    try: os.fork()\n    except OSError: sum(range(9**7))",
        f"{LATE}|process limit|memory limit",
    ),
    "threads": (
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        "can't start new thread|process limit",
    ),
    "memory": ("heap = []\nwhile True: heap.append(bytearray(50 << 20)); time.sleep(0.01)", "memory limit|MemoryError"),
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
    "bash": ("%%bash\necho All tests passed!\nkill -9 0", KILLED),  # its own process group
    "another program": ("%run numpy.py", "not found"),
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
        yield Answer(tuple(filter(None, (first, second))), "function", code, tuple(says for _, says in pair))
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


# --- a grader with all that an attack may look for -------------------------------------------------------------------
class World(NamedTuple):
    """What the attacks are tried on."""

    bench: Bench
    entry: dict
    given: str  # lines of code that define what an attack may use
    folders: list
    server: socket.socket
    honest: list


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One process for all attacks: each question runs in a fork of it, until one ends it."""
    mark, folder = f"hostile-{os.getpid()}-", tmp_path_factory.mktemp("hostile")
    release(["2"], folder / "handout", say=lambda line: None)
    manifest = folder / "handout" / "manifest.json"
    entry = json.loads(manifest.read_text(encoding="utf-8"))["notebooks"][LESSON]
    book = lessons.NOTEBOOK_DIR / NAME
    secret = [manifest, Path(__file__), Path("/etc/passwd"), book, book.parent / "source" / f"{LESSON}.py"]
    assert all(path.exists() for path in secret)
    command = [sys.executable, "-m", "grading.candidate", mark]
    options = {"level": "required", "visible": [*PACKAGES, CHECKPOINT_DIR], "environment": PLACES, "limits": SMALL}
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="hostile-") as scratch,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as host,
    ):
        os.chmod(scratch, 0o755)  # everyone may enter, as /tmp
        patch.setenv("TMPDIR", scratch)
        patch.setattr(tempfile, "tempdir", scratch)
        patch.setenv("API_TOKEN", f"secret-{mark}")
        patch.setattr(judging, "TRIES", 1)
        patch.setattr(judging, "EACH", 10_000)  # of one student; here all attacks share a process
        server.settimeout(0.01)
        host.bind(f"\0{mark}")
        host.listen()
        folders = [folder, Path(scratch), *PACKAGES]
        known = [mark, server.getsockname()[1], list(map(str, secret)), [*map(str, folders), str(Path.home())]]
        given = f"mark, port, paths, folders = json.loads({json.dumps(known)!r})\n"
        with Bench(lambda: sandbox.Confined(command, **options), SECONDS) as bench:
            yield World(bench, entry, given, folders, server, judge(entry, bench, {}))
        wait_until(lambda: not processes_with(mark))
        assert not list(Path(scratch).iterdir()) and not (Path.home() / mark).exists()


def judge(entry, bench, changes):
    sources = {question: f"# exercise: {question}\n{right}" for question, right in RIGHT.items()} | changes
    answers = {question: Given(source, "grade_id") for question, source in sources.items()}
    return judging.judge(entry, answers, bench, seeds=(20_26,))


def contents(*folders):
    """All files below, but for what Python keeps for itself."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if path.suffix != ".pyc"}


@pytest.mark.parametrize("number", range(len(ANSWERS)), ids=lambda number: "; ".join(ANSWERS[number].attacks)[:40])
def test_an_attack_gets_what_it_is_worth_and_nothing_else_changes(number, world):
    answer, question = ANSWERS[number], list(POINTS)[number % len(POINTS)]
    outside = contents(*world.folders)
    found = judge(world.entry, world.bench, {question: answer.source(question, world.given)})
    others = [each for each in found if each["question"] != question]
    assert others == [each for each in world.honest if each["question"] != question]
    assert all(each["points"] == POINTS[each["question"]] for each in others)
    assert contents(*world.folders) == outside
    with pytest.raises(TimeoutError):
        world.server.accept()
    (got,) = (each for each in found if each["question"] == question)
    said = [each["found"] for each in got.get("properties", [])] or [got["found"]]
    assert len(json.dumps(got)) < 50_000, "what is said of an answer is bounded"
    if got["status"] == "needs a human":  # one sentence for all of the answer
        assert KILLED in str(answer.says), "a kill may be the kernel's"
        assert any(re.search(pattern, said[0], re.DOTALL) for pattern in answer.says)
    else:
        for pattern, text in zip(answer.says, said, strict=False):
            assert re.search(pattern, text, re.DOTALL), (pattern, text)
    assert got["points"] == (POINTS[question] if answer.right else 0)


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
