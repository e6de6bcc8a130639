"""Progress bars: plain tqdm on standard output, which works in a terminal, in every notebook and in a saved file."""

import sys

from tqdm import tqdm
from tqdm.keras import TqdmCallback


def progress_bar(total, description, disable=False):
    """A tqdm bar to ``update``; ``with`` closes it."""
    return tqdm(total=total, desc=description, file=sys.stdout, disable=disable, mininterval=1.0)


def keras_progress(epochs=None, description=None):
    """A Keras callback that shows one bar, counting epochs."""
    return TqdmCallback(epochs=epochs, verbose=0, tqdm_class=tqdm, file=sys.stdout, desc=description, mininterval=1.0)
