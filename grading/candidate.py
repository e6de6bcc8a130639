"""Runs a student's answers in a separate process: ``python -m grading.candidate``.

It reads the judge's orders (grading.examiner) from standard input and replies on standard output. Both sides use the
messages of grading.wire. The student's code may do anything to this process: the judge receives only plain numbers,
and compares them in another process.

TensorFlow is imported once. Then each question runs in a process of its own, which is forked from this one.
"""

import gc
import os
import tempfile
import traceback

from grading import wire

NEXT = 99  # exit code of a process that was told to make room for the next
HELPERS = {  # see feedback.in_student_process
    "layers_of_mlp": "lesson_1",
    "block_as_network": "lesson_3",
    "time_as_network": "lesson_3",
    "weights_of": "lesson_7",
    "changes_inputs": "lesson_10",
    "gradient_of_row": "lesson_10",
}


class Refused(Exception):
    """The judge has stopped this call."""


class Candidate:
    """Carries out the judge's orders with the student's code.

    Args:
        read, write: binary streams from and to the judge.
    """

    def __init__(self, read, write):
        self.read, self.write = read, write
        self.shell = _shell()  # so that cells may contain everything that Jupyter allows
        self.objects = {}  # number → object that came from the judge, or that the student's code returned

    def serve(self):
        """Carry out orders until the judge closes the stream."""
        while (order := wire.receive(self.read, self.decode)) is not None:
            try:
                reply = getattr(self, f"do_{order.pop('do')}")(**order)
            except Refused:
                reply = {"refused": True}
            except BaseException as error:  # a student's code may raise anything, even SystemExit
                from labutils.checks.feedback import stub_of

                # Private subclasses, like _IncompleteInputError in Python 3.13, mean nothing to a student.
                public = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__[0] != "_")
                stub = stub_of(error, self.shell.user_ns.values())
                reply = {"raised": public, "text": stub or _text(error), "line": self._line(error)}
                reply["not_written"] = stub is not None
            self.say(reply)

    def say(self, message):
        """Send a message, or an error message if it contains itself or is too large."""
        try:
            wire.send(self.write, message, self.encode)
        except (ValueError, RecursionError) as error:
            wire.send(self.write, {"raised": type(error).__name__, "text": str(error)[:2000]})

    def do_leave(self):
        """End this process; the next question gets a new one."""
        os._exit(NEXT)

    def do_run(self, source):
        """Run a cell."""
        result = self.shell.run_cell(source, store_history=False, silent=True)
        if error := result.error_before_exec or result.error_in_exec:
            raise error
        return {"returned": None}

    def do_find(self, name):
        """See whether the notebook defines a name."""
        self._student(name)
        return {"returned": None}

    def _line(self, error):
        """Number of the line of the cell in which an exception arose; None if it is not known."""
        if isinstance(error, SyntaxError):
            return error.lineno
        frames = traceback.extract_tb(error.__traceback__)
        return next((frame.lineno for frame in frames if frame.filename.startswith("<ipython-input")), None)

    def do_call(self, function, arguments):
        """Call a function of the notebook by its name."""
        from labutils.checks.values import gathered

        return self._result(gathered(self._student(function)(*arguments)), arguments)

    def do_helper(self, helper, function):
        """Give a function of the notebook to a helper of the checks."""
        from labutils import checks

        if helper not in HELPERS:
            raise ValueError(f"unknown helper {helper}")
        return self._result(getattr(getattr(checks, HELPERS[helper]), helper)(self._student(function)), ())

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

        models = [argument for argument in arguments if isinstance(argument, keras.Model)]
        given = {number: it for number, it in self.objects.items() if any(it is model for model in models)}
        return {"returned": value, "weights": {str(number): it.get_weights() for number, it in given.items()}}

    def decode(self, known):
        """Rebuild a special value from the judge: a schedule, a generator, a network, an optimiser."""
        import keras
        import numpy as np

        from labutils.checks.lesson_4 import OneNumber
        from labutils.checks.values import StubNetwork
        from labutils.schedule import NoiseSchedule

        kind, number = known["kind"], known.get("number")
        if kind == "schedule":
            return NoiseSchedule(known["betas"], known["name"], allow_plateau=True)
        if kind == "generator":
            rng = np.random.default_rng()
            rng.bit_generator.state = known["state"]
            return rng
        if kind == "network":
            network = StubNetwork(None, known["input_shape"])
            network.reply = lambda inputs: self.ask(number, inputs)  # the judge's own one looks at the inputs
            return network
        if number not in self.objects:
            self.objects[number] = OneNumber() if kind == "one_number" else keras.optimizers.SGD(known["rate"])
        if kind == "one_number":
            self.objects[number].set_weights(known["weights"])
        return self.objects[number]

    def encode(self, value):
        """Keep a network that the student's code returned, and send its number. None for other objects."""
        if all(callable(getattr(value, name, None)) for name in ("get_weights", "set_weights", "predict_on_batch")):
            number = f"here {len(self.objects)}"
            self.objects[number] = value
            return {"kind": "network", "number": number}
        return None

    def ask(self, number, inputs):
        """Call a network that is in the judge's process."""
        self.say({"ask": number, "inputs": inputs})
        reply = wire.receive(self.read, self.decode)
        if reply is None or "answer" not in reply:
            raise Refused
        return reply["answer"]


def _shell():
    """An IPython shell that takes what the kernel of a notebook takes."""
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        def enable_gui(self, gui=None):
            """Accept %matplotlib, %pylab and %gui, as a kernel does. Windows are never opened here."""

    shell = Shell.instance()
    shell.system = shell.system_raw  # `!command` must not need a terminal: there is none
    shell.builtin_trap.__enter__()  # `display` is known in functions that a check calls, too
    return shell


def _text(error):
    """The text of an exception; its own method may fail."""
    try:
        return str(error)[:2000]
    except Exception:
        return ""


def main():
    """Serve on the standard streams; what the student's code prints goes to standard error."""
    read, write = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    import IPython.core.interactiveshell  # noqa: F401 (slow; the forked processes need it)
    import tensorflow as tf

    import labutils.checks  # noqa: F401

    tf.config.run_functions_eagerly(True)  # otherwise a @tf.function could not call the judge's network
    gc.freeze()  # garbage collection would write to shared memory pages, and each write copies a page
    while pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            os.kill(os.getpid(), -code)
        if code != NEXT:
            os._exit(code)
    os.chdir(tempfile.mkdtemp())  # of its own, so that no file of an earlier answer is there
    wire.send(write, {"ready": True})
    Candidate(read, write).serve()
    os._exit(0)  # also if threads of the student still run


if __name__ == "__main__":
    main()
