"""The judge's view of the process that runs one student's code: start it, run cells in it, ask it, end it."""

import contextlib
import functools
import os
import sys
import threading
from pathlib import Path

import labutils
from grading import sandbox
from grading.examiner import Conversation, Ended
from grading.warm import Warm
from labutils.checkpoints import CHECKPOINT_DIR

PACKAGES = [Path(labutils.__file__).parent, Path(__file__).parent]
PLACES = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(str(folder.parent) for folder in PACKAGES))}


class Bench:
    """A student's process, and the list of cells that it has run.

    When the process has ended, the next attempt starts a new one. Two students never share a bench.

    Args:
        start: function that starts a confined process (grading.sandbox).
        seconds: time limit for the cells and calls of one question.
    """

    def __init__(self, start, seconds=60):
        self.start, self.seconds = start, seconds
        self.process = self.conversation = None
        self.ran, self.used = [], False  # cells of this notebook; did this process judge another notebook before?

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """End the process, if there is one."""
        if self.process is not None:
            self.process.close()
        self.process = self.conversation = None
        self.ran, self.used = [], False

    def open_notebook(self):
        """Forget the names of the previous notebook."""
        self.ran, self.used = [], self.process is not None
        if self.process is not None:
            with contextlib.suppress(Ended):  # then the next attempt starts a new process
                self.attempt([], lambda conversation: conversation.reset())

    def is_fresh(self, sources):
        """Whether the process has run only these cells, or nothing."""
        return self.process is None or not (self.used or set(self.ran) - set(sources))

    def attempt(self, sources, work):
        """Run the cells that have not been run yet, then ``work(conversation)``.

        Args:
            sources: list of the code of the cells.
            work: function of a :class:`grading.examiner.Conversation`.

        Returns:
            what ``work`` returns.

        Raises:
            Ended: the process ended, or the time limit was reached. The message says why.
            Exception: whatever a cell or ``work`` raised.
        """
        late = threading.Event()

        def give_up():
            late.set()
            self.process.kill()

        if self.process is None:
            self.process = self.start()
        timer = threading.Timer(self.seconds, give_up)
        timer.start()
        try:
            if self.conversation is None:
                self.conversation = Conversation(self.process)
            for source in sources:
                if source not in self.ran:
                    self.conversation.run(source)
                    self.ran.append(source)
            return work(self.conversation)
        except Ended as error:
            reason = f"time limit of {self.seconds:g} s" if late.is_set() else self.process.wait(5) or str(error)
            self.stop()
            raise Ended(reason) from error
        finally:
            timer.cancel()


def start_candidate(level):
    """Start a confined process that runs grading.candidate. It can read packages and checkpoints, but no notebook."""
    options = {"level": level, "visible": [*PACKAGES, CHECKPOINT_DIR], "environment": PLACES}
    if level == "namespaces":
        return sandbox.Confined(["from grading.candidate import main; main()"], warm=warm(), **options)
    return sandbox.Confined([sys.executable, "-m", "grading.candidate"], **options)


@functools.cache
def warm():
    """The warm process: TensorFlow starts once for all students of this judge, and each student still has a process."""
    modules = ["grading.candidate", "labutils.checks", "IPython.core.interactiveshell"]
    return Warm(modules, sandbox.clean_environment("/") | PLACES)
