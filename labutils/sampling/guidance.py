"""Classifier-free guidance: how strongly a network with labels follows them."""

import tensorflow as tf

from labutils.networks import NO_LABEL, check_known


def guided(network, x, time, labels, weight):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

    (1 + w) · f(x, label) − w · f(x, no label)

    Args:
        network: callable of [x, t/T, labels]; label NO_LABEL stands for "not told", and a caption of it alone.
        x: (B, H, W, C). time: (B, 1). labels: (B,) integers, or captions (B, L).
        weight: w ≥ 0; 0 follows the label without exaggeration, and needs one call of the network instead of two.
    """
    x, time, labels = (tf.convert_to_tensor(part) for part in (x, time, labels))  # Keras does not take a mixture
    told = network([x, time, labels])
    if weight == 0:
        return told
    return (1 + weight) * told - weight * network([x, time, tf.fill(tf.shape(labels), NO_LABEL)])


def label_shape(network):
    """The shape of what a network is told beside one image: () for a label, (L,) for a caption of L tokens."""
    inputs = getattr(network, "inputs", ())  # a plain function has none, and takes labels
    return tuple(inputs[2].shape[1:]) if len(inputs) > 2 else ()


def check_labels(network, labels, guidance, count):
    """Raise ``ValueError`` unless there are both guidance and ``count`` labels that the network knows, or neither."""
    told = labels is not None
    is_asked = hasattr(network, "label_count")  # a network built for labels cannot do without
    if told != (guidance is not None) or (is_asked and not told) or (told and len(labels) != count):
        raise ValueError(
            f"a network with labels needs guidance and one label for each of the {count} images, another "
            f"network neither; got guidance={guidance} and "
            f"{len(labels) if told else 'no'} labels"
        )
    if told:
        check_known(network, labels)
