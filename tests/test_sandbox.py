"""What a confined program cannot do, what ends it, and that nothing of it stays; at each level that works here."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from grading import sandbox
from grading.sandbox import LEVELS, Confined, Limits
from grading.warm import Warm

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="confinement needs Linux")
SMALL = Limits(
    wall_seconds=20,
    cpu_seconds=20,
    memory_bytes=300 << 20,
    processes=40,
    file_bytes=2 << 20,
    scratch_bytes=8 << 20,
    open_files=64,
)
LIMIT = 60  # seconds that no wait should need


def skip_unless_works(name):
    if reason := sandbox.failure(name):
        pytest.skip(f"level {name} does not work on this machine: {reason}")


class Forked(str):
    """A level, when the process is forked from a warm one."""


FORKED = pytest.param(Forked("namespaces"), id="forked")


@pytest.fixture(scope="module", autouse=True)
def close_warm():
    yield
    WARM.close()


@pytest.fixture(params=[*LEVELS, FORKED])
def level(request):
    """Every level."""
    skip_unless_works(request.param)
    return request.param


@pytest.fixture(params=[*LEVELS[:-1], FORKED])
def alone(request):
    """The levels with namespaces; what uses this is not promised at level "limits"."""
    skip_unless_works(request.param)
    return request.param


ROOT = Path(sandbox.__file__).parents[1]
WARM = Warm(["json"], sandbox.clean_environment("/") | {"PYTHONPATH": str(ROOT)})


def confined(code, level, limits=SMALL, **more):
    command = [sys.executable, "-I", "-c", textwrap.dedent(code)]
    if isinstance(level, Forked):
        command, more["warm"] = command[-1:], WARM
    return Confined(command, level=level, limits=limits, **more)


def outcome(code, level, limits=SMALL, **more):
    """Run code to its end: what it printed, and why it ended."""
    with confined(code, level, limits, **more) as program:
        printed = program.stdout.read(100_000).decode().strip()
        end = program.wait(LIMIT)
    return printed, end


def attempt(action, imports="os"):
    """Code that prints which exception an action raises, or what it returns."""
    return f"import {imports}\ntry:\n    print('done', {action})\nexcept Exception as e:\n    print(type(e).__name__)"


def processes_with(word):
    """Processes of this machine whose command line has the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return set(found) - {os.getpid()}


def wait_until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_levels_and_wishes(monkeypatch):
    assert sandbox.best_level() in LEVELS
    assert sandbox.choose_level("off") == "limits"
    assert sandbox.choose_level("auto") == sandbox.best_level()
    with pytest.raises(ValueError, match="required, auto or off"):
        sandbox.choose_level("maybe")
    monkeypatch.setattr(sandbox, "failure", lambda level: None if level == "namespaces" else "no bwrap")
    monkeypatch.setattr(sandbox, "best_level", sandbox.best_level.__wrapped__)
    assert sandbox.choose_level("required") == "namespaces"
    monkeypatch.setattr(sandbox, "failure", lambda level: "not here")
    assert sandbox.choose_level("auto") == "limits"
    with pytest.raises(ValueError, match="no sandbox works .*namespaces: not here"):
        sandbox.choose_level("required")


def test_other_systems_have_only_limits(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "needs Linux" in sandbox.failure.__wrapped__("namespaces")
    with pytest.raises(OSError, match="needs Linux"):
        confined("", "limits")


def test_bad_arguments():
    with pytest.raises(ValueError, match="level is 'strong'"):
        confined("", "strong")
    with pytest.raises(ValueError, match="/no/such"):
        confined("", "limits", visible=["/no/such"])
    with pytest.raises(ValueError, match="whole machine"):
        confined("", "limits", visible=["/"])
    assert not list(Path(tempfile.gettempdir()).glob("confined-*"))


def test_echo(level):
    code = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line[::-1]); sys.stdout.flush()"
    with confined(code, level) as program:
        for text in (b"abc\n", b"\x00\xff\n"):
            program.stdin.write(text)
            program.stdin.flush()
            assert program.stdout.read(len(text)) == text[::-1]
        assert program.ended() is None
        program.stdin.close()
        assert program.wait(LIMIT) == "exit 0"
        assert program.ended() == "exit 0"


def test_large_frames_pass_both_ways(level):
    code = "import sys; d = sys.stdin.buffer.read(); sys.stdout.buffer.write(d)"
    sent = os.urandom(3 << 20)
    with confined(code, level) as program:
        program.stdin.write(sent)
        program.stdin.close()
        assert program.stdout.read() == sent


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "exit 3"),
        ("import os; os._exit(139)", "exit 139"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9 (killed)"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal 11 (segmentation fault)"),
        ("import os; os.abort()", "killed by signal 6 (aborted)"),
        ("1 / 0", "exit 1"),
    ],
)
def test_reasons(level, code, reason):
    assert outcome(code, level)[1] == reason


def test_command_that_does_not_exist(level):
    with Confined(["/no/such/program"], level=level, limits=SMALL) as program:
        assert program.wait(LIMIT) == "could not start: /no/such/program: No such file or directory"


def test_environment_is_made_from_nothing(level, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    code = "import os; print(sorted(os.environ)); print(os.environ['EXTRA'])"
    printed, _ = outcome(code, level, environment={"EXTRA": "given"})
    names, extra = printed.splitlines()
    assert "API_TOKEN" not in names
    assert extra == "given"
    code = "import os; print(len({os.getcwd(), os.environ['HOME'], os.environ['TMPDIR']})); open('a', 'w').write('b')"
    assert outcome(code, level) == ("1", "exit 0")


def test_secrets_in_files(alone, monkeypatch):
    """At level "limits" the user's files can be read."""
    monkeypatch.setenv("API_TOKEN", "secret")
    with tempfile.NamedTemporaryFile(dir="/tmp") as one, tempfile.NamedTemporaryFile(dir=Path.home()) as other:
        paths = [
            one.name,
            other.name,
            __file__,
            "/etc/passwd",
            "/var",
            "/sys",
            "/run/lock",
            "/dev/zero",
            "/proc/1/root/",
        ]
        assert outcome(f"import os; print([p for p in {paths} if os.access(p, os.R_OK)])", alone) == ("[]", "exit 0")
    environments = "b''.join(open(f, 'rb').read() for f in glob.glob('/proc/[0-9]*/environ') if os.access(f, os.R_OK))"
    printed, _ = outcome(attempt(environments, "glob, os"), alone)
    assert printed.startswith("done")
    assert "secret" not in printed


def test_visible_is_readable_and_nothing_else_writable(alone, tmp_path):
    (tmp_path / "given.txt").write_text("given")
    shown = tmp_path / "given.txt"
    assert outcome(f"print(open({str(shown)!r}).read())", alone, visible=[shown])[0] == "given"
    for path in ("/x", "/usr/x", "/etc/x", "/dev/x", "/proc/x", "/run/x", f"{sys.prefix}/x", shown, tmp_path / "x"):
        printed, _ = outcome(attempt(f"open({str(path)!r}, 'w')"), alone, visible=[shown])
        assert printed in ("OSError", "PermissionError", "FileNotFoundError"), path
    assert shown.read_text() == "given"


def test_no_network(level):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        action = f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert outcome(attempt(action, "socket"), level)[0] == "PermissionError"
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome(attempt("socket.getaddrinfo('example.org', 80)", "socket"), level)[0] == "gaierror"


def test_only_its_own_processes_are_there(alone):
    assert outcome("import os; print([n for n in os.listdir('/proc') if n.isdigit()])", alone)[0] == "['1', '2']"
    assert outcome(attempt("open('/proc/1/environ').read()"), alone)[0] == "PermissionError"
    assert outcome(attempt("os.listdir('/proc/1/fd')"), alone)[0] == "PermissionError"
    code = """
        import contextlib, os, time
        for pid, number in [(1, 9), (1, 19), (1, 15), (-1, 9)]:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        time.sleep(0.3)
        raise SystemExit(4)
    """
    assert outcome(code, alone) == ("", "exit 4")
    outside = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "ipc", "uts", "mnt")}
    code = "import os; [print(n, os.readlink(f'/proc/self/ns/{n}')) for n in " + str(list(outside)) + "]"
    printed, _ = outcome(code, alone)
    assert not set(printed.splitlines()) & {f"{name} {value}" for name, value in outside.items()}


def test_no_rights(level):
    printed, _ = outcome("print(open('/proc/self/status').read())", level)
    status = dict(line.split(":\t", 1) for line in printed.splitlines() if ":\t" in line)
    assert all(int(status[f"Cap{name}"], 16) == 0 for name in ("Inh", "Prm", "Eff", "Amb"))
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    code = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.unshare(0x10000000), ctypes.get_errno())"
    assert outcome(code, level)[0] == "-1 1"
    code = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.memfd_create(b'm', 0), ctypes.get_errno())"
    assert outcome(code, level)[0] == "-1 1"
    assert outcome(attempt("mmap.mmap(-1, 4096)", "mmap"), level)[0] == "PermissionError"
    assert outcome("import mmap; print(len(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE)))", level)[0] == "4096"
    if level != "limits" and os.geteuid() == 0:
        assert status["Uid"].split()[0] == "65534"


def test_disk_bomb(alone):
    """At level "limits" the watching process ends it, see the next test."""
    fill = "[open(str(i), 'wb').write(bytes(1 << 20)) for i in range(100)]"
    code = f"import os\ntry:\n    {fill}\nexcept OSError as e:\n    print(e.errno, len(os.listdir()))"
    assert outcome(code, alone) == ("28 9", "exit 0")  # no space: the ninth of 1 MB in 8 MB
    many = "[open(str(i), 'wb').close() for i in range(100_000)]"
    code = f"import os\ntry:\n    {many}\nexcept OSError as e:\n    print(e.errno, len(os.listdir()) < 2000)"
    assert outcome(code, alone) == ("28 True", "exit 0")


def test_disk_bomb_in_limits():
    skip_unless_works("limits")
    code = "import time\n[open(str(i), 'wb').write(bytes(1 << 20)) for i in range(12)]\ntime.sleep(60)"
    assert outcome(code, "limits")[1] == "scratch space limit"
    assert not list(Path(tempfile.gettempdir()).glob("confined-*"))


def test_large_file_and_many_files(level):
    printed, end = outcome(attempt("open('big', 'wb', 0).write(bytes(3 << 20))"), level)
    assert (printed, end) == ("done 2097152", "exit 0")
    assert outcome(attempt("[open('/dev/null') for _ in range(100)]"), level)[0] == "OSError"


@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass", "input()"])
def test_wall_time(level, code):
    start = time.monotonic()
    assert outcome(code, level, Limits(wall_seconds=0.5))[1] == "time limit of 0.5 s"
    assert time.monotonic() - start < 5


def test_cpu_time(level):
    assert outcome("while True: pass", level, Limits(cpu_seconds=1))[1] == "CPU time limit of 1 s"
    both = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    assert outcome(both, level, Limits(cpu_seconds=1, wall_seconds=10))[1] == "CPU time limit of 1 s"


def test_memory_bomb(level):
    """Little by little; many processes that share it; and an honest program beside it goes on."""
    with confined("print(input())", level) as honest:
        bomb = "import time\nheap = []\nwhile True: heap.append(bytearray(5 << 20)); time.sleep(0.01)"
        assert outcome(bomb, level)[1] == "memory limit"
        many = "import os, time\nfor _ in range(3): os.fork()\nheap = bytearray(60 << 20)\ntime.sleep(60)"
        assert outcome(many, level)[1] == "memory limit"
        honest.stdin.write(b"still here\n")
        honest.stdin.close()
        assert honest.stdout.read() == b"still here\n"
        assert honest.wait(LIMIT) == "exit 0"


def test_memory_at_once_is_refused(level):
    assert outcome(attempt("len(bytearray(1 << 40))"), level)[0] == "MemoryError"


def test_shared_memory_counts_once(level):
    code = "import os, time\nheap = bytearray(100 << 20)\nfor _ in range(2): os.fork()\ntime.sleep(1.2)"
    assert outcome(code, level)[1] == "exit 0"


FORKS = """
    import os, time
    made = 0
    try:
        for _ in range(90):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except OSError as error:
        print(made, error.errno, flush=True)
    time.sleep({})
"""
THREADS = """
    import threading, time
    made = 0
    try:
        for _ in range(90):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            made += 1
    except RuntimeError:
        print(made, 11, flush=True)
    time.sleep({})
"""


@pytest.mark.parametrize("bomb", [FORKS, THREADS])
def test_fork_and_thread_bomb(alone, bomb):
    assert outcome(bomb.format(0), alone) == ("39 11", "exit 0")  # 40 with the first


@pytest.mark.parametrize("bomb", [FORKS, THREADS])
def test_fork_and_thread_bomb_in_limits(bomb):
    """RLIMIT_NPROC does not bind root there; the watching process ends what became too many."""
    skip_unless_works("limits")
    printed, end = outcome(bomb.format(10), "limits")
    assert end == "process limit" or printed.endswith(" 11")


def test_output_bomb(level):
    with confined("import os\nwhile True: os.write(2, b'x' * 65536)", level, Limits(wall_seconds=1)) as program:
        assert program.wait(LIMIT) == "time limit of 1 s"
        assert 0 < len(program.errors) <= 60_000
    with confined("import os\nwhile True: os.write(1, b'x' * 65536)", level, Limits(wall_seconds=1)) as program:
        assert len(program.stdout.read(1000)) == 1000
        assert program.wait(LIMIT) == "time limit of 1 s"


def test_the_end_of_stderr_is_kept(level):
    with confined("import sys; sys.stderr.write('y' * 100_000); raise ValueError('the end')", level) as program:
        assert program.wait(LIMIT) == "exit 1"
        assert program.errors.endswith(b"ValueError: the end\n")


SURVIVOR = """
    import os, signal, sys, time
    for _ in range(2):
        if os.fork():
            {}
        os.setsid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, '-c', 'import time; print("up", flush=True); time.sleep(99)', {!r}])
"""


@pytest.mark.parametrize("parent", ["os._exit(0)", "time.sleep(99)"])
def test_survivors(level, parent):
    mark = f"survivor-{os.getpid()}-{level}"
    with confined(SURVIVOR.format(parent, mark), level) as program:
        if "sleep" in parent:
            assert program.stdout.read(3) == b"up\n"
            assert processes_with(mark)
        else:
            assert program.wait(LIMIT) == "exit 0"
            assert not processes_with(mark)  # gone with the command, before close
    assert not processes_with(mark)


def test_kill_says_why(level):
    with confined("import time; time.sleep(60)", level) as program:
        program.kill("time limit of 2 s in one cell")
        assert program.stdout.read() == b""
        assert program.wait(LIMIT) == "time limit of 2 s in one cell"


def test_close_is_quick_and_ends_a_full_pipe(level):
    start = time.monotonic()
    with confined("import time; time.sleep(60)", level) as program:
        program.stdin.write(b"never read, and never flushed")
    assert program.ended() == "killed"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("victim", ["grader", "watch"])
def test_nothing_stays_after_sigkill(level, victim):
    """At level "limits" only what the command itself is dies with a killed watching process."""
    mark = f"orphan-{os.getpid()}-{level}-{victim}"
    grader = f"""
        import sys
        from grading.sandbox import Confined
        program = Confined([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(99)", {mark!r}],
                           level={level!r})
        program.stdout.read(3)
        print(program._watch.pid, flush=True)
        program.wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(grader)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        watch = int(process.stdout.readline())
        assert len(processes_with(mark)) >= 3
        os.kill(process.pid if victim == "grader" else watch, signal.SIGKILL)
        wait_until(lambda: processes_with(mark) <= {process.pid})
        process.kill()
    if victim == "grader":
        assert not list(Path(tempfile.gettempdir()).glob("confined-*"))
    for left in Path(tempfile.gettempdir()).glob("confined-*"):
        shutil.rmtree(left)


@pytest.fixture
def for_all():
    """For root: a Python that every user may read, and keywords for subprocess.run to use a copy of the package."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        shutil.copytree(Path(sandbox.__file__).parent, f"{folder}/grading", ignore=shutil.ignore_patterns("*.pyc"))
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        for python in (sys.executable, "/usr/bin/python3"):
            command = [python, "-c", "import sys; assert sys.version_info >= (3, 11)"]
            with contextlib.suppress(OSError):
                if subprocess.run(command, **OTHER_USER, capture_output=True).returncode == 0:
                    yield python, {"cwd": folder, "text": True, "capture_output": True}
                    return
    pytest.skip("no Python ≥ 3.11 that another user may read")


OTHER_USER = {"user": 65533, "group": 65533, "extra_groups": []}
GRADER = """
    import sys
    from grading.sandbox import Confined, Limits, failure
    assert failure({level!r}) is None, failure({level!r})
    with Confined([sys.executable, "-c", {code!r}], level={level!r}, limits=Limits(processes=40)) as program:
        print(program.stdout.read().decode().strip(), program.wait(20))
"""


def graded_elsewhere(level, code, python, options):
    grader = textwrap.dedent(GRADER.format(level=level, code=textwrap.dedent(code)))
    done = subprocess.run([python, "-c", grader], **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def assert_forks_end(level, said):
    forks, _, end = said.partition(" ")
    assert end == "11 exit 0"
    # With limits only, whatever else the same user runs at the moment counts, too.
    assert 0 < int(forks) <= 39 if level == "limits" else forks == "39"


def test_a_grader_that_is_an_ordinary_user(level, for_all):
    python, options = for_all
    assert_forks_end(level, graded_elsewhere(level, FORKS.format(0), python, options | OTHER_USER))


def test_root_becomes_nobody_even_in_limits(level, for_all):
    assert graded_elsewhere(level, "import os; print(*os.getresuid())", *for_all) == "65534 65534 65534 exit 0"
    assert_forks_end(level, graded_elsewhere(level, FORKS.format(0), *for_all))


def test_a_root_that_cannot_become_nobody():
    """As in many containers; level "limits" is left."""
    trial = """
        import os
        from grading import confine, sandbox
        ids = os.geteuid(), os.getegid()
        try:
            confine._call("unshare", confine.NEWUSER)
            confine._map_ids(*((0, outside) for outside in ids))
        except OSError:
            raise SystemExit("not here")
        print(sandbox.failure("limits"))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(trial)], cwd=ROOT, capture_output=True, text=True)
    if "not here" in done.stderr:
        pytest.skip("no user namespaces")
    assert done.stdout == "None\n", done.stdout + done.stderr


def test_tensorflow_works_inside(alone):
    """With the default limits; about 8 seconds a level."""
    code = """
        import numpy as np
        import tensorflow as tf
        print(float(tf.reduce_sum(tf.constant(np.ones((20, 20), "float32")) @ tf.ones((20, 20)))))
    """
    assert outcome(code, alone, Limits(wall_seconds=120)) == ("8000.0", "exit 0")


def test_what_is_forked_inherits_nothing_of_the_one_before():
    skip_unless_works("namespaces")
    code = """
        import os, json, sys, tempfile
        print(getattr(json, "left", 0), os.listdir("."), os.environ.get("LEFT"), tempfile.gettempdir() == os.getcwd())
        print(sorted(os.listdir("/proc/self/fd")), json.__name__ in sys.modules)
        json.left = 1
        os.environ["LEFT"] = "1"
        open("left", "w").close()
    """
    for _ in range(2):
        printed, end = outcome(code, Forked("namespaces"))
        assert end == "exit 0"
        assert printed.splitlines() == ["0 [] None True", "['0', '1', '2', '3'] True"]  # 3 is the folder that is listed


def test_a_warm_process_that_was_killed_is_replaced():
    skip_unless_works("namespaces")
    with confined("import time; print('up', flush=True); time.sleep(99)", Forked("namespaces")) as program:
        program.stdout.readline()
        WARM._process.kill()
        assert program.wait(LIMIT) == "the grader is gone"
    assert outcome("print(1)", Forked("namespaces")) == ("1", "exit 0")


def test_a_warm_process_forks_for_namespaces_only():
    with pytest.raises(ValueError, match="namespaces only"):
        Confined(["print(1)"], level="limits", warm=WARM)


def test_nothing_warm_stays_after_sigkill():
    skip_unless_works("namespaces")
    mark = f"warm-{os.getpid()}"
    grader = f"""
        import sys
        from grading import sandbox
        from grading.warm import Warm
        warm = Warm(["json"], sandbox.clean_environment("/") | {{"PYTHONPATH": {str(ROOT)!r}}})
        command = [sys.executable, "-c", "input()", {mark!r}]  # what it becomes, so that it can be found
        code = f"import os; print('up', flush=True); os.execv({{command[0]!r}}, {{command}})"
        program = sandbox.Confined([code], level="namespaces", warm=warm)
        program.stdout.read(3)
        print(warm._process.pid, warm._home, flush=True)
        program.wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(grader)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        pid, home = process.stdout.readline().split()
        wait_until(lambda: processes_with(mark))
        process.kill()
        wait_until(lambda: not processes_with(mark) - {process.pid} and not Path(f"/proc/{pid}").exists())
    assert not Path(home).exists()
