"""The judge's side of the conversation: labutils.checks can call a student's function that is in another process.

A check uses it like any function. The arguments are sent to the student's process (grading.wire), and plain numbers
come back. Networks are never sent: each stays in its process, and the other side calls it there.
"""

import re

import keras
import numpy as np

from grading import wire
from labutils.checks import CheckFailed
from labutils.checks.feedback import NotWritten
from labutils.checks.lesson_3 import SAID_IN_STUDENT_PROCESS
from labutils.checks.lesson_4 import OneNumber
from labutils.checks.values import StubNetwork
from labutils.schedule import NoiseSchedule

ONE_WORD = re.compile(r"\w{1,60}")
LINE = 100  # most characters of a line of code in a sentence


class Ended(BaseException):
    """The student's process ended or sent nonsense. Not an Exception, because checks catch those."""


class OwnFault(BaseException):
    """Something failed on the judge's side. Not an Exception: checks would blame the student's function for it."""


class Conversation:
    """Talks with a process that runs grading.candidate.

    Args:
        process: object with the binary streams ``stdin`` and ``stdout``. Its attribute ``waited_for`` says whether the
            judge waits for it: only then its time counts.
    """

    def __init__(self, process):
        self.process = process
        self.given = {}  # number → our object that the student's process may call or change
        self._pending = None
        self._await_ready()

    def run(self, source):
        """Run a cell in the student's process.

        Raises:
            RemoteError: the cell raised an exception. This one has the same name, and ``where`` names the line.
            Ended: the process ended.
        """
        try:
            self._order({"do": "run", "source": source})
        except RemoteError as error:
            error.where = _line(source, error.line)
            raise

    def find(self, name):
        """Do nothing if the student's process has a function of that name.

        Raises:
            RemoteError: it has none.
            Ended: the process ended.
        """
        self._order({"do": "find", "name": name})

    def leave(self):
        """Go on with a new process, in which nothing was run.

        Raises:
            Ended: there is none.
        """
        self.given, self._pending = {}, None
        self.process.waited_for = True
        self._send({"do": "leave"})
        self._await_ready()

    def function(self, name):
        """The student's function of that name."""
        return RemoteFunction(self, name)

    def _await_ready(self):
        if self._receive() != {"ready": True}:
            raise Ended("it did not start")
        self.process.waited_for = False

    def _order(self, message):
        try:
            self.process.waited_for = True
            self._send(message)
            while True:
                reply = self._receive()
                if not isinstance(reply, dict):
                    raise Ended("it sent no reply")
                if "ask" not in reply:
                    return self._conclude(reply)
                self.process.waited_for = False
                answer = self._answer(reply)
                self.process.waited_for = True
                self._send(answer)
        except (RemoteError, CheckFailed, NotImplementedError):
            raise
        except Exception as error:
            raise OwnFault(f"{type(error).__name__}: {error}"[:200]) from error
        finally:
            self.process.waited_for = False

    def _answer(self, reply):
        """Call one of our networks for the student's process. Its error is raised after the student's call."""
        try:
            return {"answer": np.asarray(self.given[reply["ask"]](reply["inputs"]))}
        except (MemoryError, OSError):
            raise
        except Exception as error:  # of what the student's code gave to the network
            self._pending = self._pending or error
            return {"stop": True}

    def _conclude(self, reply):
        pending, self._pending = self._pending, None
        if isinstance(pending, CheckFailed):
            raise pending
        if pending is not None:
            raise RemoteError.named(type(pending).__name__, str(pending), None)
        if "returned" in reply:
            try:
                for number, weights in (reply.get("weights") or {}).items():
                    self.given[number].set_weights(weights)
            except Exception as error:  # wrong shapes or types, or an unknown number
                raise Ended(f"it sent weights that do not fit: {error}") from error
            return reply["returned"]
        text = str(reply.get("text"))
        if reply.get("raised") == "CheckFailed" and text in SAID_IN_STUDENT_PROCESS:
            raise CheckFailed(text)
        if reply.get("not_written") is True and ONE_WORD.fullmatch(text):
            raise NotWritten(text)
        raise RemoteError.named(str(reply.get("raised")), text, reply.get("line"))

    def _send(self, message):
        try:
            wire.send(self.process.stdin, message, self._encode)
        except (ConnectionError, wire.TooLarge) as error:
            raise Ended("it is gone") from error

    def _receive(self):
        try:
            message = wire.receive(self.process.stdout, self._decode)
        except wire.BrokenMessage as error:
            raise Ended(f"it sent nonsense: {error}") from error
        if message is None:
            raise Ended("it is gone")
        return message

    def _encode(self, value):
        """Pack the arguments that are not numbers and that our checks give to a student's function."""
        if isinstance(value, NoiseSchedule):
            return {"kind": "schedule", "betas": value.betas, "name": value.name}
        if isinstance(value, np.random.Generator):
            return {"kind": "generator", "state": value.bit_generator.state}
        if isinstance(value, StubNetwork):
            return {"kind": "network", "number": self._number(value), "input_shape": value.input_shape}
        if isinstance(value, OneNumber):
            return {"kind": "one_number", "number": self._number(value), "weights": value.get_weights()}
        if isinstance(value, keras.optimizers.SGD):
            return {"kind": "sgd", "number": self._number(value), "rate": float(value.learning_rate)}
        return None

    def _number(self, value):
        number = next((number for number, known in self.given.items() if known is value), f"given {len(self.given)}")
        self.given[number] = value
        return number

    def _decode(self, known):
        if known.get("kind") != "network" or not isinstance(known.get("number"), str):
            raise ValueError("unknown object")
        return RemoteNetwork(self, known["number"])


class RemoteFunction:
    """A function of the student's notebook."""

    def __init__(self, conversation, name):
        self._conversation, self.__name__ = conversation, name

    def __call__(self, *arguments):
        """Call it in the student's process."""
        return self._conversation._order({"do": "call", "function": self.__name__, "arguments": arguments})

    def in_student_process(self, helper):
        """Call ``helper(function)`` in the student's process."""
        return self._conversation._order({"do": "helper", "helper": helper.__name__, "function": self.__name__})


class RemoteNetwork:
    """A network that the student's function returned."""

    def __init__(self, conversation, number):
        self._conversation, self._number = conversation, number

    def _method(self, name, *arguments):
        return self._conversation._order(
            {"do": "method", "number": self._number, "method": name, "arguments": arguments}
        )

    def get_weights(self):
        """List of arrays."""
        weights = self._method("get_weights")
        if not isinstance(weights, list) or not all(isinstance(w, np.ndarray) for w in weights):
            raise CheckFailed("the weights of the network are no list of arrays")
        return weights

    def set_weights(self, weights):
        """Give it other weights."""
        self._method("set_weights", weights)

    def predict_on_batch(self, inputs):
        """Its answer."""
        return self._method("predict_on_batch", inputs)


class RemoteError(Exception):
    """An error that was raised in the student's process, with the same name.

    Its text is the student's, so it stands in quotation marks: nobody can take it for the grader's.

    Attributes:
        line: number of the line in the cell, or None.
        where: the line in words, or "".
    """

    line, where = None, ""

    @classmethod
    def named(cls, name, text, line):
        """Make an exception whose type has this name, if it is one word."""
        error = type(name if ONE_WORD.fullmatch(name) else "an error", (cls,), {})(f"“{text}”")
        error.line = line
        return error


def _line(source, number):
    """A line of the student's code, as the end of a sentence; "" if there is no such line."""
    lines = source.split("\n")
    if not isinstance(number, int) or not 0 < number <= len(lines):
        return ""
    return f" (line {number}: `{lines[number - 1].strip()[:LINE]}`)"
