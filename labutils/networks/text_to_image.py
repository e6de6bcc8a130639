"""A small Stable Diffusion: a text encoder, and a U-Net on latents that asks the caption at every size.

As in latent diffusion (Rombach et al. 2022, https://arxiv.org/abs/2112.10752, section 3.3): the blocks of the U-Net are
told the time, which scales and shifts their channels, and each place of the map asks the words by cross-attention. The
text encoder is trained together with the U-Net; Stable Diffusion takes a trained one.
"""

import math

import keras
from keras import layers, ops

from labutils import caption_data
from labutils.networks.attention import Places, ask, attention_model, feed_forward
from labutils.networks.embeddings import sinusoidal_embedding
from labutils.networks.unet import check_image_shape
from labutils.networks.unet_fast import depth_to_space

TIME_SCALE = 1000.0  # the network receives t/T; the sinusoidal embedding expects numbers of the size of t
WAVES, SIGNAL = 64, 160  # sizes of that embedding, and of the vector made from it
WORDS, WORD = len(caption_data.VOCABULARY), 128  # words that are known; numbers that describe one
CROSS_ATTENTION = ("outer_words", "inner_words", "last_words")  # at 8×8, 4×4, 8×8


def build_text_encoder(words=WORDS, length=caption_data.LENGTH, width=WORD, blocks=2):
    """Tokens → one vector for each word, which knows of the words around it.

    Args:
        words: size of the vocabulary.
        length: tokens of a caption.
        width: numbers in the vector of a word.
        blocks: transformer blocks.

    Returns:
        keras.Model from tokens (B, length) int32, caption_data.NO_WORD … words - 1, to vectors (B, length, width).
    """
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    start = keras.initializers.RandomNormal(stddev=0.5)
    x = layers.Embedding(words + 1, width, embeddings_initializer=start, name="word_vectors")(
        tokens - caption_data.NO_WORD
    )
    x = Places(name="positions")(x)
    for i in range(blocks):
        x = ask(x, None, f"read_{i}")
        x = feed_forward(x, f"think_{i}")
    return keras.Model(tokens, layers.LayerNormalization(name="words")(x), name="text_encoder")


def build_text_to_image(input_shape=(8, 8, 8), encoder=None, widths=(64, 160)):
    """The text encoder and the denoiser, one network.

    Args:
        input_shape: (H, W, C) of a latent; H and W divisible by 2.
        encoder: keras.Model from tokens (B, LENGTH) to vectors (B, LENGTH, width), with a layer ``word_vectors``. None
            for that of :func:`build_text_encoder`.
        widths: channels at full and at half size of the latent.

    Returns:
        keras.Model with inputs [noisy latents (B, H, W, C), t/T (B, 1), tokens (B, LENGTH) int32] and output
        (B, H, W, C), which starts as 0 everywhere. Its layer ``text_encoder`` is a model; the layers CROSS_ATTENTION
        ask the words, see :func:`attention_maps`. Its attribute ``label_count`` is the number of words.

    Raises:
        ValueError: a shape that cannot be halved.
    """
    H, W, C = check_image_shape(input_shape, halvings=1)
    outer, inner = widths
    latent = keras.Input((H, W, C), name="noisy_latent")
    time = keras.Input((1,), name="time")
    tokens = keras.Input((caption_data.LENGTH,), dtype="int32", name="tokens")
    encoder = encoder or build_text_encoder()
    told = encoder(tokens)  # (B, LENGTH, WORD)
    signal = sinusoidal_embedding(TIME_SCALE * time, WAVES)
    signal = layers.Dense(SIGNAL, activation="silu", name="time_hidden")(signal)
    signal = layers.Dense(SIGNAL, activation="silu", name="time_signal")(signal)

    def block(x, name):
        """A residual block that hears the time: it scales and shifts the channels."""
        width = x.shape[-1]
        scale, shift = ops.split(layers.Dense(2 * width, name=f"{name}_signal")(signal)[:, None, None], 2, axis=-1)
        h = layers.LayerNormalization(name=f"{name}_norm")(x)
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(h * (1.0 + scale) + shift))
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(ops.silu(h))

    def over_places(x, *steps):
        """Apply functions of (B, places, width) to a map."""
        height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height * width, channels))
        for step in steps:
            x = step(x)
        return ops.reshape(x, (-1, height, width, channels))

    x = layers.Conv2D(outer, 3, padding="same", name="enter")(latent)  # (B, H, W, outer)
    x = Places(name="places")(x)
    x = skip = over_places(block(x, "outer"), lambda x: ask(x, told, "outer_words"))
    x = layers.Conv2D(inner, 3, strides=2, padding="same", name="shrink")(x)  # (B, H/2, W/2, inner)
    x = over_places(
        block(x, "inner_0"),
        lambda x: ask(x, None, "inner_places"),
        lambda x: ask(x, told, "inner_words"),
        lambda x: feed_forward(x, "inner_think"),
    )
    x = block(x, "inner_1")
    x = depth_to_space(layers.Conv2D(4 * outer, 1, name="grow")(x)) + skip
    x = over_places(block(x, "last"), lambda x: ask(x, told, "last_words"))
    x = layers.LayerNormalization(name="leave_norm")(x)
    x = layers.Conv2D(C, 3, padding="same", kernel_initializer="zeros", name="leave")(ops.silu(x))
    network = keras.Model([latent, time, tokens], x, name="text_to_image")
    network.label_count = encoder.get_layer("word_vectors").input_dim - 1  # without the empty place
    return network


def attention_maps(network, latents, time, tokens, layer=CROSS_ATTENTION[0]):
    """Where each word of a caption is looked at.

    Args:
        network: from :func:`build_text_to_image`.
        latents: noisy latents (B, H, W, C). time: t/T (B, 1). tokens: (B, LENGTH).
        layer: one of CROSS_ATTENTION.

    Returns:
        float32 array (B, LENGTH, h, w): the weights that the places of the map give to each word, mean over the heads.
        At each place they sum to 1 over the words.
    """
    inputs = [ops.convert_to_tensor(part) for part in (latents, time, tokens)]  # Keras does not take a mixture
    weights = ops.convert_to_numpy(attention_model(network, layer)(inputs))
    maps = weights.mean(axis=1).swapaxes(1, 2)  # (B, LENGTH, places)
    H, W = inputs[0].shape[1:3]
    shrunk = math.isqrt(H * W // maps.shape[-1])  # 1, or 2 at half size
    return maps.reshape(*maps.shape[:2], H // shrunk, W // shrunk)
