"""The judge's side of the conversation: labutils.checks can call a student's function that is in another process.

A check uses it like any function. The arguments are sent to the student's process (grading.wire), and plain numbers
come back. Networks are never sent: each stays in its process, and the other side calls it there.
"""

import keras
import numpy as np

from grading import wire
from labutils.checks import CheckFailed
from labutils.checks.feedback import NotWritten, StandIn
from labutils.checks.lesson_4 import OneNumber
from labutils.schedule import NoiseSchedule


class Ended(BaseException):
    """The student's process ended or sent nonsense. Not an Exception, because checks catch those."""


class Conversation:
    """Talks with a process that runs grading.candidate.

    Args:
        process: object with the binary streams ``stdin`` and ``stdout``.
    """

    def __init__(self, process):
        self.process = process
        self.given = {}  # number → our object that the student's process may call or change
        self._pending = None
        self._await_ready()

    def _await_ready(self):
        if self._receive() != {"ready": True}:
            raise Ended("it did not start")

    def run(self, source):
        """Run a cell in the student's process.

        Raises:
            Exception: the cell raised one. This one has the same name.
            Ended: the process ended.
        """
        self._order({"do": "run", "source": source})

    def leave(self):
        """Go on with a new process, in which nothing was run.

        Raises:
            Ended: there is none.
        """
        self.given, self._pending = {}, None
        self._send({"do": "leave"})
        self._await_ready()

    def function(self, name):
        """The student's function of that name."""
        return RemoteFunction(self, name)

    def _order(self, message):
        self._send(message)
        while True:
            reply = self._receive()
            if not isinstance(reply, dict):
                raise Ended("it sent no reply")
            if "ask" in reply:
                self._answer(reply)
            else:
                return self._conclude(reply)

    def _answer(self, reply):
        """Call one of our networks for the student's process. Its error is raised after the student's call."""
        try:
            answer = self.given[reply["ask"]](reply["inputs"])
            self._send({"answer": np.asarray(answer)})
        except Exception as error:
            self._pending = self._pending or error
            self._send({"stop": True})

    def _conclude(self, reply):
        pending, self._pending = self._pending, None
        if isinstance(pending, CheckFailed):
            raise pending
        if pending is not None:
            raise RemoteError.named(type(pending).__name__, str(pending))
        if "returned" in reply:
            for number, weights in (reply.get("weights") or {}).items():
                self._take_weights(number, weights)
            return reply["returned"]
        if reply.get("check_failed") is True:
            raise CheckFailed(str(reply.get("text")))
        if reply.get("not_written") is True:
            raise NotWritten(str(reply.get("text")))
        raise RemoteError.named(str(reply.get("raised")), str(reply.get("text")))

    def _take_weights(self, number, weights):
        try:
            self.given[number].set_weights(weights)
        except Exception as error:  # wrong shapes or types, or an unknown number
            raise Ended(f"it sent weights that do not fit: {error}") from error

    def _send(self, message):
        try:
            wire.send(self.process.stdin, message, self._encode)
        except (OSError, wire.TooLarge) as error:
            raise Ended("it is gone") from error

    def _receive(self):
        try:
            message = wire.receive(self.process.stdout, self._decode)
        except (wire.BrokenMessage, OSError) as error:
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
        if isinstance(value, StandIn):
            return {"kind": "network", "number": self._number(value), "input_shape": value.input_shape}
        if isinstance(value, OneNumber):
            return {"kind": "one_number", "number": self._number(value), "weights": value.get_weights()}
        if isinstance(value, keras.optimizers.SGD):
            return {"kind": "sgd", "number": self._number(value), "rate": float(value.learning_rate)}
        return None

    def _number(self, value):
        for number, known in self.given.items():
            if known is value:
                return number
        number = f"given {len(self.given)}"
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

    def beside(self, helper):
        """Call ``helper(function)`` in the student's process."""
        return self._conversation._order({"do": "beside", "helper": helper.__name__, "function": self.__name__})


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
    """An error that was raised in the student's process, with the same name."""

    @classmethod
    def named(cls, name, text):
        """Make an exception whose type has this name."""
        return type(name[:80], (cls,), {})(text)
