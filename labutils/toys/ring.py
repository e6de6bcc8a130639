"""Eight islands of points in the plane, and a GAN that learns them. Lesson 6 compares it with diffusion."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

RADIUS, SPREAD = 0.8, 0.03  # of the ring, and of each island
# Options of `train_gan`: the best of the settings that lesson 6 names.
TUNED_GAN = {"penalty": 0.1, "falling": True, "beta_1": 0.0}


def ring_centres():
    """Centres of the eight islands, shape (8, 2), on a circle of radius RADIUS."""
    angles = 2 * np.pi * np.arange(8) / 8
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring_points(count, rng):
    """``count`` points, shape (count, 2), each near an island chosen at random; ``rng`` is a NumPy generator."""
    centres = ring_centres()
    chosen = centres[rng.integers(0, len(centres), count)]
    return chosen + SPREAD * rng.standard_normal((count, 2))


def coverage(points):
    """How well points (N, 2) match the ring.

    Returns:
        (islands, near): the number of islands that hold at least 2 % of the points, and the proportion of all points
        that lie within four spreads of some island.
    """
    distance = np.linalg.norm(points[:, None] - ring_centres()[None], axis=-1)
    near = distance.min(axis=1) < 4 * SPREAD
    counts = np.bincount(distance.argmin(axis=1)[near], minlength=len(ring_centres()))
    return int(np.sum(counts >= 0.02 * len(points))), float(near.mean())


def train_gan(points, steps, seed=0, batch_size=256, penalty=0.0, falling=False, beta_1=0.5):
    """Train a small GAN (Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, non-saturating loss).

    Args:
        points: (N, 2).
        steps: updates of each of the two networks.
        seed: of the run. The same seed gives the same generator on the same machine.
        batch_size: points of one update.
        penalty: γ of the R1 penalty γ/2·E‖∇D(x)‖² on real points x, which keeps the gradient of the discriminator D
            small at the data (Mescheder, Geiger, Nowozin 2018, https://arxiv.org/abs/1801.04406, eq. 9); 0 for none.
        falling: let the learning rate of 0.001 fall to 0 along half a cosine.
        beta_1: of Adam; 0 follows each gradient without momentum.

    Returns:
        The generator, a keras.Model from latent noise (B, 2) to points (B, 2).

    Raises:
        ValueError: ``penalty`` is negative.
    """
    if not penalty >= 0:
        raise ValueError(f"penalty must be at least 0, got {penalty}")
    keras.utils.set_random_seed(seed)

    def network(outputs):
        hidden = [layers.Dense(128, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((2,)), *hidden, layers.Dense(outputs)])

    generator, discriminator = network(2), network(1)
    rate = keras.optimizers.schedules.CosineDecay(0.001, steps) if falling else 0.001
    optimizers = [keras.optimizers.Adam(rate, beta_1=beta_1) for _ in range(2)]
    for optimizer, model in zip(optimizers, (generator, discriminator), strict=True):
        optimizer.build(model.trainable_variables)
    data = tf.constant(points, tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def train(steps):
        for step in tf.range(steps):
            # Random numbers depend on (seed, step) alone, so a run can be repeated exactly.
            chosen = tf.random.stateless_uniform([batch_size], [2 * seed, step], 0, len(points), tf.int32)
            latent = tf.random.stateless_normal([batch_size, 2], [2 * seed + 1, step])
            real = tf.gather(data, chosen)
            with tf.GradientTape() as for_generator, tf.GradientTape() as for_discriminator:
                fake = generator(latent)
                fake_score = discriminator(fake)
                with tf.GradientTape() as for_penalty:
                    for_penalty.watch(real)
                    real_score = discriminator(real)
                discriminator_loss = tf.reduce_mean(tf.nn.softplus(-real_score))
                discriminator_loss += tf.reduce_mean(tf.nn.softplus(fake_score))
                generator_loss = tf.reduce_mean(tf.nn.softplus(-fake_score))
                if penalty:
                    slope = for_penalty.gradient(real_score, real)
                    discriminator_loss += 0.5 * penalty * tf.reduce_mean(tf.reduce_sum(slope**2, axis=1))
            for tape, value, optimizer, model in (
                (for_generator, generator_loss, optimizers[0], generator),
                (for_discriminator, discriminator_loss, optimizers[1], discriminator),
            ):
                gradients = tape.gradient(value, model.trainable_variables)
                optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    train(steps)
    return generator
