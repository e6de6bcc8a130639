"""Two small networks that know digits: one to measure with, one to recognise with.

A generated image is judged by networks that had no part in making it. ``digit_features`` turns an image into 128
numbers, in which images that look alike lie close together; ``digit_recogniser`` says which digit it sees and how
sure it is. They are built differently, so that a weakness of one is not also the other's.
"""

import keras
import numpy as np
from keras import layers

from labutils.run_state import History

HELD_OUT = 6  # one training image in six is kept from both networks: the end of the set, for `metrics` to compare with


def build_digit_features(input_shape=(28, 28, 1), classes=10):
    """Three convolutions with pooling, then 128 features (layer ``features``), then a score for each class.

    Args:
        input_shape: (H, W, C). classes: number of classes.

    Returns:
        keras.Model from images (B, H, W, C) in [-1, 1] to unnormalised scores (B, classes).
    """
    x = image = keras.Input(input_shape)
    for filters in (32, 64, 128):
        x = layers.MaxPooling2D()(_conv(x, filters, 3))
    x = layers.Dense(128, activation="relu", name="features")(layers.Flatten()(x))
    x = layers.Dropout(0.3)(x)
    return keras.Model(image, layers.Dense(classes, name="scores")(x), name="digit_features")


def build_digit_recogniser(input_shape=(28, 28, 1), classes=10):
    """Five convolutions that shrink by stride, then an average over all positions; arguments as above."""
    x = image = keras.Input(input_shape)
    for filters, size, stride in ((24, 5, 1), (48, 3, 2), (64, 3, 1), (96, 3, 2), (128, 3, 1)):
        x = _conv(x, filters, size, stride)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(classes, name="scores")(x), name="digit_recogniser")


def _conv(x, filters, size, stride=1):
    x = layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


NETWORKS = {"digit_features": build_digit_features, "digit_recogniser": build_digit_recogniser}


def held_out(images):
    """(seen, kept): the training images that the two networks learn from, and those they never see, as slices."""
    border = len(images) - len(images) // HELD_OUT
    return slice(0, border), slice(border, None)


def fit(network, x, y, epochs, seed=0, batch_size=128, learning_rate=2e-3, callbacks=()):
    """Teach ``network`` to tell the classes apart: cross-entropy, Adam with its rate decayed to 0, shifted images.

    Args:
        network: from this module.
        x: images (N, H, W, C) in [-1, 1]. y: integer labels (N,).
        epochs: passes over the images, each shifted at random by up to two pixels.
        seed: of order and shifts.
        batch_size, learning_rate: of Adam.
        callbacks: Keras callbacks.

    Returns:
        dict: ``loss``, ``seconds`` and ``cpu_seconds``, each a list with one number per epoch.
    """
    steps = len(x) // batch_size
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(rate), loss=loss, jit_compile=False)

    def batches():
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(x))
            for step in range(steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                shift = tuple(rng.integers(-2, 3, size=2))
                yield np.roll(x[chosen], shift, axis=(1, 2)), y[chosen]  # the border of a digit is empty

    history = History()
    network.fit(batches(), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0,
                callbacks=[history, *callbacks])  # fmt: skip
    return history.history


def predict(network, images):
    """What ``network`` answers, 500 images at a time: NumPy array."""
    parts = [network(images[i : i + 500], training=False) for i in range(0, len(images), 500)]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts])


def accuracy(network, x, y):
    """Share of the images whose highest score is their label's."""
    return float(np.mean(predict(network, x).argmax(axis=1) == y))
