"""How networks are trained.

- ``step``: one training step, as the paper has it
- ``loop``: :func:`train`, the same step for every batch of a run that may be stopped and resumed
- ``config``: learning rate and the like; the experiments by which the lab's checkpoints were trained
- ``run_state``: the state of a run on disk
"""

from labutils.support.progress import keras_progress
from labutils.training.config import EXPERIMENTS, Experiment, TrainingConfig
from labutils.training.loop import LossModel, train, training_batches
from labutils.training.step import draw_noise, noise_prediction_loss, training_step

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "LossModel",
    "TrainingConfig",
    "draw_noise",
    "keras_progress",
    "noise_prediction_loss",
    "train",
    "training_batches",
    "training_step",
]
