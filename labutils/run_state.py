"""The state of a training run on disk: what a killed run needs to go on as if nothing had happened."""

import json
import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from labutils.files import read_npz, write_atomically


class History(keras.callbacks.Callback):
    """Keeps what Keras reports of each epoch, and how long the epoch took, in ``history``: name → list of floats.

    ``seconds`` are on the clock, ``cpu_seconds`` are summed over the cores.
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
    """A history that also saves weights, optimizer and itself in one file after each epoch, and brings all back.

    Keras' ``BackupAndRestore`` does not keep the history and restores the optimizer only in part on a cold start
    (keras-team/keras#19389, tensorflow/tensorflow#50516); with one renamed file there is no moment at which weights
    and history can disagree.

    Args:
        path: the ``.npz`` to write, or None to keep the history only.
        network, optimizer: what is saved; both built.
        run: what must be equal for a resumed run to be the same run.
    """

    def __init__(self, path, network, optimizer, run):
        super().__init__()
        self.path = None if path is None else Path(path)
        self.variables = [*network.variables, *optimizer.variables]
        self.run = run
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
            raise ValueError(f"{self.path} is not the state of a training run; delete it to start anew") from error
        arrays = [found[name] for name in names]
        if run != self.run:
            differ = [key for key in self.run if run.get(key) != self.run[key]]
            raise ValueError(f"{self.path} belongs to another run (differs in: {', '.join(differ)}); delete it or "
                             f"write to another folder")  # fmt: skip
        if any(a.shape != tuple(v.shape) for a, v in zip(arrays, self.variables, strict=True)):
            raise ValueError(f"{self.path} was written for another network; write to another folder")
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)
        self.history = history
