"""Eight islands of points in the plane, and a GAN that shall learn them: lesson 6 compares it with diffusion."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

RADIUS, SPREAD = 0.8, 0.03  # of the ring, and of each island


def ring_centres(islands=8):
    """Centres of the islands, shape (islands, 2), on a circle of radius RADIUS."""
    angles = 2 * np.pi * np.arange(islands) / islands
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring_points(count, rng):
    """``count`` points, shape (count, 2), each near an island chosen at random; ``rng`` is a NumPy generator."""
    centres = ring_centres()
    chosen = centres[rng.integers(0, len(centres), count)]
    return chosen + SPREAD * rng.standard_normal((count, 2))


def coverage(points, share=0.02):
    """How well points (N, 2) match the ring.

    Returns:
        (islands, near): the number of islands that hold at least ``share`` of the points, and the share of all points
        within four spreads of some island.
    """
    distance = np.linalg.norm(points[:, None] - ring_centres()[None], axis=-1)
    near = distance.min(axis=1) < 4 * SPREAD
    counts = np.bincount(distance.argmin(axis=1)[near], minlength=len(ring_centres()))
    return int(np.sum(counts >= share * len(points))), float(near.mean())


def train_gan(points, steps, seed=0, batch_size=256, learning_rate=1e-3):
    """Train a small GAN (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, non-saturating loss).

    Args:
        points: (N, 2). steps: updates of each of the two networks. seed, batch_size, learning_rate: of the run.

    Returns:
        The generator, a keras.Model from latent noise (B, 2) to points (B, 2).
    """
    keras.utils.set_random_seed(seed)

    def network(outputs):
        hidden = [layers.Dense(128, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(outputs)])

    generator, critic = network(2), network(1)
    optimizers = [keras.optimizers.Adam(learning_rate, beta_1=0.5) for _ in range(2)]
    for optimizer, model in zip(optimizers, (generator, critic), strict=True):
        optimizer.build(model.trainable_variables)
    data = tf.constant(points, tf.float32)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def train(steps):
        for _ in tf.range(steps):
            real = tf.gather(data, tf.random.uniform([batch_size], 0, len(points), tf.int32))
            with tf.GradientTape() as for_generator, tf.GradientTape() as for_critic:
                fake = generator(tf.random.normal([batch_size, 2]))
                real_score, fake_score = critic(real), critic(fake)
                critic_loss = loss(tf.ones_like(real_score), real_score) + loss(tf.zeros_like(fake_score), fake_score)
                generator_loss = loss(tf.ones_like(fake_score), fake_score)
            for tape, value, optimizer, model in (
                (for_generator, generator_loss, optimizers[0], generator),
                (for_critic, critic_loss, optimizers[1], critic),
            ):
                gradients = tape.gradient(value, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    train(steps)
    return generator
