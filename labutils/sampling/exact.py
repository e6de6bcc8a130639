"""The exact denoiser: what a perfect network would answer for a data set of a few images."""

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.schedule import at


def exact_x0(images, schedule, xt, t):
    """The best possible x̂_0 when the data set is just ``images``: the mean of all that could have led to x_t.

    Given x_t, image i was the original with probability w_i ∝ exp(−‖x_t − √ᾱ_t x_i‖² / 2(1 - ᾱ_t)). So x̂_0 is
    Σ w_i x_i.

    Args:
        images: (N, …), small N: cost and memory grow with B · N.
        schedule: labutils.schedule.NoiseSchedule.
        xt: (B, …). t: integer steps, (B,) or one for all.

    Returns:
        Tensor of the shape of ``xt``.
    """
    images, xt = (ops.convert_to_tensor(value, "float32") for value in (images, xt))
    flat = ops.reshape(images, (images.shape[0], -1))  # (N, D)
    x = ops.reshape(xt, (-1, flat.shape[-1]))
    signal = at(np.sqrt(schedule.alpha_bars), t, 2)  # √ᾱ_t, (B, 1)
    variance = at(1.0 - schedule.alpha_bars, t, 2)  # 1 - ᾱ_t
    # ‖x − s·x_i‖² = ‖x‖² − 2 s x·x_i + s² ‖x_i‖²; ‖x‖² is the same for all i and drops out of the weights.
    logits = signal * ops.matmul(x, ops.transpose(flat)) - 0.5 * signal**2 * ops.sum(flat**2, axis=-1)
    return ops.reshape(ops.matmul(tf.nn.softmax(logits / variance), flat), ops.shape(xt))


def patch_sums(values, patch, soft=False):
    """For each pixel, the sum of ``values`` over the patch around it.

    Args:
        values: (…, H, W).
        patch: odd number of pixels; the patch is a square of this width, cut at the image's edge. From 2H - 1 (and
            2W - 1) on it is the whole image.
        soft: True for a patch without a sharp edge: a pixel d rows (or columns) away counts exp(−π d² / patch²). These
            numbers, too, have the sum ``patch``.

    Returns:
        Array of the shape of ``values``.

    Raises:
        ValueError: ``patch`` is even or below 1.
    """
    if patch < 1 or patch % 2 == 0:
        raise ValueError(f"patch must be odd and at least 1, so that it has a middle; got {patch}")
    values = np.asarray(values)
    gaps = [np.abs(np.subtract.outer(np.arange(size), np.arange(size))) for size in values.shape[-2:]]
    rows, columns = (np.exp(-np.pi * (gap / patch) ** 2) if soft else gap <= patch // 2 for gap in gaps)
    return rows.astype(values.dtype) @ (values @ columns.astype(values.dtype))


def local_x0(images, schedule, xt, t, patch, soft=False, chunk=500):
    """The best possible x̂_0 for who sees only a patch: :func:`exact_x0`, for each pixel from the patch around it.

    It is the local score machine of Kamb & Ganguli 2024 (arXiv:2412.20292). Image i has at pixel p the weight
    w_i(p) ∝ exp(−Σ_{q near p} (x_t − √ᾱ_t x_i)²(q) / 2(1 - ᾱ_t)), and x̂_0(p) = Σ w_i(p) x_i(p). So each pixel may come
    from other images. If the patch is the whole image, this is :func:`exact_x0`.

    Args:
        images, xt: (N, H, W, C) and (B, H, W, C). schedule: as in :func:`exact_x0`. t: one integer step.
        patch, soft: as in :func:`patch_sums`.
        chunk: so many images are compared at once, which bounds the memory.

    Returns:
        float32 array of the shape of ``xt``.

    Raises:
        ValueError: as :func:`patch_sums`.
    """
    images, xt = np.asarray(images, np.float32), np.asarray(xt, np.float32)
    signal, variance = np.float32(np.sqrt(schedule.alpha_bars[t])), np.float32(1 - schedule.alpha_bars[t])
    answers = []
    for x in xt:
        largest, total, weighted = np.float32(-np.inf), 0, 0  # of all images so far, for each pixel
        for start in range(0, len(images), chunk):
            part = images[start : start + chunk]
            exponents = patch_sums(-np.sum((x - signal * part) ** 2, axis=-1), patch, soft) / (2 * variance)
            before, largest = largest, np.maximum(largest, exponents.max(axis=0))
            weights = np.exp(exponents - largest)
            kept = np.exp(before - largest)
            total = kept * total + weights.sum(axis=0)
            weighted = kept[..., None] * weighted + np.einsum("nhw,nhwc->hwc", weights, part)
        answers.append(weighted / total[..., None])
    return np.stack(answers)


def exact_noise_predictor(images, schedule):
    """The best possible noise predictor for the data set ``images``: a formula instead of a network.

    It is the noise that :func:`exact_x0` implies, ε = (x_t − √ᾱ_t x̂_0) / √(1 - ᾱ_t). A correct sampler with this
    predictor returns one of the images; with a single image it always returns that one.

    Args:
        images, schedule: as in :func:`exact_x0`.

    Returns:
        A function with a network's signature, [x_t, t/T (B, 1)] → ε.
    """

    def predict(inputs):
        xt, time = (ops.cast(value, "float32") for value in inputs)
        t = ops.cast(ops.round(ops.reshape(time, (-1,)) * schedule.T), "int32")
        signal_scale, noise_scale = schedule.scales(t, len(xt.shape))
        return (xt - signal_scale * exact_x0(images, schedule, xt, t)) / noise_scale

    return predict
