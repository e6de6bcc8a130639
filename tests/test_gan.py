"""The small GAN of the benchmarks: its gradients are those of the two losses, and a run can be repeated."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import gan, gan_training
from labutils import data

RNG = np.random.default_rng(0)


def networks():
    keras.utils.set_random_seed(0)
    pair = gan_training.build_generator((4, 4)), gan_training.build_discriminator((4, 4))
    for network in pair:
        for weights in network.trainable_variables:
            weights.assign(0.3 * RNG.standard_normal(weights.shape))
    return pair


def test_gradients_are_those_of_the_losses():
    generator, discriminator = networks()
    real = tf.constant(RNG.standard_normal((3, 28, 28, 1)), tf.float32)
    latent = tf.constant(RNG.standard_normal((3, gan_training.LATENT)), tf.float32)
    found = gan_training.gradients(generator, discriminator, real, latent, 0.7)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.softplus(discriminator(real) - discriminator(generator(latent))))
    expected = [tape.gradient(loss, generator.trainable_variables)]
    with tf.GradientTape() as tape:
        loss, fake = 0.0, generator(latent)
        for x in (real, fake):
            with tf.GradientTape() as inner:
                inner.watch(x)
                scores = discriminator(x)
            squares = tf.reduce_sum(inner.gradient(scores, x) ** 2, axis=(1, 2, 3))
            loss += 0.35 * tf.reduce_mean(squares)
        loss += tf.reduce_mean(tf.nn.softplus(discriminator(fake) - discriminator(real)))
    expected.append(tape.gradient(loss, discriminator.trainable_variables))
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_run_can_be_repeated_and_learns_something():
    images = data.load("digits").x_train[:128]
    setting = gan_training.Setting()
    runs = [gan_training.train_gan(images, 3, setting, seed=1).get_weights() for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))
    other = gan_training.train_gan(images, 3, setting, seed=2).get_weights()
    assert not np.array_equal(runs[0][0], other[0])


def test_both_sides_get_the_same():
    """The same number of trial runs with a seed that no reported run has; the GAN has no more parameters."""
    assert len(set(map(len, gan.TRIALS.values()))) == 1 and gan.TRIAL_SEED not in gan.SEEDS
    pair = gan_training.build_generator(), gan_training.build_discriminator()
    assert sum(network.count_params() for network in pair) < gan.networks.build_fast().count_params()
