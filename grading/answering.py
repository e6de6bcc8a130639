"""Runs a student's answers, in a process of its own: ``python -m grading.answering``.

It does what the judge (grading.asking) writes to its standard input, and replies on its standard output, in the
messages of grading.wire. Whatever the student's code does to this process, the judge only ever sees plain numbers,
and compares them in another process.
"""

import os
import sys

from grading import wire

HELPERS = ("block_as_network",)  # of labutils.checks.networks; see labutils.checks.feedback.beside


class Refused(Exception):
    """The judge has seen enough of this call."""


class Network:
    """Stands in for a network that lives in the judge's process; used like a Keras model."""

    def __init__(self, ask):
        self._ask = ask

    def __call__(self, inputs, training=None):
        """What ``network([x_t, time])`` does."""
        import tensorflow as tf

        return tf.convert_to_tensor(self.predict(inputs))

    def predict(self, inputs, **options):
        """What ``network.predict([x_t, time])`` does."""
        return self._ask(inputs)

    predict_on_batch = predict


class Workshop:
    """What the judge asks for, done with the student's code.

    Args:
        read, write: binary streams from and to the judge.
    """

    def __init__(self, read, write):
        from IPython.core.interactiveshell import InteractiveShell

        self.read, self.write = read, write
        self.shell = InteractiveShell.instance()  # so that a cell may hold all that it may in a notebook
        self.objects = {}  # number → what the judge gave, or the student's code returned

    def serve(self):
        """Do one thing after the other, until the judge hangs up."""
        while (order := wire.receive(self.read, self.open)) is not None:
            try:
                reply = getattr(self, f"do_{order.pop('do')}")(**order)
            except Refused:
                reply = {"refused": True}
            except BaseException as error:  # a student's code may raise anything, SystemExit included
                from labutils.checks import CheckFailed

                # Python's own refinements, such as _IncompleteInputError of 3.13, say nothing to a student.
                public = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__[0] != "_")
                reply = {"raised": public, "text": str(error)[:2000],
                         "check_failed": isinstance(error, CheckFailed),
                         "not_written": isinstance(error, NotImplementedError)}  # fmt: skip
            self.say(reply)

    def say(self, message):
        """Send a message; what cannot be sent as it is becomes a word about it."""
        try:
            wire.send(self.write, message, self.close)
        except RecursionError:
            wire.send(self.write, {"raised": "RecursionError", "text": "the answer contains itself"})

    def do_run(self, source):
        """Run a cell."""
        result = self.shell.run_cell(source, store_history=False, silent=True)
        if error := result.error_before_exec or result.error_in_exec:
            raise error
        return {"returned": None}

    def do_call(self, function, arguments):
        """Call a function of the notebook by its name."""
        return self._result(self._student(function)(*arguments), arguments)

    def do_beside(self, helper, function):
        """Let a helper of the checks call a function of the notebook."""
        from labutils.checks import networks

        if helper not in HELPERS:
            raise ValueError(f"unknown helper {helper}")
        return self._result(getattr(networks, helper)(self._student(function)), ())

    def do_method(self, number, method, arguments):
        """Call a method of a network that the student's code returned."""
        return self._result(getattr(self.objects[number], method)(*arguments), ())

    def _student(self, name):
        try:
            return self.shell.user_ns[name]
        except KeyError:
            raise NameError(f"the answer does not define {name}") from None

    def _result(self, value, arguments):
        import keras

        changed = {
            str(number): argument.get_weights()
            for argument in arguments
            if isinstance(argument, keras.Model)
            for number, known in self.objects.items()
            if known is argument
        }
        return {"returned": value, "weights": changed}

    def open(self, known):
        """A special value from the judge: a schedule, a random generator, a network, an optimiser."""
        import keras
        import numpy as np

        from labutils.checks.training import OneNumber
        from labutils.schedule import NoiseSchedule

        kind, number = known["kind"], known.get("number")
        if kind == "schedule":
            return NoiseSchedule(known["betas"], known["name"], allow_plateau=True)
        if kind == "generator":
            rng = np.random.default_rng()
            rng.bit_generator.state = known["state"]
            return rng
        if kind == "network":
            return Network(lambda inputs: self.ask(number, inputs))
        if number not in self.objects:
            self.objects[number] = OneNumber() if kind == "one_number" else keras.optimizers.SGD(known["rate"])
        if kind == "one_number":
            self.objects[number].set_weights(known["weights"])
        return self.objects[number]

    def close(self, value):
        """What the student's code returned and is neither plain nor numbers: a network is kept here, under a number."""
        if all(callable(getattr(value, name, None)) for name in ("get_weights", "set_weights", "predict_on_batch")):
            number = f"here {len(self.objects)}"
            self.objects[number] = value
            return {"kind": "network", "number": number}
        return None

    def ask(self, number, inputs):
        """Call a network of the judge's."""
        self.say({"ask": number, "inputs": inputs})
        reply = wire.receive(self.read, self.open)
        if reply is None or "answer" not in reply:
            raise Refused
        return reply["answer"]


def main():
    """Serve on the standard streams; what the student's code prints goes to standard error."""
    read, write = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    import tensorflow as tf

    import labutils  # noqa: F401

    tf.config.run_functions_eagerly(True)  # so that a network of the judge's can be asked inside a @tf.function, too
    wire.send(write, {"ready": True})
    Workshop(read, write).serve()


if __name__ == "__main__":
    main()
