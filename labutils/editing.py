"""Changing pictures with words: what people do with a text-to-image model beside drawing.

Everything here needs two parts of the network of lesson 8: the text encoder, which turns a caption into word vectors,
and the denoiser, which takes them. Between the two, words may be changed. :func:`split` gives both.

A method here is a network for labutils.diffusion.Diffusion, or an argument of labutils.sampling.Sampler. Every function
takes the noise that it starts from. So two pictures from the same noise differ only in what was edited. Networks and
samplers are kept, so that the same edit of other captions is not compiled again.
"""

from dataclasses import replace
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from labutils import caption_data, networks, pipeline
from labutils.networks.text_to_image import CROSS_ATTENTION
from labutils.samplers import spaced_steps
from labutils.sampling import Sampler, inpaint
from labutils.support.arguments import check_count


@lru_cache(8)
def split(network):
    """The text encoder and the denoiser of a network, which keep its weights.

    Args:
        network: from labutils.networks.build_text_to_image.

    Returns:
        (encoder, denoiser), two keras.Model: tokens (B, LENGTH) → word vectors (B, LENGTH, 128), and [noisy latents
        (B, H, W, C), t/T (B, 1), word vectors] → (B, H, W, C).

    Raises:
        ValueError: a network without a text encoder.
    """
    if "text_encoder" not in [layer.name for layer in network.layers]:
        raise ValueError(f"network must have a text encoder, got {network.name!r}")
    latent, time, _ = network.inputs
    _, words = network.get_layer(CROSS_ATTENTION[0]).input
    return network.get_layer("text_encoder"), keras.Model([latent, time, words], network.output, name="denoiser")


def swap_word(words, other, place):
    """Word vectors with some of another caption put in.

    Args:
        words, other: arrays (B, LENGTH, 128) of two captions. place: a place of a word, 0 … LENGTH - 1, or a list.

    Raises:
        ValueError: two shapes, or a place that a caption does not have.
    """
    words, other, place = np.array(words), np.asarray(other), np.atleast_1d(np.asarray(place, int))
    if words.shape != other.shape:
        raise ValueError(f"words and other must have the same shape, got {words.shape} and {other.shape}")
    if place.size and not 0 <= place.min() <= place.max() < words.shape[1]:
        raise ValueError(f"place must lie in 0 … {words.shape[1] - 1}, got {place.tolist()}")
    words[:, place] = other[:, place]
    return words


@lru_cache(8)
def two_captions(network, weight, avoiding=None):
    """Classifier-free guidance towards one caption and away from another: a *negative prompt*.

    (1 + w) · f(x, wanted) − w · f(x, avoided). If the avoided caption is empty, it is labutils.diffusion.guided.

    Args:
        network: callable of [x, t/T, condition], the condition tokens or word vectors.
        weight: w ≥ 0.
        avoiding: the network for the avoided caption; None for the same.

    Returns:
        A function of [x, t/T, pairs]. ``pairs`` (B, 2, …) holds the wanted and the avoided condition of each picture.

    Raises:
        ValueError: a negative weight.
    """
    if not weight >= 0:
        raise ValueError(f"weight must be at least 0, got {weight}")

    def guided(inputs):
        x, time, pairs = inputs
        wanted, avoided = pairs[:, 0], pairs[:, 1]
        return (1 + weight) * network([x, time, wanted]) - weight * (avoiding or network)([x, time, avoided])

    return guided


@lru_cache(8)
def keep_attention(denoiser, until, free=(), layers=CROSS_ATTENTION):
    """A denoiser of two halves of a batch: the second looks where the first looks, while the time is ≥ ``until``.

    Editing by cross-attention (Hertz et al. 2022, https://arxiv.org/abs/2208.01626, section 3.2): the attention weights
    come from the first caption, the values from the second one. So another thing is drawn in the same place. Without
    ``free`` it is the paper's "word swap". With the places of the changed words it is like its "adding a new phrase":
    these words keep their own weights, and the weights of each position are made to sum to 1 again.

    Args:
        denoiser: from :func:`split`, with its inputs. until: t/T.
        free: tuple of places of words whose weights are not kept. layers: tuple of names of attention layers.

    Returns:
        keras.Model with the inputs and the weights of ``denoiser``, for batches of an even number of items.
    """
    time = denoiser.inputs[1]
    free = np.isin(np.arange(caption_data.LENGTH), free)

    def call(layer, *inputs, **options):
        if layer.name not in layers:
            return layer(*inputs, **options)
        _, weights = layer(*inputs)
        first, second = ops.split(weights, 2)
        mixed = ops.where(free, second, first) if layer.name in CROSS_ATTENTION else first
        mixed /= ops.sum(mixed, axis=-1, keepdims=True)
        keep = ops.split(time, 2)[1][:, :, None, None] >= until
        return layer(*inputs, weights=ops.concatenate([first, ops.where(keep, mixed, second)]))

    return keras.models.clone_model(denoiser, denoiser.inputs, lambda layer: layer, call)


_sampler = lru_cache(8)(Sampler)


def draw(model, noise, network, condition, **options):
    """Pictures from given noise, by another network than that of the model.

    Args:
        model: labutils.pipeline.TextToImage, whose schedule and autoencoder are used.
        noise: (N, H, W, C). network: callable of [x, t/T, condition]. condition: (N, …).
        options: ``start`` of labutils.sampling.Sampler.run, or any of labutils.sampling.Sampler.

    Returns:
        float32 array (N, 32, 32, 3) in [-1, 1].
    """
    start = options.pop("start", None)
    options = {"sampler": "dpmpp_2m", "steps": pipeline.STEPS, **options}
    sampler = _sampler(replace(model.diffusion, network=network, guidance=0.0), noise.shape[1:], **options)
    *_, (_, _, latents) = sampler.run(noise, condition=condition, x0=False, start=start)
    return networks.decode(model.autoencoder, latents)


def negative_pairs(texts, avoided=None):
    """The tokens of captions and of those to avoid, (N, 2, LENGTH); ``avoided`` None for the empty caption."""
    return np.stack([caption_data.tokenize(texts), caption_data.tokenize(avoided or [""] * len(texts))], axis=1)


def draw_edited(model, noise, before, after, keep, **options):
    """Draw two captions from the same noise; the second keeps the attention of the first in the first steps.

    Args:
        model, noise: as in :func:`draw`. before, after: lists of N captions.
        keep: in how many of the labutils.pipeline.STEPS steps the attention is kept.
        options: ``free`` and ``layers`` of :func:`keep_attention`.

    Returns:
        Two arrays of pictures, (N, 32, 32, 3).

    Raises:
        ValueError: a bad ``keep``, or an unknown word.
    """
    check_count("keep", keep, low=0, high=pipeline.STEPS)
    encoder, denoiser = split(model.diffusion.network)
    T = model.diffusion.schedule.T
    until = spaced_steps(T, pipeline.STEPS)[keep - 1] / T if keep else 2.0
    kept = keep_attention(denoiser, until, **options)
    pairs = negative_pairs([*before, *after])
    words = np.reshape(encoder(pairs.reshape(-1, pairs.shape[-1])), (*pairs.shape, -1))
    network = two_captions(kept, model.diffusion.guidance, avoiding=denoiser)
    return np.split(draw(model, np.concatenate([noise, noise]), network, words), 2)


def redraw(model, images, texts, t, noise, guidance=None):
    """SDEdit (Meng et al. 2021, https://arxiv.org/abs/2108.01073): add noise to pictures, denoise them with a caption.

    Args:
        model: as in :func:`draw`. images: (N, 32, 32, 3). texts: N captions.
        t: step to start from, one of those that the sampler calls: noise is added to the *same* step.
        noise: (N, H, W, C), of the latents. guidance: w; None for that of the model.

    Returns:
        Pictures (N, 32, 32, 3).

    Raises:
        ValueError: a ``t`` that the sampler does not call, which names those that it calls.
    """
    called = spaced_steps(model.diffusion.schedule.T, pipeline.STEPS)
    if t not in called:
        raise ValueError(f"t must be one of {called.tolist()}, got {t}")
    latents = networks.encode(model.autoencoder, images)
    noisy = ops.convert_to_numpy(model.diffusion.schedule.add_noise(latents, np.full(len(latents), t), noise))
    weight = model.diffusion.guidance if guidance is None else guidance
    return draw(model, noisy, two_captions(model.diffusion.network, weight), negative_pairs(texts), start=t)


def fill(model, images, mask, texts, noise, **options):
    """Inpainting with text: keep a part of the latent, draw the rest as a caption says.

    Args:
        model, images, texts, noise: as in :func:`redraw`.
        mask: (8, 8, 1), 1 where the latent is kept, 0 where it is drawn.
        options: as in :func:`draw`. ``resample`` lets the two parts fit, with ``sampler="ddim"`` or ``"ddpm"``.

    Returns:
        Pictures (N, 32, 32, 3).
    """
    known = tf.constant(networks.encode(model.autoencoder, images))  # latents leave [-1, 1], where pixels stay
    options["constrain"] = lambda x0, t: inpaint(x0, known, tf.constant(mask, tf.float32))
    network = two_captions(model.diffusion.network, model.diffusion.guidance)
    return draw(model, noise, network, negative_pairs(texts), **options)
