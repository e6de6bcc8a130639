"""Two small networks that know digits: one to measure with, one to recognise with.

A generated image is judged by networks that took no part in making it. ``digit_features`` turns an image into 128
numbers: images that look alike have numbers that lie close together. ``digit_recogniser`` says which digit it sees and
how sure it is. The two are built differently, so they are unlikely to share a weakness.
"""

import hashlib

import keras
import numpy as np
from keras import layers

from labutils.data import check_images

HELD_OUT = 6  # neither network sees the last sixth of the training images; `evaluation` compares with them
MNIST_SEEN = 50_000  # the lab's own two saw so many of MNIST's
MNIST_FIRST = "23ceaef5eb61f0e70d64ac18fdf0f60df3d5971cf30bbadac7b6ebf07f782d2c"  # SHA-256 of its first image's bytes


def build_digit_features(input_shape=(28, 28, 1), classes=10):
    """Three convolutions with pooling, then 128 features (layer ``features``), then a score for each class.

    Args:
        input_shape: (H, W, C). classes: number of classes.

    Returns:
        keras.Model from images (B, H, W, C) in [-1, 1] to unnormalised scores (B, classes). Its attribute
        ``label_count`` is the number of classes.
    """
    x = image = keras.Input(input_shape)
    for filters in (32, 64, 128):
        x = layers.MaxPooling2D()(_conv(x, filters, 3))
    x = layers.Dense(128, activation="relu", name="features")(layers.Flatten()(x))
    x = layers.Dropout(0.3)(x)
    return _with_scores(image, x, classes, "digit_features")


def build_digit_recogniser(input_shape=(28, 28, 1), classes=10):
    """Five convolutions that shrink by stride, then an average over all positions; arguments as above."""
    x = image = keras.Input(input_shape)
    for filters, size, stride in ((24, 5, 1), (48, 3, 2), (64, 3, 1), (96, 3, 2), (128, 3, 1)):
        x = _conv(x, filters, size, stride)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return _with_scores(image, x, classes, "digit_recogniser")


def _with_scores(image, x, classes, name):
    network = keras.Model(image, layers.Dense(classes, name="scores")(x), name=name)
    network.label_count = classes
    return network


def _conv(x, filters, size, stride=1):
    x = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


CLASSIFIERS = {"digit_features": build_digit_features, "digit_recogniser": build_digit_recogniser}


def held_out(images):
    """Two slices (seen, kept): the training images that the two networks learn from, and those they never see.

    MNIST without its last images keeps fewer, or none: the lab's own networks have seen its first MNIST_SEEN images.
    """
    border = len(images) - len(images) // HELD_OUT
    if len(images):
        pixels = np.round((np.asarray(images[0]) + 1) * 127.5).astype(np.uint8)
        if hashlib.sha256(pixels.tobytes()).hexdigest() == MNIST_FIRST:
            border = min(MNIST_SEEN, len(images))
    return slice(0, border), slice(border, None)


def predict(network, images):
    """The scores of ``network`` for each image, (N, classes) as a NumPy array; 500 images at a time.

    Raises:
        ValueError: images that are not (N, H, W, C) in [-1, 1].
    """
    images = check_images(images)
    parts = [network(images[i : i + 500], training=False) for i in range(0, len(images), 500)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def accuracy(network, x, y):
    """Share of the images whose highest score is their label's."""
    return float(np.mean(predict(network, x).argmax(axis=1) == y))
