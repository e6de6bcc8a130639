"""What all checks share. A check accepts any right answer, and names the likely mistake behind a wrong one."""

import inspect
import traceback
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

WIDTH = 400  # characters: longest part of an exception's text that a sentence repeats


class CheckFailed(AssertionError):
    """An exercise is not right yet; the message is a sentence for the student."""

    def _render_traceback_(self):
        """What IPython shows: only the sentence. The frames of a check would show the right answer."""
        return [str(self)]


class Property(NamedTuple):
    """A property that every right answer has: in words for the student, and as a test of the student's function.

    The test takes the function and a random generator. It draws its inputs from the generator. It raises CheckFailed if
    the property does not hold.
    """

    text: str
    test: Callable


class Check:
    """The properties of one exercise.

    A call with the student's function tries the properties in order. It raises CheckFailed at the first that does not
    hold. If all hold, it prints "All tests in … passed!".

    Args:
        exercise: its number in the lessons, such as "2.1".
        name: of the student's function.
        about: what the function should be, in one line.
    """

    def __init__(self, exercise, name, about):
        self.exercise, self.name, self.__doc__ = exercise, name, about
        self.properties, self.passed = [], None

    def property(self, text):
        """Decorator: add a test as the next property."""

        def add(test):
            self.properties.append(Property(text, test))
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
            print(f"All tests in `{self.name}` passed!")
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
    """Call the student's function; an exception in it becomes a CheckFailed that says where to look."""
    name = getattr(function, "__name__", "your function")
    eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)  # so that the checks can look at values inside a @tf.function, too
    try:
        return function(*arguments)
    except CheckFailed:  # raised inside the call, by a check that looks at the network's inputs
        raise
    except NotImplementedError as error:
        # The error names the stub: an answer may call the function of an earlier exercise.
        raise CheckFailed(
            f"this is not written yet: replace the line that raises NotImplementedError in `{str(error) or name}`"
        ) from error
    except Exception as error:
        raise CheckFailed(f"{name} stopped with {_in_words(error)}{_line_of(function, error)}") from error
    finally:
        tf.config.run_functions_eagerly(eager)


def _in_words(error):
    """Type and message of an exception on one line, shortened: some messages of TensorFlow and Keras fill a screen."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= WIDTH else f"{text[:WIDTH]} …"


def _line_of(function, error):
    """The line of the student's own code in which an exception arose, as the end of a sentence; "" if unknown."""
    function = getattr(function, "python_function", function)  # what a @tf.function was made from
    code = getattr(inspect.unwrap(function), "__code__", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    if not frames:
        return ""
    text = f": {frames[-1].line}" if frames[-1].line else ""
    return f" (line {frames[-1].lineno} of the cell{text})"


def beside(helper, function):
    """Call ``helper(function)`` in the process that holds the student's function: this one or another one.

    Needed for objects that cannot be sent to another process, such as Keras' symbolic tensors.
    """
    return function.beside(helper) if hasattr(function, "beside") else helper(function)


def as_numbers(answer, shape=None, what="the result"):
    """The answer as a float64 array; lists, NumPy arrays and tensors of any float type are accepted.

    Args:
        answer: what the student's function returned.
        shape: the shape it must have, or None for any.
        what: what the messages call it.

    Raises:
        CheckFailed: nothing returned, not numbers, wrong shape, or NaN and infinities in it.
    """
    if answer is None:
        raise CheckFailed(f"{what} is None: is the `return` missing?")
    try:
        array = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise CheckFailed(f"{what} should be numbers, got {type(answer).__name__}") from error
    if shape is not None and array.shape != tuple(shape):
        raise CheckFailed(f"{what} has shape {array.shape}, it should be {tuple(shape)}")
    if not np.all(np.isfinite(array)):
        raise CheckFailed(f"{what} contains NaN or infinity: is there a division by zero or the root of a negative?")
    return array


def close(a, b, tolerance=1e-3):
    """Whether two arrays agree up to ``tolerance`` times their size, which is more than rounding in float32."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= tolerance * max(np.max(np.abs(b)), 1e-3))


class StandIn:
    """Takes the place of a Keras network: looks at the inputs, and computes the output with a function.

    Args:
        answer: function (x_t, time) of float32 tensors, time a column (B, 1), that returns the predicted noise.
        look: None, or a function of the raw (x_t, time) as the student passed them.
    """

    def __init__(self, answer, look=None):
        self.answer, self.look = answer, look

    def __call__(self, inputs, training=None):
        """What ``network([x_t, time])`` does."""
        require(
            isinstance(inputs, (list, tuple)) and len(inputs) == 2, "call the network with a list of two: [x_t, t/T]"
        )
        if self.look is not None:
            self.look(*inputs)
        return self.answer(*(tf.cast(value, tf.float32) for value in inputs))

    def predict(self, inputs, **options):
        """What ``network.predict([x_t, time])`` does."""
        return self(inputs).numpy()

    predict_on_batch = predict


def compare(answer, expected, mistakes, otherwise, tolerance=1e-3):
    """Pass if the answer is the expected one; else raise with the sentence of the mistake that gives this answer.

    Args:
        answer: the student's result, any array-like.
        expected: the right result.
        mistakes: dict from a sentence to the result of that mistake.
        otherwise: the sentence if none of them fits.
        tolerance: as in :func:`close`.

    Raises:
        CheckFailed: the answer is not the expected one.
    """
    # A mistake may also change the shape. So the mistakes are compared before the shape is checked.
    answer = as_numbers(answer)
    if close(answer, expected, tolerance):
        return
    for sentence, result in mistakes.items():
        if close(answer, result, tolerance):
            raise CheckFailed(sentence)
    as_numbers(answer, np.shape(expected))
    raise CheckFailed(otherwise)


def require(condition, sentence):
    """Raise CheckFailed with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(sentence)
