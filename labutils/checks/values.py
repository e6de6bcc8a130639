"""What an answer returned, as numbers that can be compared; and the stub network that an answer is given."""

import re

import numpy as np
import tensorflow as tf

from labutils.checks.feedback import CheckFailed, require

FEW = 8  # most things that a function returns side by side; a longer list is one thing


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
        raise CheckFailed(
            f"{what} contains NaN or infinity: is there a division by 0, the root of a negative, or ∞ − ∞?"
        )
    return array


def close(a, b, tolerance=1e-3):
    """Whether two arrays agree up to ``tolerance`` times their size, which is more than rounding in float32."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= tolerance * max(np.max(np.abs(b)), 1e-3))


def require_everywhere(answer, right, allowed, sentence):
    """Raise CheckFailed with ``sentence`` and the first step t at which an answer is off by more than ``allowed``.

    :func:`close` measures an error as a proportion of the largest value: it would hide errors in small values.
    """
    wrong = np.abs(answer - right) > allowed
    require(not wrong.any(), f"{sentence}; yours is wrong at t = {wrong.argmax()}")


class StubNetwork:
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


def layers_beyond(names):
    """Of the names of a network's layers the first that changes numbers in a way that no exercise asks for, or None."""
    return next((name for name in names if re.fullmatch(r"\w{0,30}(Dropout|Normalization|Noise)\w{0,30}", name)), None)


def layer_names(network):
    """The types of all layers of a keras.Model, also of the models inside it: list of names."""
    inner = [(layer, layer_names(layer)) for layer in getattr(network, "layers", [])]
    return [name for layer, names in inner for name in (type(layer).__name__, *names)]
