"""Textual inversion (Gal et al. 2022, https://arxiv.org/abs/2208.01618): teach a text-to-image model one new word.

A word is a row of the table with which the text encoder of lesson 8 begins. A new word is one more row.
"""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from labutils import caption_data, networks
from labutils.editing import split

NEW_WORD = len(caption_data.VOCABULARY)  # the token of the new word


def look_up(table, row, tokens):
    """The vectors of words, from the table of an encoder and one more row at its end.

    Args:
        table: (N, 128). Row 0 belongs to the empty place, token NO_WORD.
        row: (128,), of the new word, array or variable.
        tokens: (B, LENGTH), NO_WORD … N - 1. The largest one is the new word.

    Returns:
        Tensor (B, LENGTH, 128), a function of ``row`` through which gradients flow.
    """
    longer = ops.concatenate([table, ops.reshape(row, (1, -1))])
    return ops.take(longer, ops.convert_to_tensor(tokens) - caption_data.NO_WORD, axis=0)


def encode_with(encoder, row, tokens, look_up=look_up):
    """Word vectors of captions that may hold NEW_WORD, whose row of the word table is ``row``.

    Args:
        encoder: from :func:`labutils.editing.split`. row, tokens: as for :func:`look_up`.
        look_up: the function that takes rows from the table.

    Returns:
        Tensor (B, LENGTH, 128), a function of ``row`` through which gradients flow.
    """
    embedding = encoder.get_layer("word_embedding")
    rows = look_up(ops.convert_to_tensor(embedding.embeddings), row, tokens)
    return keras.Model(embedding.output, encoder.output)(ops.convert_to_tensor(rows, "float32"))


def learn_word(model, images, tokens, row, *, steps=400, batch=32, rate=0.03, seed=0):
    """Learn a word, and nothing else.

    The loss is that of training. Only the new row of the word table gets a gradient. So captions without the new word
    draw what they drew before.

    Args:
        model: labutils.pipeline.TextToImage. images: (N, 32, 32, 3). tokens: (N, LENGTH), with NEW_WORD in them.
        row: (128,), where learning starts.
        steps, batch, rate, seed: of the training with Adam.

    Returns:
        float32 array (128,).

    Raises:
        ValueError: tokens without NEW_WORD, or not one caption for each picture.
    """
    if len(tokens) != len(images) or not (np.asarray(tokens) == NEW_WORD).any(axis=1).all():
        raise ValueError(f"tokens must hold the new word, {NEW_WORD}, in one caption for each of {len(images)} images")
    encoder, denoiser = split(model.diffusion.network)
    diffusion = replace(model.diffusion, network=denoiser)
    latents = networks.encode(model.autoencoder, images)
    row, optimizer, rng = tf.Variable(row, dtype=tf.float32), keras.optimizers.Adam(rate), np.random.default_rng(seed)
    optimizer.build([row])

    @tf.function
    def step(x0, t, noise, tokens):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(row)
            loss = diffusion.loss(x0, t, noise, encode_with(encoder, row, tokens))
        optimizer.apply([tape.gradient(loss, row)], [row])

    for _ in range(steps):
        chosen = rng.integers(len(latents), size=batch)
        noise = rng.standard_normal((batch, *latents.shape[1:]), dtype=np.float32)
        step(latents[chosen], diffusion.draw_t(batch, rng), noise, np.asarray(tokens)[chosen])
    return row.numpy()
