"""From noise to weights: the loss, the training run, and how it survives being killed.

Training is supervised regression. One example is (x_0, t, ε); the network sees x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε and t/T,
and shall answer ε. The loss is the mean squared error, DDPM eq. 14 ("L_simple").

Order, t and ε of every step are functions of (seed, epoch, step) alone. So a run that was killed and resumed sees
exactly the batches it would have seen, and ends with the same weights.
"""

import hashlib
import itertools
from dataclasses import asdict

import keras
import numpy as np
from keras import ops

from labutils.data import check_images
from labutils.recipe import Recipe
from labutils.run_state import RunState

NO_LABEL = -1  # what a network with labels is given where it shall not know


class NoisePredictor(keras.Model):
    """Wraps a network so that ``fit`` trains it to predict noise.

    Inputs are (x_0 (B, …), t (B,) int, ε (B, …)), for images (B, H, W, C), and whatever else the network is given to
    know, such as lesson 1's y; the output is ε_θ(x_t, t).

    Args:
        network: takes [x_t, t/T (B, 1), …] and returns predicted noise of the shape of x_t.
        schedule: labutils.schedule.NoiseSchedule.
    """

    def __init__(self, network, schedule):
        super().__init__()
        self.network = network
        self.schedule = schedule

    def call(self, inputs):
        """Add the given noise to the images and let the network find it."""
        x0, t, noise, *conditions = inputs
        xt = self.schedule.add_noise(x0, t, noise)
        return self.network([xt, network_time(t, self.schedule.T), *conditions])


def network_time(t, T):
    """What the network sees of t: the fraction t/T as a column (B, 1), float32."""
    return ops.reshape(ops.cast(t, "float32") / T, (-1, 1))


def noise_batches(images, T, batch_size, seed, first_epoch=0, labels=None, label_dropout=0.0):
    """Yield training batches ((x_0, t, ε), ε), or ((x_0, t, ε, label), ε), for ever, epoch after epoch.

    Args:
        images: (N, H, W, C).
        T: t is drawn uniformly from 0 … T - 1.
        batch_size: the last batch of an epoch may be smaller.
        seed, first_epoch: every batch is a function of (seed, epoch, step), so a run can start at any epoch.
        labels: (N,) integers, or None.
        label_dropout: share of the labels replaced by NO_LABEL.
    """
    starts = range(0, len(images), batch_size)
    for epoch in itertools.count(first_epoch):
        order = np.random.default_rng([seed, epoch, 0]).permutation(len(images))
        for step, start in enumerate(starts):
            rng = np.random.default_rng([seed, epoch, step + 1])
            chosen = order[start : start + batch_size]
            inputs, noise = draw_noise(images[chosen], T, rng)
            if labels is not None:
                told = np.where(rng.random(len(chosen)) < label_dropout, NO_LABEL, labels[chosen])
                inputs = (*inputs, told.astype(np.int32))
            yield inputs, noise


def draw_noise(x0, T, rng):
    """One batch ((x_0, t, ε), ε): t uniform in 0 … T - 1, ε standard normal, both from the NumPy generator ``rng``."""
    t = rng.integers(0, T, size=len(x0), dtype=np.int32)
    noise = rng.standard_normal(x0.shape, dtype=np.float32)
    return (x0, t, noise), noise


def train(network, schedule, images, epochs, *, recipe=None, seed=0, labels=None, validation_images=None,
          validation_labels=None, state_file=None, callbacks=(), verbose=0):  # fmt: skip
    """Train ``network`` in place: shuffled batches, t uniform, the recipe's optimiser.

    Args:
        network: see NoisePredictor. For the same result after a kill, build it with the same seed.
        schedule: labutils.schedule.NoiseSchedule.
        images: float32 (N, H, W, C) in [-1, 1].
        epochs: train until this many epochs are done, those of an earlier, resumed run included.
        recipe: Recipe; None for the classic one.
        seed: makes the run repeatable.
        labels: (N,) integers, for a network that is told what the image shows.
        validation_images: if given, ``val_loss`` is measured on them after each epoch, always with the same t and ε.
        validation_labels: their labels.
        state_file: if given, the state is saved there after each epoch, and picked up from there if it exists.
        callbacks: Keras callbacks.
        verbose: as in ``fit``.

    Returns:
        dict: ``loss``, ``seconds`` and perhaps ``val_loss``, each a list with one number per epoch from the first on.

    Raises:
        ValueError: bad arguments, or a state file that belongs to another run.
    """
    images = check_images(images)
    recipe = recipe or Recipe()
    if not isinstance(epochs, (int, np.integer)) or epochs < 1:
        raise ValueError(f"epochs must be an integer of at least 1, got {epochs!r}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
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
        "schedule": hashlib.sha256(schedule.betas).hexdigest(),
    }
    state = RunState(state_file, network, optimizer, run)

    validation = None
    if validation_images is not None:
        inputs, noise = validation_batch(validation_images, schedule.T)
        told = () if labels is None else (validation_labels.astype(np.int32),)
        validation = recipe.ask(schedule, (*inputs, *told), noise)
    done = len(state.history["loss"])
    if done < epochs:
        batches = noise_batches(images, schedule.T, recipe.batch_size, seed, done, labels, recipe.label_dropout)
        model.fit(
            (recipe.ask(schedule, *batch) for batch in batches),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=done,
            epochs=epochs,
            validation_data=validation,
            validation_batch_size=250,
            shuffle=False,  # the batches come shuffled
            # SwapEMAWeights measures ``val_loss`` with the averaged weights.
            callbacks=[state, *([keras.callbacks.SwapEMAWeights()] if recipe.average else []), *callbacks],
            verbose=verbose,
        )  # with `average`, Keras leaves the averaged weights in the network
    elif recipe.average:
        optimizer.finalize_variable_values(network.trainable_variables)
    return state.history


def mean_loss(network, schedule, x0, t, noise):
    """The loss of one batch: the mean of (ε_θ(x_t, t) − ε)² over images and pixels (DDPM eq. 14).

    Args:
        network, schedule: as in :class:`NoisePredictor`.
        x0: (B, …). t: (B,) integers. noise: ε, shape of ``x0``.

    Returns:
        A tensor with one number, through which gradients can flow.
    """
    xt = schedule.add_noise(x0, t, noise)
    return ops.mean((network([xt, network_time(t, schedule.T)]) - noise) ** 2)


def validation_batch(images, T, seed=20_000):
    """All ``images`` with one fixed draw of t and ε each, as ((x_0, t, ε), ε): the same numbers after every epoch."""
    return draw_noise(check_images(images, "validation_images"), T, np.random.default_rng(seed))


def noise_mse(network, schedule, images, t=None, seed=20_000, batch_size=250):
    """Mean squared error of the predicted noise, the number training minimises (DDPM eq. 14).

    Args:
        network, schedule: as in :func:`train`.
        images: (N, H, W, C) in [-1, 1].
        t: one step for all images, a pair (first, end) for t drawn uniformly from first … end - 1, or None for all T.
        seed: of t and ε, so that networks are compared on the same noise.
        batch_size: images per call.

    Returns:
        float. A network that answers 0 scores 1.0, the variance of the noise.

    Raises:
        ValueError: t out of range, or images out of [-1, 1].
    """
    first, end = (0, schedule.T) if t is None else (t, t + 1) if np.ndim(t) == 0 else t
    if not (first < end and batch_size >= 1):
        raise ValueError(f"t must be one step or (first, end) with first < end, and batch_size at least 1; got {t}, "
                         f"{batch_size}")  # fmt: skip
    schedule.check_t(np.array([first, end - 1]))
    rng = np.random.default_rng(seed)
    images = check_images(images)
    total = 0.0
    for start in range(0, len(images), batch_size):
        (x0, steps, noise), _ = draw_noise(images[start : start + batch_size], end - first, rng)
        total += float(mean_loss(network, schedule, x0, steps + first, noise)) * len(x0)
    return total / len(images)
