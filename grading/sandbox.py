"""Runs a program with untrusted code in a sandbox, and connects pipes to it.

There are three processes. The grader uses this module. ``watch.py`` limits and ends all processes of the command.
``confine.py`` runs inside the sandbox, gives up its rights and becomes the command. What each level promises:

=================================================  ==========  ==========  ========
promise                                            bubblewrap  namespaces  limits
=================================================  ==========  ==========  ========
limited time, memory, file size and stderr         yes         yes         yes
clean environment, no new privileges, no sockets   yes         yes         yes
limited number of processes and threads            yes         yes         if not root, or root could become nobody
no process remains afterwards                      yes         yes         unless it attacks the watching process
reads only visible files, writes only scratch      yes         yes         no: it has the rights of the user
cannot signal or inspect other processes           yes         yes         no (root: if it could become nobody)
=================================================  ==========  ==========  ========

At level "limits", root runs the command as the user nobody, if that user can read Python and all visible files.
On x86_64 and aarch64 a seccomp filter forbids sockets (except Unix sockets) and memory that no process is charged for.
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
HOME = "/run/scratch"  # path of the scratch folder in the namespaces
PATIENCE = 30  # seconds that the watching process has to end everything
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")  # not /dev/zero: memory from it is not counted
PYTHON = (sys.executable, "-I", "-S")  # no site packages, and no import from the current folder


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a command may use. A limit is for all its processes together, unless a comment says otherwise."""

    wall_seconds: float = 300
    cpu_seconds: float = 300
    memory_bytes: int = 3 << 30  # resident, measured often; RLIMIT_DATA of one process is twice this
    processes: int = 256  # with threads: TensorFlow and NumPy start a few per core
    file_bytes: int = 64 << 20  # a single file
    scratch_bytes: int = 256 << 20
    open_files: int = 256  # a single process


@functools.cache
def best_level():
    """The strongest level that works on this machine. Each level is tried with a real process."""
    return next((level for level in LEVELS[:-1] if failure(level) is None), "limits")


@functools.cache
def failure(level):
    """Why a level does not work on this machine, in words. None if it works."""
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
        wish: "required" (namespaces or better), "auto" (the strongest that works), "off" (limits only).

    Raises:
        ValueError: the wish is another word, or it is "required" and only "limits" works.
    """
    if wish not in ("required", "auto", "off"):
        raise ValueError(f"sandbox is {wish!r}, but should be required, auto or off")
    level = "limits" if wish == "off" else best_level()
    if wish == "required" and level == "limits":
        reasons = "; ".join(f"{level}: {failure(level)}" for level in LEVELS[:-1])
        raise ValueError(f"no sandbox works on this machine ({reasons}); install bubblewrap, or allow user namespaces")
    return level


class Confined:
    """A running command. As a context manager it ends the command and all its processes.

    ``stdin`` and ``stdout`` are binary pipes to it. The length of its output is not limited: the reader must do that.
    """

    def __init__(self, command, *, level, limits=None, visible=(), environment=None, warm=None):
        """Start the command.

        Args:
            command: list: full path of the program, then its arguments. With ``warm``: list of one text, Python code.
            level: one of :data:`LEVELS`.
            limits: default :class:`Limits`.
            visible: files and folders that it may read, besides Python and the system's libraries.
            environment: dict of more variables. It does not get the variables of the grader.
            warm: None, or a :class:`grading.warm.Warm` that forks the process (level "namespaces" only).

        Raises:
            ValueError: the level is unknown or does not work with ``warm``, or a path in ``visible`` does not exist or
                is the whole machine.
            OSError: this is not Linux, or the process cannot be started.
        """
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}, but should be one of {', '.join(LEVELS)}")
        if warm is not None and level != "namespaces":
            raise ValueError(f"level is {level!r}, but a forked process needs level namespaces only")
        if not sys.platform.startswith("linux"):
            raise OSError(f"confinement needs Linux, this is {sys.platform}")
        self._scratch = tempfile.mkdtemp(prefix="confined-") if level == "limits" else None
        self._end, self._killed, self._errors = None, None, b""
        self._result, result_end = os.pipe()
        control_end, control = os.pipe()
        self._control = open(control, "wb", buffering=0)  # noqa: SIM115 (closed by close)
        try:
            confine = {
                "level": level,
                "command": [os.fspath(part) for part in command],
                "limits": dataclasses.asdict(limits or Limits()),
                "environment": clean_environment(self._scratch or HOME) | (environment or {}),
                **_layout(visible),
            }
            spec = {"scratch": self._scratch, "confine": confine}
            if warm is None:
                self._watch = _start(spec, control_end, result_end)
                self.stdin, self.stdout = self._watch.stdin, self._watch.stdout
            else:
                self._watch = None
                self.stdin, self.stdout = warm.fork(spec, control_end, result_end)
        except BaseException:
            os.close(self._result)
            self._control.close()
            self._remove_scratch()
            raise
        finally:
            os.close(control_end)
            os.close(result_end)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def errors(self):
        """The last 60,000 bytes of stderr, once the command has ended."""
        return self._errors

    def ended(self):
        """None while it runs. Afterwards why it ended, like "exit 3", "memory limit", "time limit of 60 s"."""
        return self.wait(0)

    def wait(self, seconds=None):
        """Wait for the end, at most ``seconds`` (default: until it ends). Returns the same as :meth:`ended`."""
        if self._end is None and select.select([self._result], [], [], seconds)[0]:
            with open(self._result, "rb") as file:
                line, _, self._errors = file.read().partition(b"\n")
            if self._watch is not None:
                self._watch.wait()
            # Without a report: someone killed the watching process.
            reason = json.loads(line)["reason"] if line else "killed with the process that watched it"
            self._end = self._killed if reason == "killed" and self._killed else reason
        return self._end

    def kill(self, reason="killed"):
        """Ask for the end of everything, from any thread. If it still runs, :meth:`ended` will return ``reason``."""
        self._killed = self._killed or reason
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended, or this is closed
            self._control.write(b"k")

    def close(self):
        """End everything, and wait for the end."""
        self.kill()
        if self.wait(PATIENCE) is None and self._watch is not None:
            self._watch.kill()  # the command stopped it; this is possible only at level "limits"
            self.wait()
        for pipe in (self.stdin, self.stdout, self._control):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._remove_scratch()

    def _remove_scratch(self):
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _start(spec, control, result):
    """Start the watching process, with pipes to the command."""
    confine = spec["confine"]
    program = [*(_bubblewrap(confine) if confine["level"] == "bubblewrap" else ()), *PYTHON, _script("confine")]
    spec = spec | {"grader": os.getpid(), "control": control, "result": result, "launch": program}
    return subprocess.Popen(
        [*PYTHON, _script("watch"), json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=clean_environment("/"),
        pass_fds=[control, result],
        start_new_session=True,
    )


def _script(name):
    return str(Path(__file__).resolve().with_name(f"{name}.py"))


def clean_environment(home):
    """The environment variables of every command."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": home,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        # The exercises are small, and the other cores may be busy with other students.
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }


def _layout(visible):
    """What is visible in the namespaces: paths, links, devices and empty folders, with the same paths as outside."""
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
    # Skip a path that is below another one: it is visible already.
    paths = {path for path in paths if not any(str(above) in paths for above in Path(path).parents)}
    if not any(f"{path}/".startswith("/tmp/") for path in paths):
        links["/tmp"] = HOME
    links |= {"/dev/fd": "/proc/self/fd"}
    return {"visible": sorted(paths), "links": links, "devices": DEVICES, "folders": [HOME, "/dev/shm"]}


def _bubblewrap(confine):
    """The bubblewrap command that starts ``confine.py`` as process 1 in a root folder with this layout."""
    if (program := shutil.which("bwrap")) is None:
        raise OSError("bubblewrap is not installed")
    line = [program, "--die-with-parent", "--as-pid-1"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    # RLIMIT_NPROC does not limit root, not even under another user id inside. So root must become nobody.
    line += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if os.geteuid() == 0 else ["--unshare-user"]
    line += ["--proc", "/proc", "--tmpfs", "/dev"]
    # Without --dir, bubblewrap makes parent folders that only root can read.
    parents = {str(above) for path in confine["visible"] for above in Path(path).parents} - {"/"}
    line += [word for folder in sorted(parents) for word in ("--dir", folder)]
    for option, paths in (("--ro-bind", confine["visible"]), ("--dev-bind", confine["devices"])):
        line += [word for path in paths for word in (option, path, path)]
    line += [word for link, target in confine["links"].items() for word in ("--symlink", target, link)]
    line += [word for folder in confine["folders"] for word in ("--dir", folder)]
    return [*line, "--remount-ro", "/dev", "--remount-ro", "/", "--"]
