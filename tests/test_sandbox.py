"""What a confined program cannot do, what ends it, and that nothing of it stays."""

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
from grading.sandbox import Confined, Limits

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="there is no bubblewrap on this machine")
SMALL = Limits(memory_bytes=300 << 20, processes=40, file_bytes=2 << 20, scratch_bytes=8 << 20, open_files=64)
LIMIT = 120  # seconds that no wait should need


def confined(code, limits=SMALL, **more):
    return Confined([sys.executable, "-I", "-c", textwrap.dedent(code)], limits=limits, **more)


def outcome(code, limits=SMALL, time=None, **more):
    """Run code to its end: what it printed, and why it ended."""
    with confined(code, limits, **more) as program:
        program.allow(*(time or (LIMIT, LIMIT, LIMIT)))
        printed = program.stdout.read(100_000).decode().strip()
        return printed, program.wait(LIMIT)


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


def test_without_bubblewrap_one_line_says_what_to_do(monkeypatch):
    sandbox._way.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match=r"no bubblewrap .*apt-get install bubblewrap.* --sandbox off") as caught:
        sandbox.choose("required")
    assert "\n" not in str(caught.value)
    assert "trusted" in sandbox.choose("off")
    with pytest.raises(ValueError, match="required or off"):
        sandbox.choose("auto")


def test_bad_arguments():
    with pytest.raises(ValueError, match="/no/such"):
        confined("", visible=["/no/such"])
    with pytest.raises(ValueError, match="whole machine"):
        confined("", visible=["/"])


@pytest.mark.parametrize("level", sandbox.LEVELS)
def test_echo_and_large_messages(level, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line[::-1]); sys.stdout.flush()"
    with confined(code, level=level) as program:
        for text in (b"abc\n", b"\x00\xff\n", bytes(3 << 20) + b"\n"):
            program.stdin.write(text)
            program.stdin.flush()
            assert program.stdout.read(len(text)) == text[::-1]
        assert program.wait(0) is None
        program.stdin.close()
        assert program.wait(LIMIT) == "exit 0"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "exit 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9 (killed)"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal 11 (segmentation fault)"),
        ("1 / 0", "exit 1"),
    ],
)
def test_reasons(code, reason):
    assert outcome(code)[1] == reason


@pytest.mark.parametrize("level", sandbox.LEVELS)
def test_environment_is_made_from_nothing(level, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    code = "import os; print('API_TOKEN' in os.environ, os.environ['EXTRA'], os.getcwd() == os.environ['HOME'])"
    assert outcome(code, level=level, environment={"EXTRA": "given"})[0] == "False given True"


def test_secrets_in_files(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    with tempfile.NamedTemporaryFile(dir="/tmp") as one, tempfile.NamedTemporaryFile(dir=Path.home()) as other:
        paths = [one.name, other.name, __file__, "/etc/passwd", "/var", "/sys", "/run/lock", "/dev/zero", "/home"]
        assert outcome(f"import os; print([p for p in {paths} if os.access(p, os.R_OK)])") == ("[]", "exit 0")
    environments = "b''.join(open(f, 'rb').read() for f in glob.glob('/proc/[0-9]*/environ') if os.access(f, os.R_OK))"
    printed, _ = outcome(attempt(environments, "glob, os"))
    assert printed.startswith("done")
    assert "secret" not in printed


def test_visible_is_readable_and_nothing_else_writable(tmp_path):
    shown = tmp_path / "given.txt"
    shown.write_text("given")
    assert outcome(f"print(open({str(shown)!r}).read())", visible=[shown])[0] == "given"
    paths = [
        "/x",
        "/usr/x",
        "/etc/x",
        "/dev/x",
        "/proc/x",
        "/proc/sys/vm/swappiness",
        "/run/x",
        f"{sys.prefix}/x",
        shown,
    ]
    code = f"""
        for path in {[str(path) for path in paths]}:
            try: open(path, "w")
            except OSError: continue
            print(path)
    """
    assert outcome(code, visible=[shown]) == ("", "exit 0")
    assert shown.read_text() == "given"


def test_no_network_and_no_sockets_of_the_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        action = f"socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        assert "Error" in outcome(attempt(action, "socket"))[0]
        with pytest.raises(TimeoutError):
            server.accept()
    assert outcome(attempt("socket.getaddrinfo('example.org', 80)", "socket"))[0] == "gaierror"
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as host,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        os.chmod(folder, 0o755)
        path = Path(folder, "s")
        host.bind(str(path))
        abstract.bind(f"\0test-{os.getpid()}")
        path.chmod(0o777)
        host.listen()
        abstract.listen()
        for address in (str(path), f"\0test-{os.getpid()}"):
            action = f"socket.socket(socket.AF_UNIX).connect({address!r})"
            assert outcome(attempt(action, "socket"), visible=[folder])[0] == "ConnectionRefusedError"


def test_only_its_own_processes_are_there():
    code = """
        import contextlib, os, time
        print([n for n in os.listdir('/proc') if n.isdigit()], os.access('/proc/1/environ', os.R_OK))
        for pid, number in [(1, 9), (1, 19), (1, 15), (-1, 9)]:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        time.sleep(0.3)
        raise SystemExit(4)
    """
    assert outcome(code) == ("['1', '2'] False", "exit 4")
    outside = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "ipc", "uts", "mnt")}
    code = f"import os; [print(n, os.readlink(f'/proc/self/ns/{{n}}')) for n in {list(outside)}]"
    assert not set(outcome(code)[0].splitlines()) & {f"{name} {value}" for name, value in outside.items()}


def test_no_rights():
    printed, _ = outcome("print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in printed.splitlines() if ":\t" in line)
    assert all(int(status[f"Cap{name}"], 16) == 0 for name in ("Prm", "Eff", "Amb"))
    assert status["NoNewPrivs"] == "1" and status["Uid"].split()[0] != "0"


def test_root_that_cannot_change_its_user(monkeypatch):
    monkeypatch.setattr(sandbox, "_way", lambda: False)
    assert outcome("import os; print(os.getuid(), os.access('/etc/passwd', os.R_OK))")[0] == "65534 False"


def test_disk_bomb():
    fill = "[open(str(i), 'wb').write(bytes(1 << 20)) for i in range(100)]"
    code = f"import os\ntry:\n    {fill}\nexcept OSError as e:\n    print(e.errno, len(os.listdir()))"
    assert outcome(code) == ("28 9", "exit 0")  # no space: the ninth of 1 MB in 8 MB
    assert outcome(attempt("open('big', 'wb', 0).write(bytes(3 << 20))")) == ("done 2097152", "exit 0")
    assert outcome(attempt("[open('/dev/null') for _ in range(100)]"))[0] == "OSError"
    assert outcome(attempt("open('/dev/shm/x', 'wb').write(bytes(2 << 20))"))[0] == "OSError"


def test_time():
    """Computing counts, also that of many processes; waiting has a limit of its own."""
    both = "import os\nfor _ in range(2): os.fork()\nwhile True: pass"
    for code in ("while True: pass", both):
        assert outcome(code, time=(1, LIMIT, LIMIT))[1] == "time limit of 1 s of computing"
    for code in ("import time; time.sleep(600)", "input()"):
        assert outcome(code, time=(LIMIT, 2, LIMIT))[1] == "time limit: it waited for 2 s"
    slowly = "import time\nwhile True:\n    time.sleep(0.1)\n    sum(range(300_000))"
    assert outcome(slowly, time=(LIMIT, LIMIT, 4))[1] == "time limit of 4 s"


def test_the_clock_starts_again():
    code = "import sys\nfor line in sys.stdin:\n    sum(range(20_000_000)); print('ok', flush=True)"
    with confined(code) as program:
        for _ in range(3):
            program.allow(2, LIMIT, LIMIT)
            program.stdin.write(b"go\n")
            program.stdin.flush()
            assert program.stdout.readline() == b"ok\n"


def test_memory_bomb():
    """Little by little; many processes that share it; at once; and shared pages count once."""
    bomb = "import time\nheap = []\nwhile True: heap.append(bytearray(5 << 20)); time.sleep(0.01)"
    assert outcome(bomb)[1] == "memory limit"
    many = "import os, time\nfor _ in range(3): os.fork()\nheap = bytearray(60 << 20)\ntime.sleep(60)"
    assert outcome(many)[1] == "memory limit"
    assert outcome(attempt("len(bytearray(1 << 40))"))[0] == "MemoryError"
    shared = "import os, time\nheap = bytearray(100 << 20)\nfor _ in range(2): os.fork()\ntime.sleep(1.2)"
    assert outcome(shared)[1] == "exit 0"


def test_a_machine_without_memory(monkeypatch):
    monkeypatch.setattr(sandbox, "RESERVE", 1 << 60)
    assert outcome("import time; time.sleep(60)")[1] == "the machine has no memory left"


@pytest.mark.parametrize(
    "bomb",
    [
        "for _ in range(90):\n        if os.fork() == 0: time.sleep(60)\n        made += 1",
        "for _ in range(90):\n        threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); made += 1",
    ],
)
def test_fork_and_thread_bomb(bomb):
    code = f"import os, threading, time\nmade = 0\ntry:\n    {bomb}\nexcept (OSError, RuntimeError):\n    print(made)"
    assert outcome(code) == ("39", "exit 0")  # 40 with the first


def test_output_bomb():
    with confined("import os\nwhile True: os.write(2, b'x' * 65536); os.write(1, b'x' * 65536)") as program:
        program.allow(LIMIT, 2, 5)
        assert len(program.stdout.read(1000)) == 1000
        assert program.wait(LIMIT).startswith("time limit")


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
def test_survivors(parent):
    mark = f"survivor-{os.getpid()}"
    with confined(SURVIVOR.format(parent, mark)) as program:
        if "sleep" in parent:
            assert program.stdout.read(3) == b"up\n"
            assert processes_with(mark)
        else:
            assert program.wait(LIMIT) == "exit 0"
    wait_until(lambda: not processes_with(mark))


def test_close_is_quick_and_ends_a_full_pipe():
    with confined("import time; time.sleep(600)") as program:
        program.stdin.write(b"never read, and never flushed")
    assert program.wait(0) == "killed"


def test_nothing_stays_after_sigkill():
    mark = f"orphan-{os.getpid()}"
    grader = f"""
        import sys
        from grading.sandbox import Confined
        program = Confined([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(99)", {mark!r}])
        program.stdout.read(3)
        print("up", flush=True)
        program.wait()
    """
    command = [sys.executable, "-c", textwrap.dedent(grader)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(sandbox.__file__).parents[1]) as process:
        process.stdout.readline()
        assert len(processes_with(mark)) >= 3
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: processes_with(mark) <= {process.pid})
