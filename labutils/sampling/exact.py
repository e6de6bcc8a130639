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
