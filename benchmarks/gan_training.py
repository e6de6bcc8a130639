"""A small GAN of today for images: R3GAN (Huang et al. 2024, https://arxiv.org/abs/2501.05441), without its size.

Its loss is relativistic: the discriminator D compares a real image with a generated one. Two penalties, R1 and R2, keep
the slope of D small at real and at generated images. There is no normalisation and no momentum. A moving average of
the generator's weights draws.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from labutils import networks

LATENT = 64  # numbers that the generator starts from


@dataclass(frozen=True)
class Setting:
    """What the trial runs choose.

    Attributes:
        batch_size: images of one update.
        gamma: γ, the weight of both penalties; it falls to a tenth along half a cosine.
        rate: of Adam; it falls to a tenth, too.
        average: momentum of the moving average of the generator's weights, which draws.
    """

    batch_size: int = 16
    gamma: float = 0.5
    rate: float = 2e-3
    average: float = 0.998


def _block(x, width, name):
    """Residual block without normalisation; its last kernel starts at 0."""
    h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.leaky_relu(x))
    return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(ops.leaky_relu(h))


def build_generator(widths=(24, 64)):
    """Latent noise (B, LATENT) → images (B, 28, 28, 1); as in the network ``fast``, maps of half and quarter size."""
    half, quarter = widths
    latent = keras.Input((LATENT,), name="latent")
    x = layers.Reshape((7, 7, quarter // 2))(layers.Dense(49 * quarter // 2, name="start")(latent))
    x = _block(layers.Conv2D(quarter, 1, name="widen")(x), quarter, "quarter")
    x = networks.depth_to_space(layers.Conv2D(4 * half, 1, name="upsample")(x))
    x = _block(x, half, "half")
    x = layers.Conv2D(4, 3, padding="same", name="conv_out")(ops.leaky_relu(x))
    return keras.Model(latent, networks.depth_to_space(x), name="generator")


def build_discriminator(widths=(24, 64)):
    """Images (B, 28, 28, 1) → one number for each; the generator backwards."""
    half, quarter = widths
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(half, 3, padding="same", name="conv_in")(networks.space_to_depth(image))
    x = layers.Conv2D(quarter, 1, name="downsample")(networks.space_to_depth(_block(x, half, "half")))
    x = layers.Conv2D(quarter // 2, 1, name="narrow")(ops.leaky_relu(_block(x, quarter, "quarter")))
    return keras.Model(image, layers.Dense(1, name="score")(layers.Flatten()(x)), name="discriminator")


def gradients(generator, discriminator, real, latent, gamma):
    """The gradients of both networks for one batch (R3GAN, eq. 2 and 3).

    D minimises softplus(−(D(x) − D(G(z)))) + γ/2 (‖∇D(x)‖² + ‖∇D(G(z))‖²), G minimises softplus(D(x) − D(G(z))).

    Returns:
        (of the generator's weights, of the discriminator's weights).
    """
    with tf.GradientTape() as for_generator:
        fake = generator(latent)
    with tf.GradientTape() as for_discriminator:
        both = tf.concat([real, fake], axis=0)
        with tf.GradientTape() as for_penalty:
            for_penalty.watch(both)
            scores = discriminator(both)
        slopes = for_penalty.gradient(scores, both)  # of each score at its own image
        difference = tf.subtract(*tf.split(scores, 2))[:, 0]  # D(x) − D(G(z))
        penalty = 2.0 * tf.reduce_mean(tf.reduce_sum(slopes**2, axis=(1, 2, 3)))  # R1 + R2: the sum of two means
        loss = tf.reduce_mean(tf.nn.softplus(-difference)) + gamma / 2.0 * penalty
    # The slope of the generator's loss at a generated image is −σ(D(x) − D(G(z))) ∇D, over the size of the batch. ∇D is
    # known already, so the generator needs no second way through the discriminator.
    weight = -tf.sigmoid(difference) / tf.cast(tf.size(difference), tf.float32)
    at_fake = weight[:, None, None, None] * tf.split(slopes, 2)[1]
    return (
        for_generator.gradient(fake, generator.trainable_variables, output_gradients=at_fake),
        for_discriminator.gradient(loss, discriminator.trainable_variables),
    )


def train_gan(images, steps, setting, seed=0):
    """Train a generator.

    Args:
        images: (N, 28, 28, 1) in [-1, 1].
        steps: updates of each network.
        setting: Setting.
        seed: of the run.

    Returns:
        The generator with averaged weights.
    """
    keras.utils.set_random_seed(seed)
    pair = build_generator(), build_discriminator()
    optimizers = [keras.optimizers.Adam(setting.rate, beta_1=0.0, beta_2=0.99) for _ in pair]
    for optimizer, network in zip(optimizers, pair, strict=True):
        optimizer.build(network.trainable_variables)
    average = [tf.Variable(w) for w in pair[0].trainable_variables]
    data = tf.constant(images)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)] * 2)
    def run(first, last):
        for step in tf.range(first, last):
            # Random numbers depend on (seed, step) alone, so a run can be repeated exactly.
            chosen = tf.random.stateless_uniform([setting.batch_size], [2 * seed, step], 0, len(images), tf.int32)
            latent = tf.random.stateless_normal([setting.batch_size, LATENT], [2 * seed + 1, step])
            done = tf.cast(step, tf.float32) / steps
            fall = 0.1 + 0.9 * 0.5 * (1.0 + tf.cos(np.pi * done))  # from 1 to 0.1 along half a cosine
            found = gradients(*pair, tf.gather(data, chosen), latent, setting.gamma * fall)
            for gradient, optimizer, network in zip(found, optimizers, pair, strict=True):
                optimizer.learning_rate.assign(setting.rate * fall)
                optimizer.apply_gradients(zip(gradient, network.trainable_variables, strict=True))
            # At the start, the average looks back over a tenth of the steps done.
            momentum = tf.minimum(setting.average, 1.0 - 10.0 / (tf.cast(step, tf.float32) + 10.0))
            for mean, weights in zip(average, pair[0].trainable_variables, strict=True):
                mean.assign(momentum * mean + (1.0 - momentum) * weights)

    run(0, steps)
    for mean, weights in zip(average, pair[0].trainable_variables, strict=True):
        weights.assign(mean)
    return pair[0]
