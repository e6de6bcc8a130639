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
from labutils.networks import NO_LABEL, check_known, network_time
from labutils.training.config import Recipe
from labutils.training.run_state import RunState
from labutils.training.step import draw_noise

VALIDATION_SEED = 20_000


def train(
    network,
    schedule,
    images,
    epochs,
    *,
    recipe=None,
    seed=0,
    labels=None,
    validation_images=None,
    validation_labels=None,
    latents=False,
    state_file=None,
    callbacks=(),
    verbose=0,
):
    """Train ``network`` in place: shuffled batches, t uniform, the recipe's optimiser.

    A Keras model remembers the recipe's target: labutils.sampling draws from it accordingly.

    Args:
        network: see NoisePredictor. For the same result after a kill, build it with the same seed.
        schedule: labutils.schedule.NoiseSchedule.
        images: float32 (N, H, W, C) in [-1, 1]; with ``latents``, of any size.
        epochs: train until this many epochs are done. The epochs of an earlier run that is resumed count too.
        recipe: Recipe; None for the classic one.
        seed: makes the run repeatable.
        labels: for a network that is told what to draw: (N,) integers, or captions (N, L) of integers, see
            labutils.caption_data.encode. None for one that is not.
        validation_images: if given, ``val_loss`` is measured on them after each epoch, always with the same t and ε.
        validation_labels: their labels; needed if ``labels`` and ``validation_images`` are given.
        latents: True if the images are latents of an autoencoder, which have no bounds.
        state_file: an ``.npz``. If given, the state is saved there after each epoch. If it exists, the run goes on from
            there.
        callbacks: Keras callbacks.
        verbose: as in ``fit``.

    Returns:
        dict: ``loss``, ``seconds``, ``cpu_seconds`` and, with ``validation_images``, ``val_loss``: each a list with one
        number per epoch, also for the epochs of an earlier run that is resumed.

    Raises:
        ValueError: bad arguments, such as a label that the network does not know; or a state file that belongs to
            another run.
    """
    check = check_latents if latents else check_images
    images = check(images, "images")
    recipe = recipe or Recipe()
    if not isinstance(epochs, (int, np.integer)) or epochs < 1:
        raise ValueError(f"epochs must be an integer of at least 1, got {epochs!r}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    labels = _check_labels(network, labels, images, "labels")
    if validation_labels is not None and (labels is None or validation_images is None):
        raise ValueError("validation_labels need labels and validation_images")
    if labels is not None and validation_images is not None and validation_labels is None:
        raise ValueError("labels and validation_images are given, so validation_labels must be given too")
    validation_labels = _check_labels(network, validation_labels, validation_images, "validation_labels")
    steps_per_epoch = -(-len(images) // recipe.batch_size)
    optimizer = recipe.optimizer(steps_per_epoch)
    model = NoisePredictor(network, schedule)
    # Measured: XLA needs twice the time of TensorFlow's own kernels (oneDNN) for these convolutions on a CPU.
    model.compile(optimizer, loss="mse", jit_compile=False)
    optimizer.build(network.trainable_variables)

    run = {
        "seed": int(seed),
        **asdict(recipe),
        "images": hashlib.sha256(np.ascontiguousarray(images)).hexdigest(),
        "labels": None if labels is None else hashlib.sha256(labels).hexdigest(),
        "schedule": hashlib.sha256(schedule.betas).hexdigest(),
    }
    state = RunState(state_file, network, optimizer, run)
    network.target = recipe.target  # before the first step: callbacks draw during the run

    validation = None
    if validation_images is not None:
        x0 = check(validation_images, "validation_images")
        # One fixed draw of t and ε, so that the losses of different epochs can be compared.
        t, noise = draw_noise(x0, schedule.T, np.random.default_rng(VALIDATION_SEED))
        conditions = () if labels is None else (validation_labels,)
        validation = recipe.batch(schedule, (x0, t, noise, *conditions), noise)
    done = len(state.history["loss"])
    if done < epochs:
        batches = noise_batches(images, schedule.T, recipe.batch_size, seed, done, labels, recipe.label_dropout)
        model.fit(
            (recipe.batch(schedule, *batch) for batch in batches),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=done,
            epochs=epochs,
            validation_data=validation,
            validation_batch_size=250,
            shuffle=False,  # the batches are already shuffled
            # SwapEMAWeights measures ``val_loss`` with the averaged weights.
            callbacks=[state, *([keras.callbacks.SwapEMAWeights()] if recipe.average else []), *callbacks],
            verbose=verbose,
        )  # with `average`, Keras leaves the averaged weights in the network
    elif recipe.average:
        optimizer.finalize_variable_values(network.trainable_variables)
    return state.history


def check_latents(latents, name):
    """Return ``latents`` as float32, or raise ``ValueError`` unless they are (N, H, W, C) and finite."""
    latents = np.asarray(latents, dtype=np.float32)
    if latents.ndim != 4 or not latents.size or not np.isfinite(latents).all():
        raise ValueError(f"{name} must be finite latents with shape (N, H, W, C), got shape {latents.shape}")
    return latents


def _check_labels(network, labels, images, name):
    """Return ``labels`` as int32 (N,) or (N, L), or None for None.

    Raises:
        ValueError: unless there is one per image, and the network knows all of them.
    """
    if labels is None:
        return None
    labels = np.asarray(labels)
    one_each = labels.ndim in (1, 2) and len(labels) == len(images) and labels.shape[1:] != (1,)
    if not one_each or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} must be {len(images)} integers, one per image, with shape ({len(images)},), or captions with "
            f"shape ({len(images)}, L); got {labels.dtype} {labels.shape}"
        )
    check_known(network, labels, name)
    return np.ascontiguousarray(labels, dtype=np.int32)


class NoisePredictor(keras.Model):
    """Wraps a network so that ``fit`` trains it to predict noise.

    Inputs are x_0 (B, …), t (B,) integers, ε (B, …) and perhaps conditions, such as labels or lesson 1's y. Images have
    the shape (B, H, W, C). The output is ε_θ(x_t, t).

    Args:
        network: takes [x_t, t/T (B, 1), …] and returns predicted noise of the shape of x_t.
        schedule: labutils.schedule.NoiseSchedule.
    """

    def __init__(self, network, schedule):
        super().__init__()
        self.network = network
        self.schedule = schedule

    def call(self, inputs):
        """Add the given noise to x_0 and let the network predict it."""
        x0, t, noise, *conditions = inputs
        xt = self.schedule.add_noise(x0, t, noise)
        return self.network([xt, network_time(t, self.schedule.T), *conditions])


def noise_batches(images, T, batch_size, seed, first_epoch=0, labels=None, label_dropout=0.0):
    """Yield training batches ((x_0, t, ε), ε), or ((x_0, t, ε, label), ε), for ever, epoch after epoch.

    Args:
        images: (N, H, W, C).
        T: t is drawn uniformly from 0 … T - 1.
        batch_size: the last batch of an epoch may be smaller.
        seed, first_epoch: every batch is a function of (seed, epoch, step), so a run can start at any epoch.
        labels: (N,) or (N, L) integers, or None.
        label_dropout: share of the labels replaced by NO_LABEL, in a caption at every place.
    """
    starts = range(0, len(images), batch_size)
    for epoch in itertools.count(first_epoch):
        order = np.random.default_rng([seed, epoch, 0]).permutation(len(images))
        for step, start in enumerate(starts):
            rng = np.random.default_rng([seed, epoch, step + 1])
            chosen = order[start : start + batch_size]
            t, noise = draw_noise(images[chosen], T, rng)
            inputs = (images[chosen], t, noise)
            if labels is not None:
                told = labels[chosen]
                told[rng.random(len(chosen)) < label_dropout] = NO_LABEL
                inputs = (*inputs, told.astype(np.int32))
            yield inputs, noise
