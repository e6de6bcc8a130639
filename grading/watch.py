"""Starts a confined command, watches all its processes, ends them, and reports the reason.

It is run by its path: ``python -I -S watch.py SPEC``. It is a separate process between grader and command. So it can
clean up after a grader that was killed, and the grader needs no thread for it. It imports only the standard library.
"""

import contextlib
import ctypes
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

TICK = 0.2  # seconds between two measurements
KEPT = 60_000  # the last bytes of stderr that are kept
OWN_PROCESSES = 8  # bubblewrap and confine.py need fewer than this
NOBODY = 65534  # user id of the command if the grader is root
PR_SET_CHILD_SUBREAPER = 36

Process = namedtuple("Process", "parent threads cpu_seconds rss")


class Watch:
    """One command from start to end.

    Args:
        spec: dict made by grading.sandbox.
        launch: function that starts confine.py and returns an object with ``pid`` and ``stderr``.
    """

    def __init__(self, spec, launch):
        self.spec, self.limits = spec, spec["confine"]["limits"]
        # Orphans of the command become children of this process, so no process escapes from the tree.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, *(ctypes.c_ulong(number) for number in (1, 0, 0, 0)))
        self.wake, wake_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.report, report_end = os.pipe()
        self.start, self.status, self.errors, self.looked = time.monotonic(), None, b"", -TICK
        processes = self.limits["processes"] + threads_of_others(spec["confine"]["level"])
        confine = spec["confine"] | {"report": report_end, "limits": self.limits | {"processes": processes}}
        self.child = launch(confine)
        os.close(report_end)
        os.set_blocking(self.child.stderr.fileno(), False)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):  # only the command may use the grader's pipes
            os.dup2(null, standard)

    def run(self):
        """Wait for the end. Returns the limit that was reached or "killed"; None if the command ended itself."""
        control = self.spec["control"]  # readable if the grader sends a byte to end everything, or is gone
        sources = [self.wake, control, self.child.stderr]
        while True:
            ready, _, _ = select.select(sources, [], [], TICK)
            if self.child.stderr in ready and not self.read_errors():
                sources.remove(self.child.stderr)
            if control in ready:
                return "killed"
            if self.wake in ready:
                os.read(self.wake, 4096)
            self.bury()
            if self.status is not None:
                return None
            if reason := self.over_limit():
                return reason

    def read_errors(self):
        """Read the new bytes of stderr. Returns False at its end."""
        with contextlib.suppress(BlockingIOError):
            if not (text := os.read(self.child.stderr.fileno(), 65536)):
                return False
            self.errors = (self.errors + text)[-KEPT:]
        return True

    def bury(self):
        """Collect all ended children, also adopted ones. Returns False if no children are left."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.child.pid:
                    self.status = found[1]
            return True
        return False

    def over_limit(self):
        """Which limit the processes have reached, in words. None if there is none."""
        now = time.monotonic()
        if os.getppid() != self.spec["grader"]:  # another process of the grader may keep the control pipe open
            return "the grader is gone"
        if now - self.start > self.limits["wall_seconds"]:
            return f"time limit of {self.limits['wall_seconds']:g} s"
        if now - self.looked < TICK:
            return None
        tree = descendants()
        self.looked = time.monotonic()
        if sum(process.cpu_seconds for process in tree.values()) > self.limits["cpu_seconds"]:
            return self.cpu_limit()
        if self.too_much_memory(tree):
            return "memory limit"
        if sum(process.threads for process in tree.values()) > self.limits["processes"] + OWN_PROCESSES:
            return "process limit"  # needed for root at level "limits": RLIMIT_NPROC does not limit root
        if self.spec["scratch"] and size_of(self.spec["scratch"]) > self.limits["scratch_bytes"]:
            return "scratch space limit"  # in the namespaces the file system has a limit itself
        return None

    def too_much_memory(self, tree):
        """Whether all processes together use more memory than the limit."""
        if sum(process.rss for process in tree.values()) <= self.limits["memory_bytes"]:
            return False
        # This sum counts shared pages once for each process. The exact sum is slow, so it is computed only here.
        return sum(map(proportional_memory, tree, tree.values())) > self.limits["memory_bytes"]

    def cpu_limit(self):
        """The reason in words. This process or the kernel can be the first to find it."""
        return f"CPU time limit of {self.limits['cpu_seconds']:g} s"

    def end_all(self):
        """Kill until nothing is left. With namespaces, the death of process 1 ends all others."""
        while self.bury():
            # Stop them all first: a stopped process cannot fork while others are killed.
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in descendants():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
            time.sleep(0.005)

    def reported(self):
        """What confine.py reported: an error, or the command's status. Without a report, our child's status."""
        os.set_blocking(self.report, False)
        with contextlib.suppress(BlockingIOError):
            if text := os.read(self.report, 4096):
                message = json.loads(text.split(b"\n")[0])
                return message.get("error") or self.in_words(message["status"])
        return self.in_words(self.status)

    def in_words(self, status):
        """A status of waitpid, in words."""
        if not os.WIFSIGNALED(status):
            return f"exit {os.WEXITSTATUS(status)}"
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return self.cpu_limit()
        return f"killed by signal {number} ({(signal.strsignal(number) or 'unknown').lower()})"


def processes():
    """All processes of the machine: dict pid → Process. Zombies are left out."""
    found, tick, page = {}, os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before ")" may contain any character
            if fields[0] != b"Z":
                numbers = [int(fields[place]) for place in (1, 17, 11, 12, 13, 14, 21)]
                found[int(name)] = Process(numbers[0], numbers[1], sum(numbers[2:6]) / tick, numbers[6] * page)
    return found


def descendants():
    """The processes below this one: dict pid → Process."""
    everything, tree, layer = processes(), {}, {os.getpid()}
    while layer:
        layer = {pid for pid, process in everything.items() if process.parent in layer}
        tree |= {pid: everything[pid] for pid in layer}
    return tree


def threads_of_others(level):
    """The user's other threads, if RLIMIT_NPROC counts them (level "limits", or before Linux 5.14). Otherwise 0."""
    if level != "limits" and tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 14):
        return 0
    uid, total = os.geteuid() or NOBODY, 0
    for pid, process in processes().items():
        with contextlib.suppress(OSError):
            total += process.threads * (os.stat(f"/proc/{pid}").st_uid == uid)
    return total


def proportional_memory(pid, process):
    """Memory of a process in bytes. Shared pages are divided by their number of users, if we may read that."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return 1024 * int(line.split()[1])
    return process.rss


def size_of(folder):
    """Bytes on disk below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += 512 * os.lstat(os.path.join(place, name)).st_blocks
    return total


def start(program, confine):
    """Start confine.py as a new program."""
    command = [*program, json.dumps(confine)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, pass_fds=[confine["report"]])


def main(spec, launch):
    """Run the command and clean up. Write a line of JSON and the last bytes of stderr to ``spec["result"]``."""
    os.set_inheritable(spec["result"], False)
    watch = Watch(spec, launch)
    reason = watch.run()
    watch.end_all()
    while len(select.select([watch.child.stderr], [], [], 0)[0]) and watch.read_errors():
        pass
    if spec["scratch"]:
        shutil.rmtree(spec["scratch"], ignore_errors=True)
    result = json.dumps({"reason": reason or watch.reported()}).encode()
    with contextlib.suppress(BrokenPipeError), open(spec["result"], "wb") as file:
        file.write(result + b"\n" + watch.errors)


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    main(spec, functools.partial(start, spec["launch"]))
