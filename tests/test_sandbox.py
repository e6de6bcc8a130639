"""What a confined program cannot do, what ends it, and that nothing of it stays."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from conftest import needs

from grading import sandbox
from grading.sandbox import Confined, Limits

pytestmark = needs("bubblewrap")
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


def test_secrets_in_files():
    with tempfile.NamedTemporaryFile(dir="/tmp") as one, tempfile.NamedTemporaryFile(dir=Path.home()) as other:
        paths = [one.name, other.name, __file__, "/etc/passwd", "/var", "/sys", "/run/lock", "/dev/zero", "/home"]
        assert outcome(f"import os; print([p for p in {paths} if os.access(p, os.R_OK)])") == ("[]", "exit 0")


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


def test_no_sockets_of_the_host_through_a_folder(tmp_path):
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as host:
        os.chmod(folder, 0o755)
        path = Path(folder, "s")
        host.bind(str(path))
        path.chmod(0o777)
        host.listen()
        action = f"socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        assert outcome(attempt(action, "socket"), visible=[folder])[0] == "ConnectionRefusedError"


@pytest.mark.parametrize("other_user", [True, False])
def test_no_rights(other_user, monkeypatch):
    """As root, every program has a user of its own, if that works; otherwise all are nobody."""
    if other_user and not sandbox._way():
        pytest.skip("this needs root")
    monkeypatch.setattr(sandbox, "_way", lambda: other_user)
    printed, _ = outcome("import os; print(os.access('/etc/passwd', 4)); print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in printed.splitlines() if ":\t" in line)
    assert all(int(status[f"Cap{name}"], 16) == 0 for name in ("Prm", "Eff", "Amb"))
    assert status["NoNewPrivs"] == "1" and int(status["Uid"].split()[0]) >= 65534 and printed.startswith("False")


def test_disk_bomb():
    fill = "[open(str(i), 'wb').write(bytes(1 << 20)) for i in range(100)]"
    code = f"import os\ntry:\n    {fill}\nexcept OSError as e:\n    print(e.errno, len(os.listdir()))"
    # No space: the ninth of 1 MB in 8 MB, or the tenth, because the kernel counts pages in batches.
    assert outcome(code) in (("28 9", "exit 0"), ("28 10", "exit 0"))
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


@pytest.mark.slow
def test_the_clock_starts_again():
    code = "import sys\nfor line in sys.stdin:\n    sum(range(20_000_000)); print('ok', flush=True)"
    with confined(code) as program:
        for _ in range(3):
            program.allow(2, LIMIT, LIMIT)
            program.stdin.write(b"go\n")
            program.stdin.flush()
            assert program.stdout.readline() == b"ok\n"


@pytest.mark.slow
def test_memory_of_many_processes():
    """It counts together, and shared pages count once."""
    many = "import os, time\nfor _ in range(3): os.fork()\nheap = bytearray(60 << 20)\ntime.sleep(60)"
    assert outcome(many)[1] == "memory limit"
    shared = "import os, time\nheap = bytearray(100 << 20)\nfor _ in range(2): os.fork()\ntime.sleep(1.2)"
    assert outcome(shared)[1] == "exit 0"


def test_a_machine_without_memory(monkeypatch):
    monkeypatch.setattr(sandbox, "RESERVE", 1 << 60)
    assert outcome("import time; time.sleep(60)")[1] == "the machine has no memory left"


@pytest.mark.slow
def test_output_bomb():
    with confined("import os\nwhile True: os.write(2, b'x' * 65536); os.write(1, b'x' * 65536)") as program:
        program.allow(LIMIT, 2, 5)
        assert len(program.stdout.read(1000)) == 1000
        assert program.wait(LIMIT).startswith("time limit")


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
