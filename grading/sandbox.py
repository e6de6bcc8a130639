"""Runs a program with a student's code in bubblewrap, connects pipes to it, and limits what it uses.

Inside, the program sees Python, the system's libraries and what is named ``visible``, all read-only. It has no network,
no processes but its own, and one small folder to write to. ``prlimit`` limits each process. A thread here measures all
processes together (psutil), and ends them when they use too much. When the grader ends, however it ends, they end too.

Level "off" starts the program as it is, with a clean environment and the same measurements: for trusted students only.
"""

import contextlib
import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

LEVELS = REQUIRED, OFF = "required", "off"
BUBBLEWRAP, TRUSTED = "bubblewrap", "off: the students are trusted"  # what a verdict says
HOME = "/tmp"  # the only folder to write to
TICK = 0.25  # seconds between two measurements
RESERVE = 256 << 20  # bytes of memory that stay free on the machine
OUTER = 4  # threads of bubblewrap itself, at most
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ld.so.cache", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")  # not /dev/zero: memory from it is not counted
NO_MEMORY = "the machine has no memory left"
NOT_BY_US = ("killed by signal 9", "killed by signal 15")  # the kernel without memory, an administrator, or the student
MOST = 4 * TICK  # seconds that may count between two measurements: if it was longer, the judge itself was stopped
INSTALL = "install bubblewrap (apt-get install bubblewrap), or trust the students with --sandbox off"
STUDENT = 1_000_000_000  # the first of the user ids that root gives to programs, each its own


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a program may use. A limit is for all its processes together, unless a comment says otherwise."""

    memory_bytes: int = 3 << 30  # resident, measured often; a single process may reserve twice as much
    processes: int = 256  # with threads: TensorFlow and NumPy start a few per core
    file_bytes: int = 64 << 20  # a single file
    scratch_bytes: int = 256 << 20
    open_files: int = 256  # a single process


class Confined:
    """A running program. As a context manager it ends the program and all its processes.

    ``stdin`` and ``stdout`` are binary pipes to it. The length of its output is not limited: the reader must do that.
    Time counts while ``waited_for`` is True; ``counted`` is the sum of all that has counted, in seconds.

    Args:
        command: list: the program, then its arguments.
        level: "required" for bubblewrap, or "off".
        limits: :class:`Limits`.
        visible: files and folders that it may read, besides Python and the system's libraries.
        environment: dict of more variables. It does not get the variables of the grader.

    Raises:
        ValueError: a path in ``visible`` does not exist or is the whole machine, or bubblewrap does not work.
    """

    def __init__(self, command, *, level=REQUIRED, limits=None, visible=(), environment=None):
        self.limits, self._why, self._allowed = limits or Limits(), None, None
        self.waited_for, self.counted = True, 0.0
        self._folder = tempfile.mkdtemp(prefix="grading-") if level == OFF else None
        line = command if level == OFF else [*_bubblewrap(visible, self.limits, _way()), *command]
        self._process = subprocess.Popen(
            [os.fspath(part) for part in line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder or "/",
            env=clean_environment(self._folder or HOME) | (environment or {}),
            start_new_session=True,
        )
        self._root = psutil.Process(self._process.pid)
        self.stdin, self.stdout = self._process.stdin, self._process.stdout
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def allow(self, cpu_seconds, idle_seconds, wall_seconds):
        """Start the clock again. From now on these are the limits of time, for all processes together.

        Args:
            cpu_seconds: of computing; how busy the machine is makes no difference.
            idle_seconds: without any computing.
            wall_seconds: in all, for what does a little now and then.
        """
        with self._lock:
            self._allowed = cpu_seconds, idle_seconds, wall_seconds
            self._before = self._seconds = usage(self.tree())[0]
            self._idle = self._wall = 0.0

    def tree(self):
        """All its processes, as a list of psutil.Process."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def kill(self, reason="killed"):
        """End everything, from any thread. :meth:`wait` then returns ``reason``, if the program was still running."""
        if self._process.poll() is None:
            self._why = self._why or reason
        for each in reversed(self.tree()):  # bubblewrap last: with it the whole sandbox ends
            with contextlib.suppress(psutil.Error):
                each.kill()

    def wait(self, seconds=None):
        """Why it ended, like "exit 3" or "memory limit". None if it still runs after ``seconds``."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        number = -code if code < 0 else code - 128  # bubblewrap adds 128 to the number of a signal
        if self._why or not 0 < number < signal.NSIG:
            return self._why or f"exit {code}"
        return f"killed by signal {number} ({(signal.strsignal(number) or 'unknown').lower()})"

    def close(self):
        """End everything, and wait for the end."""
        self.kill()
        self.wait()
        self._watcher.join()
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _watch(self):
        last = time.monotonic()
        while self._process.poll() is None:
            now = time.monotonic()
            # Time does not count while the judge is stopped. It counts less while the machine has too much to do.
            busy = os.getloadavg()[0] / (os.cpu_count() or 1)
            passed, last = min(now - last, MOST) / min(max(busy, 1.0), 10.0), now
            if reason := self._too_much(passed if self.waited_for else 0.0):
                self.kill(reason)
            time.sleep(TICK)

    def _too_much(self, passed):
        """Which limit the processes have reached after some more seconds, in words. None if there is none."""
        tree = self.tree()
        seconds, threads, memory = usage(tree)
        if memory > self.limits.memory_bytes and proportional(tree) > self.limits.memory_bytes:
            return "memory limit"
        if threads > self.limits.processes + OUTER:
            return "process limit"
        if psutil.virtual_memory().available < RESERVE:
            return NO_MEMORY
        self.counted += passed
        with self._lock:
            if self._allowed is None:
                return None
            cpu, idle, wall = self._allowed
            self._wall += passed
            self._idle = 0.0 if seconds > self._seconds else self._idle + passed
            self._seconds = seconds
            if seconds - self._before > cpu:
                return f"time limit of {cpu:g} s of computing"
            if self._idle > idle:
                return f"time limit: it waited for {idle:g} s"
            return f"time limit of {wall:g} s" if self._wall > wall else None


def usage(tree):
    """Seconds of computing, threads, and bytes of memory (shared pages count for each process) of processes."""
    seconds, threads, memory = 0.0, 0, 0
    for each in tree:
        with contextlib.suppress(psutil.Error), each.oneshot():
            seconds += sum(each.cpu_times()[:4])  # with that of its ended children
            threads += each.num_threads()
            memory += each.memory_info().rss
    return seconds, threads, memory


def proportional(tree):
    """Bytes of memory of processes. Shared pages count once."""
    total = 0
    for each in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                total += each.memory_full_info().pss
            except psutil.AccessDenied:
                total += each.memory_info().rss
    return total


def clean_environment(home):
    """The environment variables of every program."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR"), home),
        "MPLBACKEND": "agg",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        # The exercises are small, and the other cores may be busy with other students.
        **dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
    }


def choose(wish):
    """What a verdict says of the sandbox: bubblewrap, or that there was none.

    Raises:
        ValueError: ``wish`` is neither "required" nor "off", or bubblewrap does not work here. One line.
    """
    if wish not in LEVELS:
        raise ValueError(f"sandbox is {wish!r}, but should be required or off")
    if wish == REQUIRED:
        _way()
    return BUBBLEWRAP if wish == REQUIRED else TRUSTED


@functools.cache
def _way():
    """How bubblewrap works here: True if root can give each program a user id of its own. Tried with a real program.

    Raises:
        ValueError: it does not work.
    """
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        raise ValueError(f"there is no bubblewrap on this machine: {INSTALL}")
    for other_user in (True, False) if os.geteuid() == 0 else (False,):
        line = [*_bubblewrap([], Limits(), other_user), sys.executable, "-c", "import ctypes"]
        done = subprocess.run(line, env=clean_environment(HOME), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return other_user
    raise ValueError(f"bubblewrap does not work here ({' '.join(done.stderr.split())[-200:]}): {INSTALL}")


def _bubblewrap(visible, limits, other_user):
    """The command line before the program's own."""
    if missing := [str(path) for path in visible if not os.path.exists(path)]:
        raise ValueError(f"visible names {missing[0]}, which does not exist")
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    asked = {place for path in (*visible, *python) for place in (os.path.abspath(path), os.path.realpath(path))}
    if "/" in asked:
        raise ValueError("visible names /, but the whole machine must not be seen")
    # --unshare-all has a user namespace, and in that there is only one user.
    spaces = "ipc pid net uts cgroup-try" if other_user else "all"
    user = "--cap-add CAP_SETUID --cap-add CAP_SETGID" if other_user else "--unshare-user --uid 65534 --gid 65534"
    line = ["bwrap", *(f"--unshare-{space}" for space in spaces.split()), *user.split()]
    line += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--proc", "/proc", "--tmpfs", "/dev"]
    for folder, size in ((HOME, limits.scratch_bytes), ("/dev/shm", 1 << 20)):
        line += ["--perms", "1777", "--size", str(size), "--tmpfs", folder]
    parents = {str(above) for path in (*SYSTEM, *asked) for above in Path(path).parents} - {"/"}
    line += [word for folder in sorted(parents) for word in ("--perms", "0755", "--dir", folder)]
    for path in (*SYSTEM, *sorted(asked)):  # a folder comes before what is in it
        line += ["--ro-bind-try", path, path]
    line += [word for path in DEVICES for word in ("--dev-bind", path, path)]
    line += [word for path in sockets(tuple(sorted(asked))) for word in ("--ro-bind", "/dev/null", path)]
    line += ["--symlink", "/proc/self/fd", "/dev/fd", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    if other_user:  # the limit on processes does not hold for root
        number = str(STUDENT + int.from_bytes(os.urandom(3)))
        line += ["setpriv", "--reuid", number, "--regid", number, "--clear-groups", "--inh-caps=-all"]
    # If the machine has no memory left, the kernel ends this process, not the judge.
    line += ["choom", "-n", "1000", "--"]
    line += ["prlimit", f"--nproc={limits.processes}", f"--fsize={limits.file_bytes}", "--core=0"]
    return [*line, f"--nofile={limits.open_files}", f"--data={2 * limits.memory_bytes}", "--stack=8388608"]


@functools.cache
def sockets(folders):
    """Unix sockets below folders: also through a read-only mount, a program could talk with the host."""
    found = subprocess.run(["find", *folders, "-type", "s", "-print0"], capture_output=True, check=False).stdout
    return [os.fsdecode(path) for path in found.split(b"\0") if path]
