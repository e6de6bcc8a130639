"""Filling in a part of an image: keep what is known, and let the sampler fill in the rest so that it fits."""

import numpy as np
import tensorflow as tf

from labutils.data import check_images
from labutils.samplers import Coefficients
from labutils.support.arguments import check_count


def inpaint(x0, known, mask):
    """x̂_0 with the known pixels (where ``mask`` is 1) put in. Use it as ``constrain`` to fill in a picture.

    Args:
        x0: x̂_0, (B, H, W, C) or a number. known: array (…, H, W, C) in [-1, 1]. mask: 1 where a pixel is known, else 0.

    Raises:
        ValueError: known pixels outside [-1, 1].
    """
    if isinstance(known, np.ndarray):  # in a compiled graph, a tensor has no values yet
        check_images(known.reshape(-1, *known.shape[-3:]), "known")
    return mask * known + (1 - mask) * x0


def as_constraint(paste, known, mask):
    """A correction that is written for NumPy arrays, as the ``constrain`` of a compiled sampler.

    Args:
        paste: function of (x̂_0, known, mask), three arrays, that returns the corrected x̂_0, such as :func:`inpaint`.
        known, mask: its other arguments, as in :func:`inpaint`.
    """

    def in_numpy(x0):
        return np.asarray(paste(x0.copy(), known, mask), np.float32)

    def constrain(x0, t):
        return tf.ensure_shape(tf.numpy_function(in_numpy, [x0], tf.float32), x0.shape)

    return constrain


def shrink(x, factor=4):
    """The mean of each block of factor × factor pixels, (B, H, W, C) → (B, H/factor, W/factor, C)."""
    return tf.nn.avg_pool2d(x, factor, factor, "VALID")


def enlarge(x, factor=4):
    """Each pixel repeated over a block: (B, H, W, C) → (B, factor·H, factor·W, C)."""
    return tf.repeat(tf.repeat(x, factor, axis=1), factor, axis=2)


def match_blocks(x0, small):
    """x̂_0 with other means of its blocks: those of the small picture ``small``. The detail in the blocks stays.

    Wang, Yu, Zhang 2022 (DDNM), https://arxiv.org/abs/2212.00490.
    """
    factor = x0.shape[1] // small.shape[1]
    return x0 + enlarge(small - shrink(x0, factor), factor)


def resampled(table, schedule, times, jump=1):
    """RePaint's resampling (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865, algorithm 1 and section 4.2).

    The table is cut into blocks of ``jump`` steps, and each block is run ``times`` times. Between two runs the
    forward process takes x back to the noise level where the block starts, x ← √k·x + √(1 - k)·z with k = ᾱ/ᾱ'. So a
    correction of x̂_0, such as known pixels, can spread into the rest of the image.

    Args:
        table: Coefficients of a sampler with one call per step (``ddpm`` or ``ddim``).
        schedule: the labutils.schedule.NoiseSchedule of the table.
        times: r in the paper, at least 1; 1 returns the same steps.
        jump: j in the paper, steps of a block, at least 1.

    Returns:
        Coefficients with ``times`` times as many rows.

    Raises:
        ValueError: ``times`` or ``jump`` is not an integer of at least 1, or the sampler uses the estimate of the call
            before, which belongs to another noise level after a step forward.
    """
    check_count("resample", times)
    check_count("jump", jump)
    if times > 1 and np.any(table.c):
        raise ValueError("resample needs a sampler with one estimate per step: ddpm or ddim")
    level = np.append(schedule.alpha_bars[table.t], 1.0)  # ᾱ before each row, and after the last
    rows, kept = [], []  # kept: k, the share of variance that a forward step after the row keeps; 1: no forward step
    for start in range(0, len(table.t), jump):
        block = range(start, min(start + jump, len(table.t)))
        for run in range(times):
            rows += block
            kept += [1.0] * len(block)
            if run < times - 1:
                kept[-1] = level[start] / level[block.stop]
    kept = np.array(kept)
    a, b, c, sigma = (column[rows] for column in (table.a, table.b, table.c, table.sigma))
    return Coefficients(table.t[rows], np.sqrt(kept) * a, np.sqrt(kept) * b, c, np.sqrt(kept * sigma**2 + 1.0 - kept))
