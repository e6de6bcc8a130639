"""Lesson 1: find x from y = sin x, with a regression network and with a one-dimensional diffusion model."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from labutils.diffusion import Diffusion
from labutils.networks import sinusoidal_embedding
from labutils.sampling import trajectory
from labutils.training import LossModel, draw_noise

SPAN = 2 * np.pi  # the many-valued problem: x in [-2π, 2π]
WAVES = (0.75, 1.5, 3.0)  # of the small denoiser: number of periods over [-1, 1]


def build_mlp(hidden, seed=0):
    """A fully connected network from one number to one number, ReLU in between, no activation at the end.

    Args:
        hidden: sizes of the hidden layers; (3,) is the network 1–3–1 with one hidden layer.
        seed: of the starting weights.

    Returns:
        keras.Model, (B, 1) → (B, 1).

    Raises:
        ValueError: if ``hidden`` is empty or has sizes below 1.
    """
    if not isinstance(hidden, (tuple, list)) or not hidden or any(n < 1 for n in hidden):
        raise ValueError(f"hidden must list at least one layer size of at least 1, got {hidden}")
    inputs = x = keras.Input((1,))
    for i, size in enumerate(hidden):
        start = keras.initializers.HeUniform(seed=seed + i)  # keeps the size of the values in deep ReLU networks
        x = layers.Dense(size, activation="relu", kernel_initializer=start)(x)
    outputs = layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed=seed + len(hidden)))(x)
    return spread_bends(keras.Model(inputs, outputs, name="-".join(str(n) for n in (1, *hidden, 1))), seed)


def spread_bends(network, seed=0):
    """Spread the bends of the first layer over the data, in place.

    A unit relu(w·y + b) bends at y = -b/w. With Keras' starting weights all bends of the first layer are at 0. Spread
    over the data, all are useful from the beginning. None starts outside the data, where a unit may have no gradient
    that brings it back.

    Args:
        network: 1–hidden–1, see :func:`build_mlp`.
        seed: of the places, in [-0.8, 0.8].

    Returns:
        ``network``.
    """
    weights, rng = network.get_weights(), np.random.default_rng(seed)
    count = len(weights[1])
    w = np.sqrt(2.0) * rng.choice([-1.0, 1.0], (1, count))
    network.set_weights([w, -w[0] * rng.uniform(-0.8, 0.8, count), *weights[2:]])
    return network


def fit_inverse(network, y, x, epochs, *, batch_size=32, seed=0, passes=1, callbacks=()):
    """Train ``network`` to give x for y: Adam, mean squared error; the rate falls from 0.01 to 0, half a cosine.

    Args:
        network: from :func:`build_mlp`; trained in place.
        y, x: inputs and targets, shape (N,).
        epochs: how often all points are used.
        batch_size: points of one step. seed: of the shuffling.
        passes: number of epochs that run as one compiled loop; it must divide ``epochs``. With 1, ``callbacks`` see
            each epoch. More is much faster, because a call takes more time than such a small network.
        callbacks: Keras callbacks.

    Returns:
        list of float, the mean loss of each group of ``passes`` epochs.

    Raises:
        ValueError: ``passes`` does not divide ``epochs``.
    """
    if not (1 <= passes <= epochs and epochs % passes == 0):
        raise ValueError(f"passes must divide epochs, got {passes} and {epochs}")
    columns = y.reshape(-1, 1).astype("float32"), x.reshape(-1, 1).astype("float32")
    points = tf.data.Dataset.from_tensor_slices(columns)
    batches = points.cache().shuffle(len(y), seed=seed).batch(batch_size).repeat()
    steps = passes * -(-len(y) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(0.01, steps * (epochs // passes))
    network.compile(keras.optimizers.Adam(rate), loss="mse", jit_compile=False, steps_per_execution=steps)
    run = network.fit(
        batches, epochs=epochs // passes, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=list(callbacks)
    )
    return run.history["loss"]


def inverses(y):
    """All x in [-2π, 2π] with sin x = y: four for 0 < |y| < 1.

    Args:
        y: one number in [-1, 1].

    Returns:
        float64 array, sorted, without duplicates.

    Raises:
        ValueError: if |y| > 1, where no real x exists.
    """
    if not -1 <= y <= 1:
        raise ValueError(f"sin x = y has a real solution only for y in [-1, 1], got {y}")
    first = np.arcsin(y)
    candidates = [branch + 2 * np.pi * k for branch in (first, np.pi - first) for k in (-2, -1, 0, 1)]
    inside = np.array([x for x in candidates if -SPAN - 1e-9 <= x <= SPAN + 1e-9])
    return np.unique(inside.round(9))


def build_conditional_denoiser(dim=1, width=128, seed=0):
    """ε_θ(x_t, t, y) for points of a few dimensions: a small network that sees x_t, y, and t as a sinusoidal embedding.

    The network also gets sines and cosines of 0.75πx, 1.5πx and 3πx (Fourier features, Tancik et al. 2020,
    https://arxiv.org/abs/2006.10739). Without them a network of this size cannot distinguish positions that are close
    together. The wave 2πx is left out: in lesson 1 it is sin x itself, the function to be inverted.

    Args:
        dim: dimensions D of a point.
        width: units of each of the three hidden layers.
        seed: of the starting weights.

    Returns:
        keras.Model, inputs [x_t (B, D), t/T (B, 1), y (B, 1)], output ε_θ (B, D).
    """
    keras.utils.set_random_seed(seed)
    xt, time, y = keras.Input((dim,), name="xt"), keras.Input((1,), name="time"), keras.Input((1,), name="y")
    embed_time = layers.Lambda(lambda u: sinusoidal_embedding(1000.0 * u, 32), output_shape=(32,))
    embed_x = layers.Lambda(
        lambda u: ops.concatenate([_waves(k * np.pi * u) for k in WAVES], axis=-1), output_shape=(2 * len(WAVES) * dim,)
    )
    h = layers.Concatenate()([xt, embed_x(xt), y, embed_time(time)])
    for _ in range(3):
        h = layers.Dense(width, activation="silu")(h)
    return keras.Model([xt, time, y], layers.Dense(dim)(h))


def train_conditional(network, schedule, x, y, steps, seed=0, callbacks=(), together=1):
    """Train ``network`` to predict the noise in x, given y; the loss is that of lesson 4, in one dimension.

    Args:
        network: from :func:`build_conditional_denoiser`; trained in place.
        schedule: labutils.schedule.NoiseSchedule.
        x: (N,) or (N, D), within about [-1, 1]. y: (N,) the condition.
        steps: training steps of 256 points each. seed: of the run. callbacks: Keras callbacks.
        together: steps that run as one compiled loop. More is faster, because a call takes time, too.

    Returns:
        float, the mean loss of the last tenth of the steps.
    """
    x, y = x.reshape(len(x), -1).astype("float32"), y.reshape(-1, 1).astype("float32")

    def batch(rng):
        chosen = rng.integers(0, len(x), 256)
        t, noise = draw_noise(x[chosen], schedule.T, rng)
        return x[chosen], t, noise, y[chosen]

    rng, epoch = np.random.default_rng(seed), max(steps // 10, 1)
    inputs = tuple(np.stack(column) for column in zip(*(batch(rng) for _ in range(10 * epoch)), strict=True))
    batches = tf.data.Dataset.from_tensor_slices((inputs,)).repeat()
    model = LossModel(Diffusion(network, schedule))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, steps))
    model.compile(optimizer, jit_compile=False, steps_per_execution=min(together, epoch))
    history = model.fit(batches, steps_per_epoch=epoch, epochs=10, verbose=0, shuffle=False, callbacks=list(callbacks))
    return history.history["loss"][-1]


def sample_conditional(network, schedule, y, seed=0):
    """Draw one x for each y by ancestral sampling (lesson 5).

    Args:
        network, schedule: as trained.
        y: shape (N,); repeat a value to get several x for it.
        seed: of the noise.

    Returns:
        float32 array (N,), or (N, D) for points of D > 1 dimensions, in the scale of training.
    """
    *_, (_, x) = _trajectory(network, schedule, y, seed, chunk=schedule.T)
    return x.squeeze(axis=1) if x.shape[1] == 1 else x


def paths_conditional(network, schedule, y, seed=0, chunk=10):
    """The paths from noise to an answer, one for each y. DDIM adds no new noise, so the paths are smooth.

    Args:
        network, schedule: as trained, for points of one dimension.
        y: shape (N,). seed: of the starting noise. chunk: steps between two points of a path.

    Returns:
        (t, x): steps (M,), from T - 1 down to -1 (the finished answer); and x_t, float32 (M, N), scaled as in training.
    """
    states = list(_trajectory(network, schedule, y, seed, chunk=chunk, sampler="ddim"))
    return np.array([t for t, _ in states]), np.stack([x[:, 0] for _, x in states])


def predicted_noise(network, schedule, x, t, y):
    """ε_θ at places x and steps t, for one y.

    Args:
        network, schedule: as trained, for points of one dimension.
        x, t: places and integer steps, both (N,). y: the condition, one number.

    Returns:
        float array (N,).
    """
    columns = [np.reshape(v, (-1, 1)).astype("float32") for v in (x, t / schedule.T, np.full(len(x), y))]
    return np.asarray(network(columns))[:, 0]


def flow(network, schedule, x, t, y):
    """How much x changes in one step back from t, by the probability flow ODE: β_t (x − ε_θ/√(1 - ᾱ_t)) / 2.

    Song et al. 2021, https://arxiv.org/abs/2011.13456, eq. 13, with the score −ε_θ/√(1 - ᾱ_t).

    Args:
        network, schedule, x, t, y: as in :func:`predicted_noise`.

    Returns:
        float array (N,).
    """
    noise = predicted_noise(network, schedule, x, t, y)
    return 0.5 * schedule.betas[t] * (x - noise / np.sqrt(1 - schedule.alpha_bars[t]))


def _trajectory(network, schedule, y, seed, **options):
    """Yield (t, x_t) at some of the steps from noise to one x for each y; the start comes first."""
    start = np.random.default_rng(seed).standard_normal((len(y), network.output.shape[-1]), dtype=np.float32)
    condition = np.reshape(y, (-1, 1)).astype("float32")
    for t, x, _ in trajectory(Diffusion(network, schedule), start, seed=seed, condition=condition, x0=False, **options):
        yield t, x.numpy()


def _waves(angles):
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
