"""Prepares the process for TensorFlow: its memory, and a start without messages that look like errors.

C++ code writes these messages before it reads any setting. So standard error is redirected for a moment.
"""

import ctypes
import importlib.util
import os
import sys
from contextlib import contextmanager


@contextmanager
def _stderr_redirected():
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


def _keep_freed_memory():
    """Let glibc keep the memory of freed tensors for the next ones, where the process runs on glibc.

    By default large blocks go back to the system at once. The next step asks for them again, and the system clears
    every page again. On a small machine this takes a third of the time of a training step. Peak memory grows by a few
    per cent.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another C library: Windows, macOS, musl
        return
    mallopt(-4, 0)  # M_MMAP_MAX: no block is mapped on its own
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink
    mallopt(-2, 64 * 2**20)  # M_TOP_PAD: it grows by 64 MiB at a time


_keep_freed_memory()

# The lab needs TensorFlow, even if the user's Keras configuration names another backend.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

if "tensorflow" not in sys.modules and importlib.util.find_spec("tensorflow"):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_redirected():
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for a GPU now; later it would write a message into a lesson
        # A lesson compiles one graph for each sampler. TensorFlow would warn about this as if it were a mistake.
        tf.get_logger().setLevel("ERROR")
