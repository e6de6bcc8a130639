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
FEW = 8  # most things that a function returns side by side; a longer list is one thing
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
    hold. If all hold, it prints "All tests in … passed!".

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


def beside(helper, function):
    """Call ``helper(function)`` in the process that holds the student's function: this one or another one.

    Needed for objects that cannot be sent to another process, such as Keras' symbolic tensors.
    """
    return function.beside(helper) if hasattr(function, "beside") else helper(function)


def as_array(value):
    """Numbers of any kind as a plain NumPy array: what notebook and grader take for numbers.

    Args:
        value: a number, an array, a tensor, or lists of them; also Fraction, Decimal, and integers of any size.

    Returns:
        A new array of truth values, integers or floats of at most 64 bits.

    Raises:
        TypeError: it is something else: text, complex numbers, None, or lists of different lengths.
    """
    try:
        array = np.array(value)  # a plain array also for subclasses, and for all that has __array__
        if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
            return array
        with np.errstate(over="ignore"):
            if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
                return array.astype(np.float64)
            if array.dtype.kind == "O":
                return np.array([_as_float(item) for item in array.flat], np.float64).reshape(array.shape)
    except Exception as error:  # a foreign object may raise anything here
        raise TypeError(f"{type(value).__name__} is no array of numbers") from error
    raise TypeError(f"{type(value).__name__} is no array of numbers")


def _as_float(item):
    if isinstance(item, str | bytes | complex):
        raise TypeError("not a real number")
    try:
        return float(item)
    except OverflowError:  # an integer beyond the largest float
        return np.inf


def gathered(value):
    """What a function returned, with every nested list of numbers as one array; a few things side by side stay apart.

    So a message to another process has a few items and not one for each number.
    """
    if isinstance(value, list | tuple) and len(value) <= FEW:
        parts = [_array_or(part, part) if isinstance(part, list | tuple) else part for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return _array_or(value, value) if isinstance(value, list | tuple) else value


def _array_or(value, otherwise):
    try:
        return as_array(value)
    except TypeError:
        return otherwise


def as_numbers(answer, shape=None, what="the result", like=None):
    """The answer as a new float64 array; all kinds of numbers of :func:`as_array` are accepted.

    Args:
        answer: what the student's function returned.
        shape: the shape it must have, or None for any.
        what: what the messages call it.
        like: the shape of a right answer, if another shape gets its own sentence later.

    Raises:
        CheckFailed: nothing returned, not numbers, several things, wrong shape, or NaN and infinities in it.
    """
    if answer is None:
        raise CheckFailed(f"{what} is None: is the `return` missing?")
    refuse_several(answer, shape if like is None else like, what)
    try:
        array = as_array(answer).astype(np.float64)
    except TypeError as error:
        raise CheckFailed(f"{what} should be numbers, got {type(answer).__name__}") from error
    if shape is not None and array.shape != tuple(shape):
        raise CheckFailed(f"{what} has shape {array.shape}, it should be {tuple(shape)}")
    if not np.all(np.isfinite(array)):
        raise CheckFailed(f"{what} contains NaN or infinity: is there a division by zero or the root of a negative?")
    return array


def refuse_several(answer, shape, what):
    """Raise CheckFailed if the answer is a tuple or list of different things, one of which could be the answer.

    Args:
        answer: what the student's function returned.
        shape: of a right answer; None if it can have any.
        what: the one thing that should be returned.
    """
    if not isinstance(answer, list | tuple) or not 2 <= len(answer) <= FEW:
        return
    parts = [_array_or(part, None) for part in answer]
    shapes = {None if part is None else part.shape for part in parts}
    fits = len(shapes) > 1 if shape is None else tuple(shape) in shapes
    same = isinstance(answer, list) and None not in shapes and all(np.array_equal(part, parts[0]) for part in parts)
    count = ("two", "three")[len(parts) - 2] if len(parts) < 4 else len(parts)
    require(
        same or not fits,
        f"you returned {count} things (a {type(answer).__name__} of {len(parts)}): return only {what}",
    )


def close(a, b, tolerance=1e-3):
    """Whether two arrays agree up to ``tolerance`` times their size, which is more than rounding in float32."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= tolerance * max(np.max(np.abs(b)), 1e-3))


class StandIn:
    """Takes the place of a Keras model: can be called in all the ways of one, and computes its output with a function.

    Args:
        answer: function of float32 tensors, one for each input, that returns the output.
        input_shape: list of the shapes of the inputs, as ``keras.Model.input_shape``: x_t, t/T, tokens.
        look: None, or a function of the inputs as the student passed them.
    """

    name, built, trainable = "network", True, False

    def __init__(self, answer, input_shape, look=None):
        self.answer, self.input_shape, self.look = answer, input_shape, look
        self.weights, self.variables, self.trainable_weights, self.trainable_variables = [], [], [], []

    def __call__(self, inputs, training=None, mask=None):
        """What ``network([x_t, t/T])`` does."""
        return tf.convert_to_tensor(self.reply(inputs))

    call = __call__

    def predict(self, x, *options, **more):
        """What ``network.predict([x_t, t/T])`` does."""
        return np.array(self(x))

    predict_on_batch = predict

    def summary(self, *options, **more):
        """Print what it is."""
        print(f"a network with the inputs {self.input_shape}")

    def reply(self, inputs):
        """The output for what the student passed.

        Raises:
            CheckFailed: not a list of as many parts as there are inputs, or not a batch: images (B, H, W, C), and one
                row of numbers for each. A small input could otherwise become an array of gigabytes.
        """
        count, parts = len(self.input_shape), ("x_t", "t/T", "tokens")
        require(
            isinstance(inputs, (list, tuple)) and len(inputs) == count,
            f"call the network with a list of {('two', 'three')[count - 2]}: [{', '.join(parts[:count])}]",
        )
        if self.look is not None:
            self.look(*inputs)
        inputs = [tf.cast(value, tf.float32) for value in inputs]
        shapes, sizes = [tuple(value.shape) for value in inputs], {len(value) for value in inputs if value.ndim}
        batch = len(sizes) < 2 and len(shapes[0]) == 4 and all(len(shape) < 3 for shape in shapes[1:])
        require(batch, f"the network got inputs of the shapes {', '.join(map(str, shapes))}")
        return self.answer(*inputs)


def compare(answer, expected, mistakes, otherwise, tolerance=1e-3, what="the result"):
    """Pass if the answer is the expected one; else raise with the sentence of the mistake that gives this answer.

    Args:
        answer: the student's result, any array-like.
        expected: the right result.
        mistakes: dict from a sentence to the result of that mistake.
        otherwise: the sentence if none of them fits.
        tolerance: as in :func:`close`.
        what: as in :func:`as_numbers`.

    Returns:
        The answer as a float64 array.

    Raises:
        CheckFailed: the answer is not the expected one.
    """
    # A mistake may also change the shape. So the mistakes are compared before the shape is checked.
    answer = as_numbers(answer, what=what, like=np.shape(expected))
    if close(answer, expected, tolerance):
        return answer
    for sentence, result in mistakes.items():
        if close(answer, result, tolerance):
            raise CheckFailed(sentence)
    as_numbers(answer, np.shape(expected), what)
    raise CheckFailed(otherwise)


def ignores(rest, noise):
    """Whether what an answer adds to the signal has nothing to do with the noise that it was given."""
    return np.std(rest) > 0.1 and abs(np.corrcoef(np.ravel(rest), np.ravel(noise))[0, 1]) < 0.2


def layers_beyond(names):
    """Of the names of a network's layers the first that changes numbers in a way that no exercise asks for, or None."""
    return next((name for name in names if re.fullmatch(r"\w{0,30}(Dropout|Normalization|Noise)\w{0,30}", name)), None)


def layer_names(network):
    """The types of all layers of a keras.Model, also of the models inside it: list of names."""
    inner = [(layer, layer_names(layer)) for layer in getattr(network, "layers", [])]
    return [name for layer, names in inner for name in (type(layer).__name__, *names)]


def require(condition, sentence):
    """Raise CheckFailed with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise CheckFailed(sentence)
