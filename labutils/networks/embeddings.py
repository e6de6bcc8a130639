"""What a denoising network gets in addition to the noisy image: the time, and perhaps a label."""

import numpy as np
from keras import layers, ops

CLASSES = 10  # labels 0 … 9, unless a network is built for another number of them
NO_LABEL = -1  # stands for "no label": the network is not told; caption_data.NO_WORD is the same


def network_time(t, T):
    """The time that every network of the lab receives: the fraction t/T as a column (B, 1), float32."""
    return ops.reshape(ops.cast(t, "float32") / T, (-1, 1))


def even_labels(count, classes=CLASSES):
    """Labels 0, 1, …, classes - 1, 0, …: equally many of each class, (count,) int32."""
    return np.arange(count, dtype=np.int32) % classes


def count_classes(labels, name="labels"):
    """The number of classes n of a data set, for a network that is built for it.

    Args:
        labels: (N,) integers. name: what the message calls them.

    Raises:
        ValueError: the labels are not 0 … n - 1, each of them at least once. A network would learn nothing of a label
            that never occurs, and would still draw something for it.
    """
    found = np.unique(labels)
    if not np.array_equal(found, np.arange(len(found))):
        raise ValueError(
            f"{name} must be 0 … n - 1, each of them at least once; got {len(found)} different ones in {found[0]} … "
            f"{found[-1]}. Number them anew with np.unique(labels, return_inverse=True)[1]"
        )
    return len(found)


def check_known(network, labels, name="labels", least=NO_LABEL):
    """Raise ``ValueError`` unless a network knows all labels, or all words of the captions.

    Args:
        network: its attribute ``label_count`` is the number n of labels or words that it was built for. A network
            without this attribute, such as a plain function, is not checked.
        labels: array of any shape: integers in 0 … n - 1, or NO_LABEL.
        name: what the message calls them.
        least: 0 for a network that must be told.
    """
    labels, n = np.asarray(labels), getattr(network, "label_count", None)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name} must be integers, got {labels.dtype}")
    if n is not None and labels.size and not least <= labels.min() <= labels.max() < n:
        raise ValueError(
            f"{name} must lie in {least} … {n - 1}, which the network {network.name} was built for; "
            f"got {labels.min()} … {labels.max()}"
        )


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


def add_time(features, embedding):
    """Add to each channel a trained linear function of a time embedding, the same number at every pixel.

    Args:
        features: Keras tensor (B, H, W, C). embedding: Keras tensor (B, D), see :func:`sinusoidal_embedding`.

    Returns:
        Keras tensor (B, H, W, C).
    """
    shift = layers.Dense(features.shape[-1])(embedding)
    return features + shift[:, None, None]  # (B, 1, 1, C)
