"""The warm process: it imports slow modules once, and forks a process for each student.

So TensorFlow starts only once for each judge. The warm process runs no student's code, and it knows only the
specifications of :class:`grading.sandbox.Confined`. A forked process does the same steps as a new program:
``watch.py``, then ``confine.py``, then the student's code. This works only at level "namespaces": bubblewrap must start
a program, and at level "limits" a student's process could attack the warm process.
"""

import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from types import SimpleNamespace

from grading import confine, watch

MOST_BYTES = 1 << 17  # most bytes of a specification


class Warm:
    """The grader's handle of the warm process.

    Args:
        modules: names of the modules that it imports.
        environment: dict of variables. It gets no other variables of the grader.
    """

    def __init__(self, modules, environment):
        self.modules, self.environment = modules, environment
        self._lock, self._process = threading.Lock(), None

    def fork(self, spec, control, result):
        """Fork a process from the warm process, which is started if necessary.

        Args:
            spec: dict as for ``watch.py``, without "grader", "control", "result" and "launch".
            control, result: descriptors as for ``watch.py``.

        Returns:
            two binary pipes: to the command's standard input, and from its standard output.

        Raises:
            OSError: the warm process cannot be started, or it ended at once.
        """
        (read, stdin), (stdout, write) = os.pipe(), os.pipe()
        with open(read), open(write, "w"), contextlib.ExitStack() as pipes:
            pair = [pipes.enter_context(open(end, mode)) for end, mode in ((stdin, "wb"), (stdout, "rb"))]
            with self._lock:
                if self._process is not None and self._process.poll() is not None:
                    self.close()
                if self._process is None:
                    self._start()
                socket.send_fds(self._socket, [json.dumps(spec).encode()], [read, write, control, result])
            pipes.pop_all()
        return pair

    def _start(self):
        self._home = tempfile.mkdtemp(prefix="warm-")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        homes = {"HOME": self._home, "TMPDIR": self._home, "MPLCONFIGDIR": self._home}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "grading.warm", str(theirs.fileno()), *self.modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self.environment | homes,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def close(self):
        """End the warm process, and all processes that it forked."""
        if self._process is not None:
            self._socket.close()
            self._process.kill()  # it would end without this, but only after all imports
            self._process.wait()
            self._process = None
            shutil.rmtree(self._home, ignore_errors=True)


def serve(server):
    """Fork for each message, until the grader closes the socket or ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # their exit status is not needed: the result has the reason
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, MOST_BYTES, 4)
        if not message:
            return
        if not os.fork():
            with contextlib.suppress(BaseException):
                server.close()
                become_watch(json.loads(message), *descriptors)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def become_watch(spec, read, write, control, result):
    """Continue like ``watch.py`` after its start."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for standard, descriptor in enumerate((read, write)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    watch.main(spec | {"grader": os.getppid(), "control": control, "result": result}, launch)


def launch(spec):
    """Fork a process that does what ``confine.py`` does. Returns an object with its ``pid`` and a pipe ``stderr``."""
    errors, errors_end = os.pipe()
    pid = os.fork()
    if not pid:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(errors_end, 2)
        os.closerange(3, spec["report"])
        os.closerange(spec["report"] + 1, os.sysconf("SC_OPEN_MAX"))
        confine.main(spec, run)
    os.close(errors_end)
    return SimpleNamespace(pid=pid, stderr=open(errors, "rb", buffering=0))


def run(spec):
    """Run the Python code ``spec["command"][0]`` with the modules that are imported already. Then end the process."""
    os.close(spec["report"])
    os.environ.clear()
    os.environ.update(spec["environment"])
    tempfile.tempdir = None
    code = 0
    try:
        exec(compile(spec["command"][0], "<confined>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(code & 255)


def main(descriptor, *modules):
    """Import the modules, then serve the grader at the other end of the socket."""
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # garbage collection would write to shared memory pages, and each write copies a page
    try:
        with socket.socket(fileno=int(descriptor)) as server:
            serve(server)
    finally:
        shutil.rmtree(os.environ["HOME"], ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
