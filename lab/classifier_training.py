"""Training of the two networks that recognise digits: ordinary classification."""

import keras
import numpy as np

from labutils.data import check_images
from labutils.networks import check_known
from labutils.training.run_state import History


def fit_classifier(network, x, y, epochs, seed=0, batch_size=128, learning_rate=2e-3, callbacks=()):
    """Train ``network`` to tell the classes apart: cross-entropy, Adam with a rate that falls to 0, shifted batches.

    Args:
        network: from :mod:`labutils.networks.classifiers`.
        x: images (N, H, W, C) in [-1, 1]. y: integer labels (N,).
        epochs: passes over the images. Each batch is shifted at random by up to two pixels, all images alike.
        seed: of order and shifts.
        batch_size, learning_rate: of Adam.
        callbacks: Keras callbacks.

    Returns:
        dict: ``loss``, ``seconds`` and ``cpu_seconds``, each a list with one number per epoch.

    Raises:
        ValueError: images out of [-1, 1], fewer of them than one batch, not one label per image, or a label that the
            network does not know.
    """
    x = check_images(x, "x")
    check_known(network, y, "y", least=0)
    if len(x) < batch_size or len(y) != len(x):
        raise ValueError(
            f"need at least batch_size = {batch_size} images and one label per image, got {len(x)} images "
            f"and {len(y)} labels"
        )
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
    network.fit(
        batches(), steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=0, callbacks=[history, *callbacks]
    )
    return history.history
