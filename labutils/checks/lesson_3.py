"""Checks of lesson 3: one level of the U-Net, the sinusoidal embedding, and how it enters the network."""

import keras
import numpy as np

from labutils.checks.feedback import Check, CheckFailed, in_student_process, require, run
from labutils.checks.values import as_numbers, close, layer_names, layers_beyond

NO_SKIP = "the skip connection has no effect: join it to the grown map before the convolution"
NO_MAP = "the small map from below has no effect on the output"
NO_TIME = "the embedding has no effect on the output: what is added must be made from it"
NO_FEATURES = "the features are lost: return the features plus what you make from the embedding"


def _not_one_tensor(name):
    """What is wrong with what a function returned: nothing, no tensor, several things."""
    one = "the tensor that comes out of the last layer"
    return (
        f"{name} returned None: is the `return` missing?",
        f"{name} must return {one}",
        f"{name} returned several things: return only {one}",
    )


SAID_IN_STUDENT_PROCESS = {
    NO_SKIP,
    NO_MAP,
    NO_TIME,
    NO_FEATURES,
    *_not_one_tensor("up_block"),
    *_not_one_tensor("add_time"),
}  # sentences of block_as_network and time_as_network; a grader must know them
MAP, SKIP, FILTERS = (7, 7, 128), (14, 14, 64), 64
# As many images as columns, so that a vector (B, C) can be added along the width by mistake.
BATCH, FEATURES, EMBEDDING = 6, (5, 6, 8), (12,)

check_up_block = Check(
    "3.1",
    "up_block",
    "``up_block(x, skip, filters)``: grow ×2, join with the skip connection, 3×3 convolution with ReLU.",
)
check_sinusoidal_embedding = Check(
    "3.2",
    "sinusoidal_embedding",
    "``sinusoidal_embedding(t, dim)``: (B, dim) of sines and cosines, frequencies from 1 down to about 1/10,000.",
)
check_add_time = Check(
    "3.3",
    "add_time",
    "``add_time(features, embedding)``: to each channel its own trained function of the embedding, at every pixel.",
)


def block_as_network(up_block):
    """A keras.Model [map, skip] → the student's block, and the names of its layers."""
    return _as_network(up_block, "up_block", (MAP, SKIP), (NO_MAP, NO_SKIP), FILTERS)


def time_as_network(add_time):
    """A keras.Model [features, embedding] → the student's features with the time, and the names of its layers."""
    return _as_network(add_time, "add_time", (FEATURES, EMBEDDING), (NO_FEATURES, NO_TIME))


def _as_network(function, name, shapes, unused, *more):
    """A keras.Model of what a function does with two Keras tensors; ``unused``: a sentence for each."""
    inputs = [keras.Input(shape) for shape in shapes]
    outputs = run(function, *inputs, *more)
    nothing, no_tensor, several = _not_one_tensor(name)
    require(outputs is not None, nothing)
    require(not isinstance(outputs, list | tuple), several)
    try:
        network = keras.Model(inputs, outputs)
        return network, layer_names(network)
    except Exception as error:
        # Some versions of Keras refuse an input that nothing uses; others build the network.
        require(not _builds(inputs[0], outputs), unused[1])
        require(not _builds(inputs[1], outputs), unused[0])
        raise CheckFailed(no_tensor) from error


def _builds(inputs, outputs):
    try:
        keras.Model(inputs, outputs)
    except Exception:  # whatever Keras raises for tensors that are not connected
        return False
    return True


def _block(up_block, rng):
    """The block as a network with random weights, see :func:`_with_random_weights`."""
    return _with_random_weights(*in_student_process(block_as_network, up_block), rng)


def _with_random_weights(network, layers, rng):
    """A network of two inputs as a function.

    Returns:
        function (one input, other input, scale of all weights) → output; number of parameters; names of the layers.
    """
    weights = [0.1 * rng.standard_normal(np.shape(w)).astype("float32") for w in network.get_weights()]
    weights = [np.abs(w) if w.ndim == 1 else w for w in weights]  # a variance of BatchNormalization must be positive

    def output(a, b, scale=1.0):
        network.set_weights([np.float32(scale) * w for w in weights])
        return as_numbers(run(network.predict_on_batch, [a, b]))

    return output, sum(w.size for w in weights), layers


def _maps(rng):
    return rng.standard_normal((2, *MAP), np.float32), rng.standard_normal((2, *SKIP), np.float32)


@check_up_block.property("the map is twice as large", alone=False)
def _(up_block, rng):
    output, *_ = _block(up_block, rng)
    shape = output(*_maps(rng)).shape[1:]
    size = "×".join(map(str, shape[:2]))
    require(
        shape[:2] == SKIP[:2],
        f"from 7×7 the block should reach 14×14, yours gives {size}: grow by "
        "2, and keep the size in the convolution with padding='same'",
    )
    require(shape == (*SKIP[:2], FILTERS), f"the output should be 14×14×64 (filters = 64), yours is {shape}")


@check_up_block.property("map and skip connection both count")
def _(up_block, rng):
    output, *_ = _block(up_block, rng)
    a, b = _maps(rng)
    y = output(a, b)
    require(np.abs(y - output(a, b + 1)).max() > 1e-4, NO_SKIP)
    require(np.abs(y - output(a + 1, b)).max() > 1e-4, NO_MAP)


@check_up_block.property("they are concatenated, and one 3×3 convolution follows")
def _(up_block, rng):
    _, count, layers = _block(up_block, rng)
    extra = layers_beyond(layers)
    require(extra is None, f"the block contains {extra}, which the exercise does not ask for: remove it")
    joined, added = 9 * (MAP[2] + SKIP[2]) * FILTERS + FILTERS, 9 * MAP[2] * FILTERS + FILTERS
    require(count != added, "skip and map seem to be added; concatenate them along the channel axis")
    require(
        count != (MAP[2] + SKIP[2]) * FILTERS + FILTERS, "the kernel is 1×1; it should be 3×3, so that neighbours mix"
    )
    require(
        count == joined,
        f"the block should have {joined:,} parameters (3×3 kernel, 128 + 64 channels in, 64 out, "
        f"64 biases), yours has {count:,}",
    )


@check_up_block.property("ReLU comes last")
def _(up_block, rng):
    # ReLU, and no other activation: nothing below 0, and many exact zeros.
    output, *_ = _block(up_block, rng)
    maps = _maps(rng)
    y = output(*maps)
    require(
        y.min() >= 0 and np.mean(y == 0) > 0.05,
        "the output is not that of a ReLU: the convolution needs activation='relu'",
    )
    require(
        close(output(*maps, scale=10.0), 10 * y),
        "the output does not grow in step with the weights; that of a convolution with a ReLU does: it needs "
        "activation='relu' and no other function",
    )


@check_sinusoidal_embedding.property("half sines, half cosines")
def _(sinusoidal_embedding, rng):
    t, dim = np.concatenate([[0], rng.integers(1, 1000, 6)]), 32
    e = as_numbers(run(sinusoidal_embedding, t, dim), None, "the embedding", (len(t), dim))
    require(
        e.shape == (len(t), dim),
        f"for {len(t)} steps and dim = {dim} the shape should be {(len(t), dim)}, got "
        f"{e.shape}: dim/2 frequencies, a sine and a cosine for each",
    )
    require(np.abs(e).max() <= 1 + 1e-5, "sines and cosines lie in [-1, 1], your values do not")
    require(
        np.isclose(e[0].sum(), dim / 2, atol=1e-3),
        "at t = 0 every sine is 0 and every cosine 1: half of the values should be cosines",
    )
    require(
        np.allclose((e**2).sum(axis=1), dim / 2, atol=1e-2),
        "sin² + cos² = 1 for each frequency, so the squares "
        "of one row add up to dim/2: use each frequency in one sine and one cosine",
    )


def _all_steps(sinusoidal_embedding):
    return as_numbers(run(sinusoidal_embedding, np.arange(1000), 32), (1000, 32), "the embedding")


@check_sinusoidal_embedding.property("how alike two steps look depends on their distance only", alone=False)
def _(sinusoidal_embedding, rng):
    steps = _all_steps(sinusoidal_embedding)
    near = steps[[3, 500]] @ steps[[4, 501]].T
    require(
        np.isclose(near[0, 0], near[1, 1], atol=1e-2),
        "steps 3 and 4 should be as alike as steps 500 and 501: the angle must be t times a frequency",
    )


@check_sinusoidal_embedding.property("frequencies from 1 down to about 1/10,000")
def _(sinusoidal_embedding, rng):
    steps = _all_steps(sinusoidal_embedding)
    alike = steps @ steps[0] / (steps.shape[1] / 2)  # mean of cos(ω t) over the frequencies
    require(alike[1] < 0.995, "steps 0 and 1 look the same: the fastest frequency should be 1")
    rank = np.linalg.matrix_rank(steps, tol=1e-2)
    require(rank > 4, "all frequencies are alike: they should fall geometrically from 1 to about 1/10,000")
    require(alike[1] > 0.5, "steps 0 and 1 look very different: no frequency should be above 1")
    # A sine starts at 0, and its value at t = 1 tells its frequency. The mean of cos ω t over the frequencies is 0.17
    # for the right ones, and about 0 if all of them are fast.
    sines = np.abs(steps[:2, np.abs(steps[0]) < 0.5])
    slowest = np.arcsin(np.min(sines[1] - sines[0], initial=1.0, where=sines[0] < 1e-3))
    require(
        alike[500:].mean() > 0.1 and slowest < 5e-4,
        "no slow frequency: the slowest should be about 1/10,000, so that distant steps stay comparable; "
        f"yours is {slowest:.1g}",
    )
    require(
        slowest > 5e-5,
        f"the slowest frequency should be about 1/10,000, yours is {slowest:.1g}: so slow a sine is the same at all "
        "steps. Is there a 2 too many in the exponent?",
    )


def _with_time(add_time, rng):
    """The student's function as a network with random weights, and inputs: features, embedding, output."""
    output, count, _ = _with_random_weights(*in_student_process(time_as_network, add_time), rng)
    features = rng.standard_normal((BATCH, *FEATURES), np.float32)
    embedding = rng.standard_normal((BATCH, *EMBEDDING), np.float32)
    y = output(features, embedding)
    (D,), C = EMBEDDING, FEATURES[-1]
    require(
        y.shape[-1] != C + D,
        "the embedding seems to be joined to the features as further channels; it should be added to them",
    )
    require(
        y.shape == features.shape,
        f"the shape of the features should stay {features.shape}, yours becomes {y.shape}",
    )
    return output, count, features, embedding, y


@check_add_time.property("the shape of the features stays", alone=False)
def _(add_time, rng):
    _with_time(add_time, rng)


@check_add_time.property("each image gets its own time")
def _(add_time, rng):
    output, _, features, embedding, y = _with_time(add_time, rng)
    other = embedding.copy()
    other[0] = rng.standard_normal(EMBEDDING)
    changed = np.abs(output(features, other) - y).max(axis=(1, 3)) > 1e-4  # (image, column)
    require(changed.any(), NO_TIME)
    require(
        not (changed[:, 0].all() and not changed[:, 1:].any()),
        "the time of image 0 reaches column 0 of every image: shapes are aligned from the right, so (B, C) beside "
        "(B, H, W, C) is spread along the width. Give the vector two axes of length 1 for height and width",
    )
    require(
        not changed[1:].any(),
        "the time of image 0 changes other images: each image must get what is made from its own embedding",
    )


@check_add_time.property("the features are kept, and what is added depends on the embedding alone")
def _(add_time, rng):
    output, _, features, embedding, y = _with_time(add_time, rng)
    others = rng.standard_normal(features.shape).astype("float32")
    z = output(others, embedding)
    require(not close(z, y), NO_FEATURES)
    require(
        not close(y * others, z * features, 1e-2),
        "the features are multiplied by the time; the exercise asks for a sum",
    )
    require(
        close(z - others, y - features, 1e-2),
        "what is added depends on the features: make it from the embedding alone, and add it to the features",
    )


@check_add_time.property("every pixel of a channel gets the same number", alone=False)
def _(add_time, rng):
    _, _, features, _, y = _with_time(add_time, rng)
    added = y - features
    require(
        np.ptp(added, axis=(1, 2)).max() < 1e-3,
        "the added numbers differ from pixel to pixel, as in the old time map: one number for each channel, the same "
        "at all pixels",
    )


@check_add_time.property("each channel gets its own number, positive or negative, which changes with t")
def _(add_time, rng):
    output, _, features, _, _ = _with_time(add_time, rng)
    many = [rng.standard_normal((BATCH, *EMBEDDING), np.float32) for _ in range(8)]
    added = np.concatenate([(output(features, e) - features)[:, 0, 0] for e in many])  # (images, channels)
    require(
        np.ptp(added, axis=1).max() > 1e-3,
        "all channels get the same number: the network needs one number for each channel",
    )
    require(
        added.min() < -1e-4,
        "no added number is negative: is there an activation at the end? A ReLU there makes numbers that stay 0",
    )
    require(np.ptp(added, axis=0).min() > 1e-3, "in some channels the added number does not change with the embedding")


@check_add_time.property("training can change what is added")
def _(add_time, rng):
    output, count, features, embedding, y = _with_time(add_time, rng)
    require(
        count > 0 and not close(output(features, embedding, scale=2.0), y),
        "your function has no weights, so training cannot change what is added: use a layer that has weights",
    )
