"""The judge's view of the process that runs one student's code: start it, give it the questions, end it."""

import os
import sys
from pathlib import Path

import labutils
from grading import sandbox
from grading.examiner import Conversation, Ended
from labutils.pretrained import CHECKPOINT_DIR

PACKAGES = [Path(labutils.__file__).parent, Path(__file__).parent]
PLACES = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(str(folder.parent) for folder in PACKAGES))}
# Seconds for one question: its cells, all properties and all seeds together. What counts is computing, because the
# machine may be busy with something else.
COMPUTING, WAITING, AT_MOST = 60, 20, 300
START = 600  # seconds for the start of a process


class NotReady(Exception):
    """The process did not start. This is no fault of the student's."""


class Bench:
    """A student's process. Each question runs in a fork of it. Two students never share a bench.

    Args:
        start: function that starts a process (grading.sandbox.Confined).
        seconds: limits of time for one question, as :meth:`grading.sandbox.Confined.allow` takes them.
    """

    def __init__(self, start, seconds=(COMPUTING, WAITING, AT_MOST)):
        self.start, self.seconds = start, seconds
        self.process = self.conversation = None
        self._used = 0.0  # by processes that have ended

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        """End the process, if there is one."""
        if self.process is not None:
            self.process.close()
            self._used += self.process.counted
        self.process = self.conversation = None

    def used(self):
        """Seconds in which the judge waited for the processes of this student."""
        return self._used + (self.process.counted if self.process is not None else 0.0)

    def fresh(self):
        """A :class:`grading.examiner.Conversation` with a process that has run nothing yet; its time begins now.

        Raises:
            NotReady: it did not start; says why.
        """
        if self.conversation is not None:
            try:
                self.process.allow(*self.seconds)
                self.conversation.leave()
                if len(self.process.tree()) > self.processes:  # the last answer left something behind
                    self.stop()
            except Ended:
                self.stop()
        if self.process is None:
            self._start()
        self.process.allow(*self.seconds)
        return self.conversation

    def _start(self):
        try:
            self.process = self.start()
            self.process.allow(START, START, START)
            self.conversation = Conversation(self.process)
            self.processes = len(self.process.tree())
        except (Ended, OSError) as error:
            why = self.process and self.process.wait(1)
            self.stop()
            raise NotReady(why or str(error)) from error

    def why(self, error):
        """Why the process ended, in words; ``error`` is what the conversation noticed. Ends the process."""
        reason = self.process.wait(1) or str(error)
        self.stop()
        return reason


def start_candidate(level):
    """Start a process that runs grading.candidate. It can read packages and checkpoints, but no notebook."""
    line = [sys.executable, "-P", "-m", "grading.candidate"]
    return sandbox.Confined(line, level=level, visible=[*PACKAGES, CHECKPOINT_DIR], environment=PLACES)
