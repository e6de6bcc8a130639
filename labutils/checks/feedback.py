"""What all checks share. A check accepts any right answer, and names the likely mistake behind a wrong one."""

import copy
import inspect
import re
import traceback
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from labutils.schedule import NoiseSchedule

WIDTH = 400  # characters: longest part of an exception's text that a sentence repeats
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # escape codes, which Keras writes into its messages
# What libraries say → what the student should do.
HINTS = {
    "does not have a `call": "a Keras model or layer computes in `call`: add this method, or give yours this "
    "name (`forward` is PyTorch's name for it)",
    "KerasTensor is symbolic": "here the arguments are symbolic tensors of Keras, which hold no numbers yet: use Keras "
    "layers or functions of keras.ops, not NumPy",
    "KerasTensor cannot be used as input to a TensorFlow function": "here the arguments are symbolic tensors of Keras, "
    "which hold no numbers yet: use Keras layers or functions of keras.ops, not those of TensorFlow",
}


class CheckFailed(AssertionError):
    """An exercise is not right yet; the message is a sentence for the student."""

    def _render_traceback_(self):
        """What IPython shows: only the sentence. The frames of a check would show the right answer."""
        return [str(self)]


class NotWritten(NotImplementedError):
    """The stub of an exercise was called in another process; the text is the name of its function."""


class Property(NamedTuple):
    """A property that every right answer has: in words for the student, and as a test of the student's function.

    The test takes the function and a random generator. It draws its inputs from the generator. It raises CheckFailed if
    the property does not hold. ``alone`` is False if it also holds for an answer that computes nothing.
    """

    text: str
    test: Callable
    alone: bool = True


class Check:
    """The properties of one exercise.

    A call with the student's function tries the properties in order. It raises CheckFailed at the first that does not
    hold. If all hold, it prints "All tests in … passed!" and a list of them.

    Args:
        exercise: its number in the lessons, such as "2.1".
        name: of the student's function.
        about: what the function should be, in one line.
    """

    names = set()  # of the functions of all exercises

    def __init__(self, exercise, name, about):
        self.exercise, self.name, self.__doc__ = exercise, name, about
        self.properties, self.passed = [], None
        self.names.add(name)

    def property(self, text, alone=True):
        """Decorator: add a test as the next property."""

        def add(test):
            self.properties.append(Property(text, test, alone))
            return test

        return add

    def __call__(self, function, seed=0):
        """Try all properties; ``seed`` chooses the inputs.

        Raises:
            CheckFailed: a property does not hold; the message names the exercise and says one sentence.
        """
        self.passed = None  # after a failure an earlier pass no longer counts
        try:
            for each in self.properties:
                each.test(function, np.random.default_rng(seed))
        except CheckFailed as failed:
            sentence = str(failed)
        except KeyboardInterrupt:
            sentence = "you stopped it: does a loop in your function never end?"
        except Exception as error:  # of the check itself: it met a result that it did not expect
            sentence = f"the result cannot be checked: {_in_words(error)}"
        else:
            self.passed = function
            print("\n- ".join([f"All tests in `{self.name}` passed!", *(each.text for each in self.properties)]))
            return
        # Raised here, with no other exception behind it: the frames of the check hold the right answer.
        raise CheckFailed(f"Exercise {self.exercise}, `{self.name}`: {sentence}")

    def answer_or(self, reference):
        """The last function that passed this check, so that the next figure shows the student's own work.

        If none has passed, this prints a line that says so, and returns ``reference``.
        """
        if self.passed is None:
            print(f"exercise {self.exercise} `{self.name}` is not solved yet: the lab's own function is used")
            return reference
        return self.passed


def run(function, *arguments):
    """Call the student's function with copies of the arguments, so that it may write into them.

    Networks, optimisers and random generators are not copied.

    Raises:
        CheckFailed: the function raised an exception; the sentence says where to look.
    """
    name = getattr(function, "__name__", "your function")
    arguments = [copy.deepcopy(a) if isinstance(a, np.ndarray | list | NoiseSchedule) else a for a in arguments]
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # so that the checks can look at values inside a @tf.function, too
    try:
        return function(*arguments)
    except CheckFailed:  # raised inside the call, by a check that looks at the network's inputs
        raise
    except Exception as error:
        if stub := stub_of(error, [function, *getattr(function, "__globals__", {}).values()]):
            raise CheckFailed(
                f"this is not written yet: replace the line that raises NotImplementedError in `{stub}`"
            ) from error
        stopped = f"{name} stopped with {_in_words(error)}{_line_of(function, error)}"
        hint = next((hint for said, hint in HINTS.items() if said in str(error)), None)
        raise CheckFailed(f"{hint} ({stopped})" if hint else stopped) from error
    finally:
        tf.config.run_functions_eagerly(eager)


def stub_of(error, functions):
    """The name of the function that is not written yet, if its stub raised the error; else None.

    Libraries and the student's own classes raise NotImplementedError, too.

    Args:
        error: an exception.
        functions: the student's functions; other objects among them do not matter. An answer may call the function of
            an earlier exercise, so these are all functions of the notebook.
    """
    if isinstance(error, NotWritten):
        return str(error)
    if type(error) is not NotImplementedError:
        return None
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    code = frame.f_code
    if str(error) in ("", code.co_name, *Check.names) and any(_code_of(function) is code for function in functions):
        return str(error) or code.co_name
    return None


def _code_of(function):
    """The code of a function; None for anything else."""
    if isinstance(function, tf.types.experimental.PolymorphicFunction):  # what @tf.function makes
        function = function.python_function
    return getattr(inspect.unwrap(function), "__code__", None) if inspect.isfunction(function) else None


def _in_words(error):
    """Type and message of an exception on one line, shortened: some messages of TensorFlow and Keras fill a screen."""
    text = COLOURS.sub("", " ".join(f"{type(error).__name__}: {error}".split()))
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} …"


def _line_of(function, error):
    """The line of the student's own code in which an exception arose, as the end of a sentence; "" if unknown."""
    code = _code_of(function)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    if not frames:
        return ""
    text = f": {frames[-1].line}" if frames[-1].line else ""
    return f" (line {frames[-1].lineno} of the cell{text})"


def in_student_process(helper, function):
    """Call ``helper(function)`` in the process that holds the student's function: this one or another one.

    Needed for objects that cannot be sent to another process, such as Keras' symbolic tensors.
    """
    there = getattr(function, "in_student_process", None)
    return there(helper) if there else helper(function)


def require(condition, sentence):
    """Raise CheckFailed with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(sentence)
