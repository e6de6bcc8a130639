"""A small Stable Diffusion: a text encoder, and a latent U-Net with cross-attention to the caption at every resolution.

As in latent diffusion (Rombach et al. 2022, https://arxiv.org/abs/2112.10752, section 3.3): the time embedding scales
and shifts the channels of each residual block, and each position of the map attends to the words. The text encoder is
trained together with the U-Net; Stable Diffusion takes a trained one.
"""

import math

import keras
from keras import layers, ops

from labutils import caption_data
from labutils.networks.attention import Places, attention_block, attention_model, mlp_block
from labutils.networks.embeddings import sinusoidal_embedding
from labutils.networks.unet import check_image_shape
from labutils.networks.unet_fast import depth_to_space

TIME_SCALE = 1000.0  # the network receives t/T; the sinusoidal embedding expects numbers of the size of t
EMBEDDING_DIM, TIME_DIM = 64, 160  # sizes of the sinusoidal embedding, and of the time embedding made from it
VOCABULARY_SIZE, TEXT_DIM = len(caption_data.VOCABULARY), 128  # number of words; size of a word's embedding
CROSS_ATTENTION = ("outer_cross_attention", "inner_cross_attention", "last_cross_attention")  # at 8×8, 4×4, 8×8


def build_text_encoder(words=VOCABULARY_SIZE, length=caption_data.LENGTH, width=TEXT_DIM, blocks=2):
    """Tokens → contextual word embeddings.

    Args:
        words: size of the vocabulary.
        length: tokens of a caption.
        width: size of a word's embedding.
        blocks: transformer blocks.

    Returns:
        keras.Model from tokens (B, length) int32, caption_data.NO_WORD … words - 1, to vectors (B, length, width).
    """
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    start = keras.initializers.RandomNormal(stddev=0.5)
    x = layers.Embedding(words + 1, width, embeddings_initializer=start, name="word_embedding")(
        tokens - caption_data.NO_WORD
    )
    x = Places(name="positions")(x)
    for i in range(blocks):
        x = attention_block(x, None, f"self_attention_{i}")
        x = mlp_block(x, f"mlp_{i}")
    return keras.Model(tokens, layers.LayerNormalization(name="words")(x), name="text_encoder")


def build_text_to_image(input_shape=(8, 8, 8), encoder=None, widths=(64, 160)):
    """The text encoder and the denoiser, one network.

    Args:
        input_shape: (H, W, C) of a latent; H and W divisible by 2.
        encoder: keras.Model from tokens (B, LENGTH) to embeddings (B, LENGTH, width), with a layer ``word_embedding``.
            None for that of :func:`build_text_encoder`.
        widths: channels at full and at half size of the latent.

    Returns:
        keras.Model with inputs [noisy latents (B, H, W, C), t/T (B, 1), tokens (B, LENGTH) int32] and output
        (B, H, W, C), which starts as 0 everywhere. Its layer ``text_encoder`` is a model; the layers CROSS_ATTENTION
        attend to the words, see :func:`attention_maps`. Its attribute ``label_count`` is the number of words.

    Raises:
        ValueError: a shape that cannot be halved.
    """
    H, W, C = check_image_shape(input_shape, halvings=1)
    outer, inner = widths
    latent = keras.Input((H, W, C), name="noisy_latent")
    time = keras.Input((1,), name="time")
    tokens = keras.Input((caption_data.LENGTH,), dtype="int32", name="tokens")
    encoder = encoder or build_text_encoder()
    words = encoder(tokens)  # (B, LENGTH, TEXT_DIM)
    time_embedding = sinusoidal_embedding(TIME_SCALE * time, EMBEDDING_DIM)
    time_embedding = layers.Dense(TIME_DIM, activation="silu", name="time_hidden")(time_embedding)
    time_embedding = layers.Dense(TIME_DIM, activation="silu", name="time_embedding")(time_embedding)

    def block(x, name):
        """Residual block; the time embedding scales and shifts its channels (FiLM)."""
        width = x.shape[-1]
        scale_shift = layers.Dense(2 * width, name=f"{name}_time")(time_embedding)
        scale, shift = ops.split(scale_shift[:, None, None], 2, axis=-1)
        h = layers.LayerNormalization(name=f"{name}_norm")(x)
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(h * (1.0 + scale) + shift))
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(ops.silu(h))

    def over_positions(x, *steps):
        """Apply functions of (B, positions, width) to a map."""
        height, width, channels = x.shape[1:]
        x = ops.reshape(x, (-1, height * width, channels))
        for step in steps:
            x = step(x)
        return ops.reshape(x, (-1, height, width, channels))

    x = layers.Conv2D(outer, 3, padding="same", name="conv_in")(latent)  # (B, H, W, outer)
    x = Places(name="places")(x)
    x = skip = over_positions(block(x, "outer"), lambda x: attention_block(x, words, "outer_cross_attention"))
    x = layers.Conv2D(inner, 3, strides=2, padding="same", name="downsample")(x)  # (B, H/2, W/2, inner)
    x = over_positions(
        block(x, "inner_0"),
        lambda x: attention_block(x, None, "inner_self_attention"),
        lambda x: attention_block(x, words, "inner_cross_attention"),
        lambda x: mlp_block(x, "inner_mlp"),
    )
    x = block(x, "inner_1")
    x = depth_to_space(layers.Conv2D(4 * outer, 1, name="upsample")(x)) + skip
    x = over_positions(block(x, "last"), lambda x: attention_block(x, words, "last_cross_attention"))
    x = layers.LayerNormalization(name="norm_out")(x)
    x = layers.Conv2D(C, 3, padding="same", kernel_initializer="zeros", name="conv_out")(ops.silu(x))
    network = keras.Model([latent, time, tokens], x, name="text_to_image")
    network.label_count = encoder.get_layer("word_embedding").input_dim - 1  # without the empty place
    return network


def attention_maps(network, latents, time, tokens, layer=CROSS_ATTENTION[0]):
    """Cross-attention maps, one for each word of a caption.

    Args:
        network: from :func:`build_text_to_image`.
        latents: noisy latents (B, H, W, C). time: t/T (B, 1). tokens: (B, LENGTH).
        layer: one of CROSS_ATTENTION.

    Returns:
        float32 array (B, LENGTH, h, w): the weights that the positions of the map give to each word, mean over the
        heads. At each position they sum to 1 over the words.
    """
    inputs = [ops.convert_to_tensor(part) for part in (latents, time, tokens)]  # Keras does not take a mixture
    weights = ops.convert_to_numpy(attention_model(network, layer)(inputs))
    maps = weights.mean(axis=1).swapaxes(1, 2)  # (B, LENGTH, positions)
    H, W = inputs[0].shape[1:3]
    shrunk = math.isqrt(H * W // maps.shape[-1])  # 1, or 2 at half size
    return maps.reshape(*maps.shape[:2], H // shrunk, W // shrunk)
