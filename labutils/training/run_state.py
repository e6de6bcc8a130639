"""The state of a training run on disk: what a killed run needs to continue without a difference."""

import json
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from labutils.support.files import read_npz, write_atomically


class History(keras.callbacks.Callback):
    """Keeps the losses that Keras reports after each epoch, and the epoch's duration.

    Attributes:
        history: dict name → list of floats, one for each epoch. ``seconds`` are wall-clock time, ``cpu_seconds`` are
            summed over the cores.
    """

    def __init__(self):
        super().__init__()
        self.history = {"loss": [], "seconds": [], "cpu_seconds": []}

    def on_epoch_begin(self, epoch, logs=None):
        """Start the epoch's clocks."""
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        """Append to the history."""
        times = {"seconds": time.perf_counter() - self.started[0], "cpu_seconds": time.process_time() - self.started[1]}
        for key, value in {**(logs or {}), **times}.items():
            self.history.setdefault(key, []).append(float(value))


class RunState(History):
    """A history that also saves weights, optimizer and history in one file after each epoch, and restores them.

    Keras' ``BackupAndRestore`` does not keep the history. It restores the optimizer only in part in a new process
    (keras-team/keras#19389, tensorflow/tensorflow#50516). Here one file holds everything and is renamed when it is
    complete, so weights and history always belong together.

    Args:
        path: the ``.npz`` to write, or None to keep the history only. If it exists, the run goes on from there.
        network, optimizer: what is saved; both built.
        run: dict of JSON types that identifies the run: settings and hashes of the data. A resumed run must have an
            equal one.

    Raises:
        ValueError: ``path`` has another ending, is damaged, or belongs to another run or network.
    """

    def __init__(self, path, network, optimizer, run):
        super().__init__()
        self.path = None if path is None else Path(path)
        self.variables = [*network.variables, *optimizer.variables]
        self.run = run
        if self.path is not None and self.path.suffix != ".npz":
            raise ValueError(f"state_file must end in .npz, got {path}")
        if self.path is not None and self.path.exists():
            self._restore()

    def on_epoch_end(self, epoch, logs=None):
        """Append to the history and save."""
        super().on_epoch_end(epoch, logs)
        if self.path is not None:
            arrays = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(self.variables)}
            text = json.dumps({"run": self.run, "history": self.history})
            write_atomically(self.path, lambda path: np.savez(path, about=np.array(text), **arrays))

    def _restore(self):
        names = [f"v{i}" for i in range(len(self.variables))]
        try:
            found = read_npz(self.path, ["about", *names])
            about = json.loads(str(found["about"]))
            history, run = about["history"], about["run"]
            history["loss"], history["seconds"], run.keys()
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path} is not the state of a training run; delete it to start again") from error
        arrays = [found[name] for name in names]
        if run != self.run:
            differ = [key for key in {**self.run, **run} if run.get(key, "none") != self.run.get(key, "none")]
            raise ValueError(
                f"{self.path} belongs to another run (differs in: {', '.join(differ)}); delete it or "
                f"write to another folder"
            )
        if any(a.shape != tuple(v.shape) for a, v in zip(arrays, self.variables, strict=True)):
            raise ValueError(f"{self.path} was written for another network; write to another folder")
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)
        self.history = history
