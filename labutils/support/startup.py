"""Prepares the process for TensorFlow and Keras: settings, and a start without messages that look like errors.

C++ code writes these messages before it reads any setting. So standard error is redirected for a moment.
"""

import ctypes
import functools
import importlib.util
import os
import platform
import sys
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _stderr_redirected():
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: it leads nowhere from now on, or the next file would get its number, and messages
        kept = nowhere
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        for descriptor in {kept, nowhere} - {2}:
            os.close(descriptor)


@functools.cache
def keep_freed_memory():
    """Let glibc keep the memory of freed tensors for the next ones, where the process runs on glibc.

    Training and sampling call this; it acts once, on the whole process.

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


def _configure_keras():
    """Give Keras the settings that the lab is made for, whatever ``keras.json`` says; the file stays as it is."""
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    if keras.config.backend() != "tensorflow":
        print(
            f"Keras was imported before labutils, with the backend {keras.config.backend()}, and the lessons need "
            "TensorFlow: start Python again and import labutils first",
            file=sys.stderr,
        )


os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras reads it when it is imported; it goes before keras.json
if platform.machine() in ("x86_64", "AMD64"):
    # On processors without AVX-512, which most laptops are, TensorFlow would leave out the library oneDNN. With it the
    # classic network trains 1.6 times as fast there (benchmarks/results/speed.json).
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if importlib.util.find_spec("tensorflow") and importlib.util.find_spec("keras"):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _stderr_redirected():
            import tensorflow as tf

            tf.config.list_physical_devices()  # looks for a GPU now; later it would write a message into a lesson
            # A lesson compiles one graph for each sampler. TensorFlow would warn about this as if it were a mistake.
            tf.get_logger().setLevel("ERROR")
            import keras  # noqa: F401
    except (AssertionError, AttributeError, TypeError, ValueError) as error:  # raised for odd values in keras.json
        settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise SystemExit(
            f"TensorFlow and Keras cannot start: {reason}. The settings in {settings} may be why: correct or delete it"
        ) from error
    _configure_keras()
