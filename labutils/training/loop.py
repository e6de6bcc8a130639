"""The training run: :func:`labutils.training.training_step` for every batch, by Keras' ``fit`` as one compiled graph.

The order of the images, t and ε depend on (seed, epoch, step) alone. So a resumed run sees exactly the batches of a run
that was never killed, and ends with the same weights.
"""

import hashlib
import itertools
from dataclasses import asdict

import keras
import numpy as np

from labutils.data import check_images
from labutils.networks import NO_LABEL, check_known
from labutils.schedule import check_same_shape
from labutils.support.arguments import check_count
from labutils.support.startup import keep_freed_memory
from labutils.training.config import TrainingConfig
from labutils.training.run_state import RunState
from labutils.training.step import draw_noise

VALIDATION_SEED = 20_000


class LossModel(keras.Model):
    """Lets Keras' ``fit`` minimise :meth:`labutils.diffusion.Diffusion.loss`.

    The inputs are those of the loss: x_0 (B, …), t (B,) integers, ε (B, …) and perhaps a condition. The output is the
    loss itself, so ``fit`` needs no targets: it gets batches (inputs,).

    Args:
        diffusion: labutils.diffusion.Diffusion; its network is trained.
    """

    def __init__(self, diffusion):
        super().__init__()
        self.diffusion = diffusion
        self.network = diffusion.network  # Keras looks for weights here

    def call(self, inputs):
        """The loss of one batch."""
        return self.diffusion.loss(*inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """What ``fit`` minimises: the output."""
        return y_pred


def train(
    diffusion,
    images,
    epochs,
    *,
    config=None,
    seed=0,
    condition=None,
    noise=None,
    validation_images=None,
    validation_condition=None,
    latents=False,
    state_file=None,
    callbacks=(),
):
    """Train a network in place: shuffled batches, t uniform, the optimiser of the config.

    Args:
        diffusion: labutils.diffusion.Diffusion. For the same result after a kill, build its network with the same seed.
        images: float32 (N, H, W, C) in [-1, 1]; with ``latents``, of any size.
        epochs: train until this many epochs are done. The epochs of an earlier run that is resumed count too.
        config: TrainingConfig; None for that of the classic network.
        seed: makes the run repeatable.
        condition: for a conditional network: labels (N,), or tokens (N, L), see labutils.caption_data.tokenize. None
            for an unconditional one.
        noise: the ε that belongs to each image, (N, H, W, C); None for new noise in each batch, as in diffusion.
        validation_images: if given, ``val_loss`` is measured on them after each epoch, always with the same t and ε.
        validation_condition: their conditions; needed if ``condition`` and ``validation_images`` are given.
        latents: True if the images are latents of an autoencoder, which have no bounds.
        state_file: an ``.npz``. If given, the state is saved there after each epoch. If it exists, the run goes on from
            there.
        callbacks: Keras callbacks.

    Returns:
        dict: ``loss``, ``seconds``, ``cpu_seconds`` and, with ``validation_images``, ``val_loss``: each a list with one
        number per epoch, also for the epochs of an earlier run that is resumed.

    Raises:
        ValueError: bad arguments, such as a label that the network does not know; or a state file that belongs to
            another run.
    """
    keep_freed_memory()
    check = check_latents if latents else check_images
    images = check(images, "images")
    config = config or TrainingConfig()
    network, T = diffusion.network, diffusion.schedule.T
    check_count("epochs", epochs)
    check_count("seed", seed, low=0)
    condition = _check_condition(network, condition, images, "condition")
    if noise is not None:
        noise = check_latents(noise, "noise")
        check_same_shape("noise", noise, "images", images)
    if validation_condition is not None and (condition is None or validation_images is None):
        raise ValueError("validation_condition needs condition and validation_images")
    if condition is not None and validation_images is not None and validation_condition is None:
        raise ValueError("condition and validation_images are given, so validation_condition must be given too")
    validation_condition = _check_condition(network, validation_condition, validation_images, "validation_condition")
    steps_per_epoch = -(-len(images) // config.batch_size)
    optimizer = config.optimizer(steps_per_epoch)
    model = LossModel(diffusion)
    # Measured (benchmarks/results/speed.json): on a CPU, XLA trains the classic network at 0.8 of the rate of oneDNN.
    model.compile(optimizer, jit_compile=False)
    optimizer.build(network.trainable_variables)

    run = {
        "seed": int(seed),
        **asdict(config),
        "prediction": diffusion.prediction,
        "images": hashlib.sha256(np.ascontiguousarray(images)).hexdigest(),
        "condition": None if condition is None else hashlib.sha256(condition).hexdigest(),
        "schedule": hashlib.sha256(diffusion.schedule.betas).hexdigest(),
        **({} if noise is None else {"noise": hashlib.sha256(np.ascontiguousarray(noise)).hexdigest()}),
    }
    state = RunState(state_file, network, optimizer, run)
    validation = None
    if validation_images is not None:
        x0 = check(validation_images, "validation_images")
        # One fixed draw of t and ε, so that the losses of different epochs can be compared.
        inputs = x0, *draw_noise(x0, T, np.random.default_rng(VALIDATION_SEED))
        validation = ((*inputs, validation_condition) if condition is not None else inputs,)
    done = len(state.history["loss"])
    if done < epochs:
        conditions = condition, config.condition_dropout
        batches = training_batches(images, diffusion.draw_t, config.batch_size, seed, done, *conditions, noise)
        model.fit(
            ((batch,) for batch in batches),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=done,
            epochs=epochs,
            validation_data=validation,
            validation_batch_size=250,
            shuffle=False,  # the batches are already shuffled
            # SwapEMAWeights measures ``val_loss`` with the averaged weights.
            callbacks=[state, *([keras.callbacks.SwapEMAWeights()] if config.average else []), *callbacks],
            verbose=0,
        )  # with `average`, Keras leaves the averaged weights in the network
    elif config.average:
        optimizer.finalize_variable_values(network.trainable_variables)
    return state.history


def check_latents(latents, name):
    """Return ``latents`` as float32, or raise ``ValueError`` unless they are (N, H, W, C) and finite."""
    latents = np.asarray(latents, dtype=np.float32)
    if latents.ndim != 4 or not latents.size or not np.isfinite(latents).all():
        raise ValueError(f"{name} must be finite latents with shape (N, H, W, C), got shape {latents.shape}")
    return latents


def _check_condition(network, condition, images, name):
    """Return ``condition`` as int32 (N,) or (N, L), or None for None.

    Raises:
        ValueError: unless there is one per image, and the network knows all of them.
    """
    if condition is None:
        return None
    condition = np.asarray(condition)
    one_each = condition.ndim in (1, 2) and len(condition) == len(images) and condition.shape[1:] != (1,)
    if not one_each or not np.issubdtype(condition.dtype, np.integer):
        raise ValueError(
            f"{name} must be {len(images)} integers, one per image, with shape ({len(images)},), or tokens with "
            f"shape ({len(images)}, L); got {condition.dtype} {condition.shape}"
        )
    check_known(network, condition, name)
    return np.ascontiguousarray(condition, dtype=np.int32)


def training_batches(
    images, draw_t, batch_size, seed, first_epoch=0, condition=None, condition_dropout=0.0, noise=None
):
    """Yield training batches (x_0, t, ε), or (x_0, t, ε, condition), for ever, epoch after epoch.

    Args:
        images: (N, H, W, C).
        draw_t: function (count, rng) → steps t, see :meth:`labutils.diffusion.Diffusion.draw_t`.
        batch_size: the last batch of an epoch may be smaller.
        seed, first_epoch: every batch is a function of (seed, epoch, step), so a run can start at any epoch.
        condition: (N,) or (N, L) integers, or None.
        condition_dropout: proportion of the conditions replaced by NO_LABEL, in tokens at each place.
        noise: the ε of each image, shape of ``images``; None for new noise in each batch.
    """
    starts = range(0, len(images), batch_size)
    for epoch in itertools.count(first_epoch):
        order = np.random.default_rng([seed, epoch, 0]).permutation(len(images))
        for step, start in enumerate(starts):
            rng = np.random.default_rng([seed, epoch, step + 1])
            chosen = order[start : start + batch_size]
            x0, t = images[chosen], draw_t(len(chosen), rng)
            batch = x0, t, rng.standard_normal(x0.shape, dtype=np.float32) if noise is None else noise[chosen]
            if condition is not None:
                shown = condition[chosen]
                shown[rng.random(len(chosen)) < condition_dropout] = NO_LABEL
                batch = (*batch, shown.astype(np.int32))
            yield batch
