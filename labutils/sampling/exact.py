"""The exact denoiser: what a perfect network would answer for a data set of a few images."""

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.schedule import at


def exact_noise_predictor(images, schedule):
    """The best possible noise predictor when the data set is just ``images``: a formula instead of a network.

    Given x_t, image i was the original with probability w_i ∝ exp(−‖x_t − √ᾱ_t x_i‖² / 2(1 - ᾱ_t)). The best guess is
    x̂_0 = Σ w_i x_i, and ε = (x_t − √ᾱ_t x̂_0) / √(1 - ᾱ_t). A correct sampler with this predictor returns one of the
    images; with a single image it always returns that one.

    Args:
        images: (N, …), small N: cost and memory grow with B · N.
        schedule: labutils.schedule.NoiseSchedule.

    Returns:
        A function with a network's signature, [x_t, t/T (B, 1)] → ε.
    """
    images = ops.convert_to_tensor(images, dtype="float32")
    flat = ops.reshape(images, (images.shape[0], -1))  # (N, D)
    # ‖x − s·x_i‖² = ‖x‖² − 2 s x·x_i + s² ‖x_i‖²; ‖x‖² is the same for all i and drops out of the weights.
    squared = ops.sum(flat**2, axis=-1)

    def predict(inputs):
        xt, time = (ops.cast(value, "float32") for value in inputs)
        t = ops.cast(ops.round(ops.reshape(time, (-1,)) * schedule.T), "int32")
        signal = at(np.sqrt(schedule.alpha_bars), t, 2)  # √ᾱ_t, (B, 1)
        variance = at(1.0 - schedule.alpha_bars, t, 2)  # 1 - ᾱ_t
        x = ops.reshape(xt, (-1, flat.shape[-1]))
        logits = (signal * ops.matmul(x, ops.transpose(flat)) - 0.5 * signal**2 * squared) / variance  # (B, N)
        x0 = ops.matmul(tf.nn.softmax(logits), flat)
        return ops.reshape((x - signal * x0) / ops.sqrt(variance), ops.shape(xt))

    return predict
