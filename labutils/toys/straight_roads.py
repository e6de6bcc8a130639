"""Lesson 9: flow matching on the eight islands of ``ring``: the exact flow, a trained one, mean velocities."""

import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from labutils.toys.ring import SPREAD, ring_centres

WAVES = (0.75, 1.5, 3.0)  # of the coordinates: periods over [-1, 1]
EQUAL = 0.5  # proportion of a batch with r = τ, where the mean velocity is the velocity


def exact_x0(x, tau):
    """The best possible x̂_0 for the islands: the mean of all points that could have led to x_τ.

    Each island is a normal distribution, so x_τ is a mixture of eight: with centres (1−τ) c and variance
    (1−τ)² SPREAD² + τ².

    Args:
        x: (N, 2). tau: one number in (0, 1].

    Returns:
        float array (N, 2).
    """
    centres, variance = ring_centres(), ((1 - tau) * SPREAD) ** 2 + tau**2
    away = np.asarray(x)[:, None] - (1 - tau) * centres  # (N, 8, 2)
    logits = -np.sum(away**2, axis=-1) / (2 * variance)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    each = centres + (1 - tau) * SPREAD**2 / variance * away  # mean of x_0, given the island
    return np.sum(weights[..., None] * each, axis=1)


def exact_velocity(x, tau):
    """The mean velocity u of all straight paths that meet at x_τ: (x_τ − x̂_0) / τ; arguments as :func:`exact_x0`."""
    return (x - exact_x0(x, tau)) / tau


def paths(velocity, x, taus):
    """The states of Euler's method, (len(taus), N, 2).

    Args:
        velocity: function (x, one τ) → u, such as :func:`exact_velocity`. x: where to start, (N, 2).
        taus: decreasing, from 1.
    """
    states = [np.asarray(x)]
    for tau, next_tau in itertools.pairwise(taus):
        states.append(states[-1] + (next_tau - tau) * np.asarray(velocity(states[-1], tau)))
    return np.stack(states)


def bend(states, taus):
    """How far paths are from an even walk on the straight line between their ends, over the mean length of these lines.

    Args:
        states: (M, N, 2), see :func:`paths`. taus: (M,), from 1 to 0.
    """
    taus = np.reshape(taus, (-1, 1, 1))
    straight = (1 - taus) * states[-1] + taus * states[0]
    away = np.linalg.norm(states - straight, axis=-1)
    return float(away.mean() / np.linalg.norm(states[-1] - states[0], axis=-1).mean())


def build_velocity(times=1, width=128, seed=0):
    """A small network for velocities in the plane.

    Args:
        times: 1 for u(x, τ), 2 for the mean velocity ū(x, r, τ).
        width: units of each of the three hidden layers. seed: of the starting weights.

    Returns:
        keras.Model, [x (B, 2), times (B, times)] → (B, 2). Sines and cosines of x and of the times are inputs, too.
    """
    keras.utils.set_random_seed(seed)
    x, time = keras.Input((2,), name="x"), keras.Input((times,), name="times")
    angles = [k * np.pi * x for k in WAVES] + [k * np.pi * time for k in (1, 2)]
    h = ops.concatenate([x, time, *(wave(angle) for angle in angles for wave in (ops.sin, ops.cos))], axis=-1)
    for _ in range(3):
        h = layers.Dense(width, activation="silu")(h)
    return keras.Model([x, time], layers.Dense(2)(h), name="velocity")


def train_velocity(points, steps, noise=None, target=None, seed=0, batch_size=256):
    """Train a network to predict velocities of the straight paths from ``points`` to noise.

    Args:
        points: x_0, (N, 2).
        steps: updates.
        noise: the ε of each point, (N, 2), as reflow needs it; None for new noise in each batch.
        target: None for velocities u. For mean velocities, the function of labutils.flow.mean_velocity_target; it gets
            NumPy arrays. See MeanFlow (https://arxiv.org/abs/2505.13447, algorithm 1).
        seed: of the run. batch_size: points of one update.

    Returns:
        keras.Model, see :func:`build_velocity`; :func:`velocity_of` and :func:`in_one_call` use it.
    """
    network = build_velocity(1 if target is None else 2, seed=seed)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.003, steps))
    optimizer.build(network.trainable_variables)
    data = tf.constant(points, tf.float32)
    partners = None if noise is None else tf.constant(noise, tf.float32)

    def target_of(x, r, tau, u):
        """What ū should be; its slope along the path follows from one forward pass with derivatives."""
        with tf.autodiff.ForwardAccumulator((x, r, tau), (u, tf.zeros_like(r), tf.ones_like(tau))) as forward:
            mean_u = network([x, tf.concat([r, tau], axis=1)])
        parts = u, forward.jvp(mean_u), r, tau
        found = tf.numpy_function(lambda *parts: np.asarray(target(*parts), np.float32), parts, tf.float32)
        return tf.ensure_shape(tf.stop_gradient(found), u.shape)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def train(steps):
        for step in tf.range(steps):
            # Random numbers depend on (seed, step) alone, so a run can be repeated exactly.
            chosen = tf.random.stateless_uniform([batch_size], [4 * seed, step], 0, len(points), tf.int32)
            x0 = tf.gather(data, chosen)
            if partners is None:
                epsilon = tf.random.stateless_normal([batch_size, 2], [4 * seed + 1, step])
            else:
                epsilon = tf.gather(partners, chosen)
            tau, r, equal = tf.unstack(tf.random.stateless_uniform([3, batch_size, 1], [4 * seed + 2, step]))
            if target is not None:
                r = tf.where(equal < EQUAL, tau, r)
                r, tau = tf.minimum(r, tau), tf.maximum(r, tau)
            x, u = (1 - tau) * x0 + tau * epsilon, epsilon - x0
            times = tau
            if target is not None:
                times, u = tf.concat([r, tau], axis=1), target_of(x, r, tau, u)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((network([x, times]) - u) ** 2)
            optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)

    train(steps)
    return network


def velocity_of(network):
    """The trained velocity as a function (x (N, 2), one τ) → (N, 2)."""
    return lambda x, tau: np.asarray(network([np.float32(x), np.full((len(x), 1), tau, np.float32)]))


def in_one_call(network, noise):
    """x_0 = ε − ū(ε, 0, 1): the points that a network of mean velocities draws from ``noise`` (N, 2) with one call."""
    whole = np.tile(np.float32([[0.0, 1.0]]), (len(noise), 1))
    return noise - np.asarray(network([np.float32(noise), whole]))
