"""How networks are trained.

- ``step``: one training step, as the paper has it; the loss
- ``loop``: :func:`train`, the same step for every batch of a run that may be stopped and resumed
- ``config``: learning rate, target and the like; the plans by which the lab's checkpoints were trained
- ``run_state``: the state of a run on disk
"""

from labutils.support.progress import keras_progress
from labutils.training.config import PLANS, Plan, Recipe
from labutils.training.loop import NoisePredictor, noise_batches, train
from labutils.training.step import draw_noise, mean_loss, noise_mse, training_step

__all__ = [
    "PLANS",
    "NoisePredictor",
    "Plan",
    "Recipe",
    "draw_noise",
    "keras_progress",
    "mean_loss",
    "noise_batches",
    "noise_mse",
    "train",
    "training_step",
]
