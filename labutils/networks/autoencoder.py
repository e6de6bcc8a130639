"""The autoencoder of latent diffusion: a picture → a latent that is six times smaller → the picture again.

Latent diffusion (Rombach et al. 2022, https://arxiv.org/abs/2112.10752) draws in the latent space of such a network.
It is a variational autoencoder (Kingma & Welling 2013, https://arxiv.org/abs/1312.6114): the encoder gives a mean and a
variance for each number of the latent, and training decodes a sample, z = μ + σ·ε. So the decoder learns to tolerate
small errors, and pictures whose latents are near each other look alike.
"""

import keras
import numpy as np
from keras import layers, ops

from labutils.data import check_images
from labutils.networks.unet import check_image_shape
from labutils.networks.unet_fast import depth_to_space, space_to_depth

CHANNELS = 8  # of the latent: 8×8×8 = 512 numbers for 32×32×3 = 3072
LOG_VARIANCES = (-12.0, 2.0)  # limits; without them one bad step could overflow the exponential
BATCH = 250  # pictures in one call of encode and decode


def build_autoencoder(input_shape=(32, 32, 3), channels=CHANNELS, widths=(96, 40)):
    """The autoencoder.

    Args:
        input_shape: (H, W, C) of the pictures; H and W divisible by 4.
        channels: of the latent, at least 1.
        widths: channels at a quarter of the size, and at half the size on the way back.

    Returns:
        keras.Model from pictures (B, H, W, C) to their reconstructions. Its layers ``encoder`` and ``decoder`` are
        models. The encoder gives [μ, log σ²], each (B, H/4, W/4, channels); the decoder takes a latent of that shape.

    Raises:
        ValueError: a shape that cannot be halved twice, or no channels.
    """
    H, W, C = check_image_shape(input_shape)
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    quarter, half = widths
    scale = LatentScale(channels, name="latent_scale")

    picture = keras.Input((H, W, C), name="picture")
    x = _conv(quarter, "conv_in")(space_to_depth(space_to_depth(picture)))  # (B, H/4, W/4, quarter)
    x = _block(x, quarter, "encode")
    moments = layers.Conv2D(2 * channels, 1, name="moments")(ops.silu(x))
    encoder = keras.Model(picture, scale(moments), name="encoder")

    latent = keras.Input((H // 4, W // 4, channels), name="latent")
    x = _conv(quarter, "latent_in")(scale(latent, back=True))
    x = _block(x, quarter, "decode")
    x = depth_to_space(layers.Conv2D(4 * half, 1, name="upsample")(x))  # (B, H/2, W/2, half)
    x = _block(x, half, "draw")
    x = _conv(4 * C, "conv_out")(ops.silu(x))
    decoder = keras.Model(latent, depth_to_space(x), name="decoder")
    return keras.Model(picture, decoder(encoder(picture)[0]), name="autoencoder")


def _conv(width, name, **options):
    return layers.Conv2D(width, 3, padding="same", name=name, **options)


def _block(x, width, name):
    """A residual block that begins as the identity."""
    h = _conv(width, f"{name}_a")(ops.silu(x))
    return x + _conv(width, f"{name}_b", kernel_initializer="zeros")(ops.silu(h))


class LatentScale(layers.Layer):
    """Latents with mean 0 and variance 1, which is what a noise schedule is made for.

    Attributes:
        mean, std: one number per channel, weights that no gradient changes; 0 and 1 until :func:`normalise_latents`.
    """

    def __init__(self, channels, **options):
        super().__init__(**options)
        self.mean = self.add_weight(shape=(channels,), initializer="zeros", trainable=False, name="mean")
        self.std = self.add_weight(shape=(channels,), initializer="ones", trainable=False, name="std")

    def call(self, x, back=False):
        """Standardise the encoder's moments; with ``back=True`` undo it for a latent z."""
        if back:
            return x * self.std + self.mean
        mean, log_variance = ops.split(x, 2, axis=-1)
        log_variance = ops.clip(log_variance, *LOG_VARIANCES)
        return [(mean - self.mean) / self.std, log_variance - 2.0 * ops.log(self.std)]


def reparameterise(mean, log_variance, noise):
    """A sample of N(μ, σ²) through which gradients flow: z = μ + σ·ε (Kingma & Welling 2013, section 2.4)."""
    return mean + ops.exp(0.5 * log_variance) * noise


def encode(autoencoder, images):
    """The latents of pictures: the means μ, without noise.

    Args:
        autoencoder: from :func:`build_autoencoder`.
        images: (N, H, W, C) in [-1, 1].

    Returns:
        float32 array (N, H/4, W/4, channels); each channel has mean 0 and variance 1 over the training pictures.

    Raises:
        ValueError: pictures that are not (N, H, W, C) in [-1, 1].
    """
    return moments(autoencoder, images)[0]


def moments(autoencoder, images):
    """What the encoder says of pictures: arrays (μ, log σ²), each (N, H/4, W/4, channels); errors as in `encode`."""
    return tuple(_in_batches(autoencoder.get_layer("encoder"), check_images(images)))


def decode(autoencoder, latents):
    """The pictures of latents, float32 (N, H, W, C) in [-1, 1]."""
    (images,) = _in_batches(lambda z: [autoencoder.get_layer("decoder")(z)], latents)
    return np.clip(images, -1, 1)


def normalise_latents(autoencoder, images):
    """Measure mean and deviation of each channel over ``images``, and let encoder and decoder use them.

    The reconstructions stay as they were.
    """
    scale = autoencoder.get_layer("encoder").get_layer("latent_scale")
    latents = encode(autoencoder, images)
    mean, std = latents.mean(axis=(0, 1, 2)), latents.std(axis=(0, 1, 2))
    mean, std = mean * scale.std.numpy() + scale.mean.numpy(), std * scale.std.numpy()
    scale.mean.assign(mean)
    scale.std.assign(std)


def _in_batches(function, x):
    """``function`` of ``x``, BATCH items at a time: a list with one array for each of its results."""
    parts = [function(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
    return [np.concatenate([ops.convert_to_numpy(part) for part in column]) for column in zip(*parts, strict=True)]
