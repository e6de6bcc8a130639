"""One training step as in the paper, and the loss on images that training does not see.

Training is supervised regression. One example is (x_0, t, ε). The network sees x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε and t/T,
and predicts ε. The loss is the mean squared error, DDPM eq. 14 ("L_simple"): :meth:`labutils.diffusion.Diffusion.loss`.
"""

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.data import check_images
from labutils.support.startup import keep_freed_memory


def training_step(diffusion, optimizer, x0, t, noise, condition=None):
    """One step of training: lines 2 to 5 of algorithm 1 of the DDPM paper, for one batch.

    :func:`labutils.training.train` repeats this step as one compiled graph.

    Args:
        diffusion: labutils.diffusion.Diffusion; the weights of its network are changed.
        optimizer: a Keras optimizer.
        x0, t, noise: one batch: clean images (B, …), and t (B,) and ε from :func:`draw_noise`.
        condition: as in :meth:`labutils.diffusion.Diffusion.predict`.

    Returns:
        The loss before the step, a tensor with one number.
    """
    keep_freed_memory()
    weights = diffusion.network.trainable_variables
    with tf.GradientTape() as tape:
        loss = diffusion.loss(x0, t, noise, condition)  # ‖ε − ε_θ(x_t, t)‖²
    optimizer.apply(tape.gradient(loss, weights), weights)  # ∇_θ
    return loss


def draw_noise(x0, T, rng):
    """The random part of a batch (algorithm 1, lines 3 and 4).

    Args:
        x0: (B, …). T: number of diffusion steps. rng: NumPy generator.

    Returns:
        (t, ε): t uniform in 0 … T - 1, (B,) int32; ε standard normal, float32 of the shape of ``x0``.
    """
    t = rng.integers(0, T, size=len(x0), dtype=np.int32)
    noise = rng.standard_normal(x0.shape, dtype=np.float32)
    return t, noise


def noise_prediction_loss(diffusion, images, t=None, seed=20_000, batch_size=250):
    """Mean squared error of the predicted noise over images and steps (DDPM eq. 14).

    Args:
        diffusion: labutils.diffusion.Diffusion of an unconditional network, with any prediction.
        images: (N, H, W, C) in [-1, 1].
        t: one step for all images, a pair (first, end) for t drawn uniformly from first … end - 1, or None for all T.
        seed: of t and ε, so that networks are compared on the same noise.
        batch_size: images per call.

    Returns:
        float. A network that predicts 0 everywhere has an error of about 1, the variance of the noise.

    Raises:
        ValueError: t out of range, or images out of [-1, 1].
    """
    schedule = diffusion.schedule
    first, end = (0, schedule.T) if t is None else (t, t + 1) if np.ndim(t) == 0 else t
    if not (first < end and batch_size >= 1):
        raise ValueError(
            f"t must be one step or (first, end) with first < end, and batch_size at least 1; got {t}, {batch_size}"
        )
    schedule.check_t(np.array([first, end - 1]))
    rng = np.random.default_rng(seed)
    images = check_images(images)
    total = 0.0
    for start in range(0, len(images), batch_size):
        x0 = images[start : start + batch_size]
        steps, noise = draw_noise(x0, end - first, rng)
        predicted = diffusion.predict_noise(schedule.add_noise(x0, first + steps, noise), first + steps)
        total += float(ops.mean((predicted - noise) ** 2)) * len(x0)
    return total / len(images)
