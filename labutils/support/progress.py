"""Progress bars: plain tqdm on standard output, which works in a terminal, in every notebook and in a saved file."""

import sys

import keras
from tqdm import tqdm


def progress_bar(total, description, disable=False):
    """A tqdm bar. Call ``update`` to move it; a ``with`` block closes it."""
    return tqdm(total=total, desc=description, file=sys.stdout, disable=disable, mininterval=1.0)


def keras_progress(epochs=None, description=None):
    """A Keras callback that shows one bar, counting epochs.

    Args:
        epochs: total of the bar; None for the ``epochs`` that ``fit`` is called with.
        description: text before the bar.

    Returns:
        keras.callbacks.Callback.
    """
    return EpochBar(epochs, description)


class EpochBar(keras.callbacks.Callback):
    """One bar that counts epochs and shows the last loss. A resumed run starts it at the epochs that are done.

    tqdm's own ``TqdmCallback`` draws its bar when it is created. At that time the first epoch of a resumed run is not
    known.
    """

    def __init__(self, epochs, description):
        super().__init__()
        self.epochs, self.description, self.bar = epochs, description, None

    def on_epoch_begin(self, epoch, logs=None):
        """Open the bar at the first epoch of this run."""
        if self.bar is None:
            total = self.epochs or self.params["epochs"]
            self.bar = tqdm(
                total=total, initial=epoch, desc=self.description, unit="epoch", file=sys.stdout, mininterval=1.0
            )

    def on_epoch_end(self, epoch, logs=None):
        """Show the numbers of the epoch and count it."""
        self.bar.set_postfix(logs or {}, refresh=False)
        self.bar.update()

    def on_train_end(self, logs=None):
        """Close the bar; another ``fit`` opens a new one."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
