"""What the benchmarks change: networks and a loss beside those of the lab, to see what an ingredient is good for."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from labutils import caption_data, networks
from labutils.caption_data import ALONE, LENGTH, NO_WORD, PAIRS
from labutils.diffusion import Diffusion
from labutils.networks.attention import attention_block, mlp_block
from labutils.networks.text_to_image import TEXT_DIM, TIME_SCALE, VOCABULARY_SIZE
from labutils.schedule import at

TIME_DIM, EMBEDDING_DIM = 128, 64  # sizes of the time embedding, and of the sinusoidal embedding it is made from


@dataclass(frozen=True)
class ErrorOfX0(Diffusion):
    """A diffusion model that weights the squared error of x̂_0 by min(SNR, γ), whatever its network predicts.

    Hang et al. 2023 (https://arxiv.org/abs/2303.09556), section 3.4.

    Attributes:
        gamma: the largest weight, γ; None for the weight 1 at every t.
    """

    gamma: float | None = 5.0

    def loss(self, x0, t, noise, condition=None):
        """The weighted loss of one batch; arguments as in :meth:`labutils.diffusion.Diffusion.loss`."""
        xt = self.schedule.add_noise(x0, t, noise)
        predicted = self.schedule.predict_x0(xt, t, self.predict(xt, t, condition), self.prediction)
        weights = np.ones(self.schedule.T) if self.gamma is None else np.minimum(self.schedule.snr, self.gamma)
        return ops.mean(at(weights, t, len(xt.shape)) * (predicted - x0) ** 2)


@dataclass(frozen=True)
class Flow(Diffusion):
    """A network that is trained from scratch as a flow: steps t with the SNR of a random τ on the straight path.

    Attributes:
        logit_normal: τ is the logistic function of a standard normal number, so the middle of the path gets more
            examples (Esser et al. 2024, https://arxiv.org/abs/2403.03206, section 3.1); else τ is uniform.
    """

    logit_normal: bool = False

    def draw_t(self, count, rng):
        """The steps of a batch, (count,) int32."""
        tau = 1 / (1 + np.exp(-rng.standard_normal(count))) if self.logit_normal else rng.random(count)
        return self.schedule.t_of(tau)


def no_folding(input_shape=(28, 28, 1), widths=(24, 48), blocks=(1, 2)):
    """The fast network without space-to-depth: maps of twice the size and half the channels, so about the same work."""
    image, time = keras.Input(input_shape, name="noisy_image"), keras.Input((1,), name="time")

    def block(x, width, name):
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(x))
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(ops.silu(h))

    full, half = widths
    x = ops.concatenate([image, ops.ones_like(image[..., :1]) * time[:, None, None]], axis=-1)
    x = layers.Conv2D(full, 3, padding="same", name="conv_in")(x)
    for i in range(blocks[0]):
        x = block(x, full, f"down_{i}")
    skip = x
    x = layers.Conv2D(half, 3, strides=2, padding="same", name="downsample")(x)
    for i in range(blocks[1]):
        x = block(x, half, f"middle_{i}")
    x = networks.depth_to_space(layers.Conv2D(4 * full, 1, name="upsample")(x)) + skip
    for i in range(blocks[0]):
        x = block(x, full, f"up_{i}")
    conv_out = layers.Conv2D(input_shape[-1], 3, padding="same", kernel_initializer="zeros", name="conv_out")
    return keras.Model([image, time], conv_out(ops.silu(x)), name="no_folding")


def random_start():
    """The fast network, but with a random start of the kernels that are 0 in the lab's."""
    network = networks.build_fast()
    for weights in network.trainable_variables:
        if weights.name == "kernel" and not np.any(weights):
            weights.assign(keras.initializers.GlorotUniform()(weights.shape))
    return network


def scale_and_shift(input_shape=(28, 28, 1), widths=(48, 96), blocks=(1, 2)):
    """The fast network, but the time scales and shifts the channels of every block.

    As in Nichol & Dhariwal 2021 (https://arxiv.org/abs/2102.09672), section 2. In the lab's, the time enters once.
    """
    image, time = keras.Input(input_shape, name="noisy_image"), keras.Input((1,), name="time")
    embedding = networks.sinusoidal_embedding(TIME_SCALE * time, EMBEDDING_DIM)
    for name in ("time_hidden", "time_embedding"):
        embedding = layers.Dense(TIME_DIM, activation="silu", name=name)(embedding)

    def block(x, name):
        width = x.shape[-1]
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(x))
        scale_shift = layers.Dense(2 * width, kernel_initializer="zeros", name=f"{name}_time")(embedding)
        scale, shift = ops.split(scale_shift[:, None, None], 2, axis=-1)
        h = ops.silu(h * (1.0 + scale) + shift)
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(h)

    half, quarter = widths
    x = layers.Conv2D(half, 3, padding="same", name="conv_in")(networks.space_to_depth(image))
    for i in range(blocks[0]):
        x = block(x, f"down_{i}")
    skip = x
    x = layers.Conv2D(quarter, 3, strides=2, padding="same", name="downsample")(x)
    for i in range(blocks[1]):
        x = block(x, f"middle_{i}")
    x = networks.depth_to_space(layers.Conv2D(4 * half, 1, name="upsample")(x)) + skip
    for i in range(blocks[0]):
        x = block(x, f"up_{i}")
    conv_out = layers.Conv2D(4 * input_shape[-1], 3, padding="same", kernel_initializer="zeros", name="conv_out")
    return keras.Model([image, time], networks.depth_to_space(conv_out(ops.silu(x))), name="scale_and_shift")


def encode_words(scenes):
    """The condition of the lab's network: the words of their captions, (N, LENGTH) int32."""
    return caption_data.tokenize(caption_data.sentences(scenes))


def matched():
    """A text-to-image network that must fail: its text encoder has the words of :func:`encode_matched`."""
    return networks.build_text_to_image(encoder=networks.build_text_encoder(VOCABULARY_SIZE + 2 * PAIRS))


def encode_matched(scenes):
    """Captions without a word for a colour or a digit, (N, LENGTH) int32: the same places, but the words of pairs.

    The pairs of colour and digit have numbers p = 0 … 59. In place of the colour stands the word VOCABULARY_SIZE + p,
    in place of the digit VOCABULARY_SIZE + 60 + p. So two different pairs share no word.
    """
    tokens = encode_words(scenes)
    first, second = (VOCABULARY_SIZE + 10 * colour + digit for colour, digit in (scenes[:, :2].T, scenes[:, 3:].T))
    tokens[:, 1], tokens[:, 2] = first, first + PAIRS
    two = np.flatnonzero(scenes[:, 2] != ALONE)
    last = np.sum(tokens[two] != NO_WORD, axis=1) - 1  # place of the last word
    tokens[two, last - 1], tokens[two, last] = second[two], second[two] + PAIRS
    return tokens


def bag():
    """A text-to-image network that must fail: its text encoder has no positions, so the order of the words is lost."""
    tokens = keras.Input((LENGTH,), dtype="int32", name="tokens")
    start = keras.initializers.RandomNormal(stddev=0.5)
    x = layers.Embedding(VOCABULARY_SIZE + 1, TEXT_DIM, embeddings_initializer=start, name="word_embedding")(
        tokens - NO_WORD
    )
    for i in range(2):
        x = mlp_block(attention_block(x, None, f"self_attention_{i}"), f"mlp_{i}")
    encoder = keras.Model(tokens, layers.LayerNormalization(name="words")(x), name="text_encoder")
    return networks.build_text_to_image(encoder=encoder)


# What lesson 8 compares with: name → (builder, function from scenes to tokens, epochs of 1,000 steps)
TEXT = {"text_to_image_matched": (matched, encode_matched, 14), "text_to_image_bag": (bag, encode_words, 8)}
