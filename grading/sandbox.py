"""Runs a program that executes untrusted code, confined, with a two-way pipe to it.

Three processes: the grader (this module), ``watch.py`` (limits of the whole tree, and its end), and ``confine.py``
(inside; gives up its rights and becomes the command). What each level promises:

=================================================  ==========  ==========  ========
promise                                            bubblewrap  namespaces  limits
=================================================  ==========  ==========  ========
time, memory, size of files, bounded stderr        yes         yes         yes
clean environment, no new privileges, no sockets   yes         yes         yes
processes and threads                              yes         yes         if not root, or root could become nobody
the whole tree is gone afterwards                  yes         yes         unless it attacks the watching process
sees and writes nothing of the machine             yes         yes         no: it may what the user may
cannot signal or inspect other processes           yes         yes         no (root: if it could become nobody)
=================================================  ==========  ==========  ========

At level "limits", root runs the command as nobody if nobody can read Python and what shall be visible.
Without sockets and memory that no process owns: by a seccomp filter, on x86_64 and aarch64.
"""

import contextlib
import dataclasses
import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LEVELS = ("bubblewrap", "namespaces", "limits")  # strongest first
HOME = "/run/scratch"  # in the namespaces
PATIENCE = 30  # seconds in which the watching process must have ended everything
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")  # mapping /dev/zero is memory nobody owns
PYTHON = (sys.executable, "-I", "-S")  # no site packages, nothing of the current folder


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a command may use, all its processes together where not said otherwise."""

    wall_seconds: float = 300
    cpu_seconds: float = 300
    memory_bytes: int = 3 << 30  # resident; looked at several times a second, and a single process has twice of it
    processes: int = 256  # and threads: TensorFlow and NumPy start a few per core
    file_bytes: int = 64 << 20  # a single file
    scratch_bytes: int = 256 << 20
    open_files: int = 256  # a single process


@functools.cache
def best_level():
    """The strongest level that works on this machine; each is really tried."""
    return next((level for level in LEVELS[:-1] if failure(level) is None), "limits")


@functools.cache
def failure(level):
    """Why a level does not work on this machine, in words; None if it does."""
    if not sys.platform.startswith("linux"):
        return f"confinement needs Linux, this is {sys.platform}"
    try:
        with Confined([*PYTHON, "-c", "import ctypes"], level=level, limits=Limits(wall_seconds=20)) as trial:
            end = trial.wait()
    except OSError as error:
        return str(error)
    return None if end == "exit 0" else f"{end} {trial.errors.decode(errors='replace').strip()}".strip()


def choose_level(wish):
    """The level to use.

    Args:
        wish: "required" (namespaces or better), "auto" (the best there is), "off" (limits only).

    Raises:
        ValueError: another wish, or "required" where only "limits" works.
    """
    if wish not in ("required", "auto", "off"):
        raise ValueError(f"sandbox is {wish!r}, but should be required, auto or off")
    level = "limits" if wish == "off" else best_level()
    if wish == "required" and level == "limits":
        reasons = "; ".join(f"{level}: {failure(level)}" for level in LEVELS[:-1])
        raise ValueError(f"no sandbox works on this machine ({reasons}); install bubblewrap, or allow user namespaces")
    return level


class Confined:
    """A running command; as a context manager it is gone, with everything it started, afterwards.

    ``stdin`` and ``stdout`` are binary pipes to it. Reading a line or a frame of unbounded length is the reader's risk.
    """

    def __init__(self, command, *, level, limits=None, visible=(), environment=None):
        """Start.

        Args:
            command: list of the program, by its full path, and its arguments.
            level: one of :data:`LEVELS`.
            limits: default :class:`Limits`.
            visible: files and folders that may be read besides the Python installation and the system's libraries.
            environment: variables besides the few that every command gets; nothing of the grader's is passed on.

        Raises:
            ValueError: unknown level, or ``visible`` names nothing that exists, or the whole machine.
            OSError: not Linux, or the process cannot be started.
        """
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}, but should be one of {', '.join(LEVELS)}")
        if not sys.platform.startswith("linux"):
            raise OSError(f"confinement needs Linux, this is {sys.platform}")
        self._scratch = tempfile.mkdtemp(prefix="confined-") if level == "limits" else None
        self._end, self._killed, self._errors = None, None, b""
        self._result, result_end = os.pipe()
        control_end, control = os.pipe()
        self._control = open(control, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        try:
            confine = {
                "level": level, "command": [os.fspath(part) for part in command],
                "limits": dataclasses.asdict(limits or Limits()),
                "environment": _environment(self._scratch or HOME) | (environment or {}), **_layout(visible),
            }  # fmt: skip
            spec = {
                "grader": os.getpid(), "control": control_end, "result": result_end, "scratch": self._scratch,
                "confine": confine,
                "launch": [*(_bubblewrap(confine) if level == "bubblewrap" else ()), *PYTHON, _script("confine")],
            }  # fmt: skip
            self._watch = subprocess.Popen(
                [*PYTHON, _script("watch"), json.dumps(spec)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
                env=_environment("/"), pass_fds=[control_end, result_end], start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(self._result)
            self._control.close()
            self._remove_scratch()
            raise
        finally:
            os.close(control_end)
            os.close(result_end)
        self.stdin, self.stdout = self._watch.stdin, self._watch.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def errors(self):
        """The last 60,000 bytes of stderr, once the command has ended."""
        return self._errors

    def ended(self):
        """None while it runs, else why it ended, like "exit 3", "memory limit", "time limit of 60 s"."""
        return self.wait(0)

    def wait(self, seconds=None):
        """Wait for the end, at most so long (default: until the time limit has done its work); as :meth:`ended`."""
        if self._end is None and select.select([self._result], [], [], seconds)[0]:
            with open(self._result, "rb") as file:
                line, _, self._errors = file.read().partition(b"\n")
            self._watch.wait()
            # Nothing was reported: someone killed the watching process.
            reason = json.loads(line)["reason"] if line else "killed with the process that watched it"
            self._end = self._killed if reason == "killed" and self._killed else reason
        return self._end

    def kill(self, reason="killed"):
        """Begin to end everything, from any thread; ``reason`` is what :meth:`ended` will say, if it still runs."""
        self._killed = self._killed or reason
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended; it is closed
            self._control.write(b"k")

    def close(self):
        """End everything, and wait until it is gone."""
        self.kill()
        if self.wait(PATIENCE) is None:
            self._watch.kill()  # stopped by what it watched, which is possible at level "limits" only
            self.wait()
        for pipe in (self.stdin, self.stdout, self._control):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._remove_scratch()

    def _remove_scratch(self):
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _script(name):
    return str(Path(__file__).resolve().with_name(f"{name}.py"))


def _environment(home):
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home,
        "MPLBACKEND": "agg", "MPLCONFIGDIR": home, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
    }  # fmt: skip


def _layout(visible):
    """What the namespaces show: paths, links, devices and empty folders, each where it is outside."""
    asked = [os.path.abspath(path) for path in visible]
    if missing := [path for path in asked if not os.path.exists(path)]:
        raise ValueError(f"visible names {missing[0]}, which does not exist")
    python = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, _script("confine")]
    paths = {path for one in (*asked, *python) for path in (one, os.path.realpath(one))}
    if "/" in paths:
        raise ValueError("visible names /, but the whole machine must not be seen")
    system = [path for path in (*SYSTEM, *SETTINGS) if os.path.exists(path)]
    links = {path: os.readlink(path) for path in system if os.path.islink(path)}
    paths |= set(system) - links.keys()
    # A path below another is there already.
    paths = {path for path in paths if not any(str(above) in paths for above in Path(path).parents)}
    if not any(f"{path}/".startswith("/tmp/") for path in paths):
        links["/tmp"] = HOME
    links |= {"/dev/fd": "/proc/self/fd"}
    return {"visible": sorted(paths), "links": links, "devices": DEVICES, "folders": [HOME, "/dev/shm"]}


def _bubblewrap(confine):
    """The command line before ``confine.py``: a root of the layout, in which that is process 1."""
    if (program := shutil.which("bwrap")) is None:
        raise OSError("bubblewrap is not installed")
    line = [program, "--die-with-parent", "--as-pid-1"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    # RLIMIT_NPROC does not bind root, nor a root that has another name inside: root must become nobody.
    line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if os.geteuid() == 0 else ["--unshare-user"]
    line += ["--proc", "/proc", "--tmpfs", "/dev"]
    # bubblewrap would make the folders above a path for root alone.
    parents = {str(above) for path in confine["visible"] for above in Path(path).parents} - {"/"}
    line += [word for folder in sorted(parents) for word in ("--dir", folder)]
    for option, paths in (("--ro-bind", confine["visible"]), ("--dev-bind", confine["devices"])):
        line += [word for path in paths for word in (option, path, path)]
    line += [word for link, target in confine["links"].items() for word in ("--symlink", target, link)]
    line += [word for folder in confine["folders"] for word in ("--dir", folder)]
    return [*line, "--remount-ro", "/dev", "--remount-ro", "/", "--"]
