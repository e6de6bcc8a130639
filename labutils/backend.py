"""Imports TensorFlow without its start-up messages, which a student cannot act on and which look like errors.

They are written by C++ code before any setting is read, so the file descriptor itself is turned away for a moment.
"""

import importlib.util
import os
import sys
from contextlib import contextmanager


@contextmanager
def _stderr_turned_away():
    if sys.stderr is not None:
        sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# The lab is written for TensorFlow; a Keras configuration of the user's that names another backend shall not break it.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow"):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_turned_away():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now, and not with a message in the middle of a lesson
        # A lesson compiles one graph for each sampler it compares; TensorFlow would warn of that as a mistake.
        tf.get_logger().setLevel("ERROR")
