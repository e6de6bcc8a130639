"""What a denoising network gets in addition to the noisy image: the time, and perhaps a label."""

import numpy as np
from keras import ops

CLASSES = 10  # labels 0 … 9 of a network that is told what to draw
NO_LABEL = -1  # stands for "no label": the network is not told; captions.NO_WORD is the same


def network_time(t, T):
    """The time that every network of the lab receives: the fraction t/T as a column (B, 1), float32."""
    return ops.reshape(ops.cast(t, "float32") / T, (-1, 1))


def even_labels(count):
    """Labels 0, 1, …, 9, 0, …: equally many of each class, (count,) int32."""
    return np.arange(count, dtype=np.int32) % CLASSES


def sinusoidal_embedding(t, dim=32, max_period=10_000.0):
    """Describe a step by sines and cosines of many frequencies (Vaswani et al. 2017, section 3.5; DDPM appendix B).

    Args:
        t: shape (B,), step index (0 … T - 1) or any real number.
        dim: size of the embedding, even.
        max_period: the longest period is ``2π · max_period``, the shortest 2π.

    Returns:
        float32 tensor (B, dim): first dim/2 sines, then dim/2 cosines, all in [-1, 1].

    Raises:
        ValueError: if ``dim`` is odd or smaller than 2.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and at least 2, got {dim}")
    half = dim // 2
    frequencies = ops.exp(-ops.log(max_period) * ops.arange(half, dtype="float32") / half)  # 1 … 1/max_period
    angles = ops.reshape(ops.cast(t, "float32"), (-1, 1)) * frequencies  # (B, dim/2)
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
