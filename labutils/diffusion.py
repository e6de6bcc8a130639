"""A diffusion model: a network, and the schedule, the prediction type and the guidance that belong to it.

The same weights draw noise if they are read with another schedule or another prediction type. So the four travel
together.
"""

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.networks import NO_LABEL, check_known, network_time
from labutils.schedule import NoiseSchedule, check_prediction


@dataclass(frozen=True)
class Diffusion:
    """A network and what it was trained for.

    Attributes:
        network: callable of [x_t (B, …), t/T (B, 1)], and of a condition if it is conditional: a Keras model, or any
            function of tensors.
        schedule: labutils.schedule.NoiseSchedule.
        prediction: what the network predicts, one of labutils.schedule.PREDICTIONS.
        guidance: the weight w ≥ 0 of classifier-free guidance; an unconditional network has none.

    Raises:
        ValueError: unknown prediction, or negative guidance.
    """

    network: Any
    schedule: NoiseSchedule
    prediction: str = "noise"
    guidance: float = 0.0

    def __post_init__(self):
        check_prediction(self.prediction)
        if not self.guidance >= 0:  # written so that NaN fails too
            raise ValueError(f"guidance must be at least 0, got {self.guidance}")

    def loss(self, x0, t, noise, condition=None):
        """The loss of one batch: the mean squared error of the prediction over images and pixels (DDPM eq. 14).

        Args:
            x0: (B, …), for images in [-1, 1]. t: (B,) integers. noise: ε, shape of ``x0``.
            condition: as in :meth:`predict`.

        Returns:
            A tensor with one number, through which gradients can flow.
        """
        xt = self.schedule.add_noise(x0, t, noise)
        target = self.schedule.target(x0, t, noise, self.prediction)
        return ops.mean((self.predict(xt, t, condition) - target) ** 2)

    def predict(self, xt, t, condition=None, guidance=0.0):
        """The output of the network: ε_θ(x_t, t), or what else it predicts.

        Args:
            xt: noisy data, (B, …).
            t: integer steps, (B,), or one for all.
            condition: labels (B,), tokens (B, L) or numbers (B, D); None for an unconditional network.
            guidance: the weight w, see :func:`guided`.

        Returns:
            Tensor of the shape of ``xt``.
        """
        xt = ops.convert_to_tensor(xt)
        time = network_time(ops.broadcast_to(t, ops.shape(xt)[:1]), self.schedule.T)
        if condition is None:
            return self.network([xt, time])
        return guided(self.network, xt, time, condition, guidance)

    def predict_x0(self, xt, t, condition=None):
        """x̂_0, the clean image that the network's prediction implies, with this object's guidance.

        Args:
            xt, t, condition: as in :meth:`predict`.

        Returns:
            Tensor of the shape of ``xt``; not clipped, so it may leave [-1, 1].
        """
        return self.schedule.predict_x0(xt, t, self.predict(xt, t, condition, self.guidance), self.prediction)

    def predict_noise(self, xt, t, condition=None):
        """The noise that the prediction implies, ε = (x_t − √ᾱ_t x̂_0) / √(1 - ᾱ_t); arguments as above."""
        if self.prediction == "noise":
            return self.predict(xt, t, condition, self.guidance)
        signal_scale, noise_scale = self.schedule.scales(t, len(xt.shape))
        return (xt - signal_scale * self.predict_x0(xt, t, condition)) / noise_scale

    def draw_t(self, count, rng):
        """The steps of a training batch: uniform in 0 … T - 1 (DDPM, algorithm 1, line 3).

        Args:
            count: number of images, B. rng: NumPy generator.

        Returns:
            (B,) int32.
        """
        return rng.integers(0, self.schedule.T, size=count, dtype=np.int32)

    def with_guidance(self, guidance):
        """The same model with another weight w."""
        return replace(self, guidance=guidance)

    @property
    def shape(self):
        """The shape of one image, (H, W, C).

        Raises:
            ValueError: the network is a plain function, which takes images of many shapes.
        """
        inputs = getattr(self.network, "inputs", None)
        if not inputs:
            raise ValueError("the network is a plain function, so the shape (H, W, C) of an image must be given")
        return tuple(inputs[0].shape[1:])

    @property
    def is_conditional(self):
        """Whether the network needs a condition."""
        return len(getattr(self.network, "inputs", ())) > 2

    def check_condition(self, condition, count):
        """Raise ``ValueError`` unless there is one condition for each of ``count`` images, or none is needed."""
        if condition is None and not self.is_conditional:
            return
        takes_none = hasattr(self.network, "inputs") and not self.is_conditional  # a plain function may take one
        if condition is None or takes_none or len(condition) != count:
            raise ValueError(
                f"a conditional network needs one condition for each of the {count} images, another network none; "
                f"got {'none' if condition is None else len(condition)}"
            )
        if np.issubdtype(np.asarray(condition).dtype, np.integer) or hasattr(self.network, "label_count"):
            check_known(self.network, condition, "condition")


@dataclass(frozen=True)
class Autoguided(Diffusion):
    """Autoguidance (Karras et al. 2024, https://arxiv.org/abs/2406.02507, eq. 3): away from a weaker network.

    x̂_0 + w (x̂_0 − x̂_0 of the weak network). Both networks make the same kind of mistakes, and the weak one makes larger
    ones. So the difference points away from the mistakes. It needs no label. Each call is a call of both networks.

    Attributes:
        weak: Diffusion with the same schedule and prediction; for example an early state of the same run.
        weight: w ≥ 0; 0 gives the strong network.

    Raises:
        ValueError: the two do not fit, or a negative weight.
    """

    _: KW_ONLY
    weak: Diffusion
    weight: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        if not self.weight >= 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")
        same = self.weak.prediction == self.prediction and np.array_equal(self.weak.schedule.betas, self.schedule.betas)
        if not same or self.weak.is_conditional != self.is_conditional:
            raise ValueError("weak must have the schedule, the prediction and the inputs of the strong network")

    def predict(self, xt, t, condition=None, guidance=0.0):
        """The output of both networks; x̂_0, ε and v are linear in each other, so what holds for x̂_0 holds for it."""
        strong, weak = (predict(xt, t, condition, guidance) for predict in (super().predict, self.weak.predict))
        return strong + self.weight * (strong - weak)


def autoguided(diffusion, weak, weight):
    """A Diffusion with :class:`Autoguided` added; its own guidance stays."""
    return Autoguided(
        diffusion.network, diffusion.schedule, diffusion.prediction, diffusion.guidance, weak=weak, weight=weight
    )


def loss_weight(implied, alpha_bar, count=1000):
    """How much one unit of squared error of x̂_0 counts in the loss of a prediction, found by trial.

    Args:
        implied: function (x0, xt, ᾱ) → the answer of a network that predicts x0 from xt.
        alpha_bar: ᾱ, in (0, 1). count: numbers that are tried.

    Returns:
        float: 1 for x_0, SNR for ε, SNR + 1 for v.
    """
    x0, noise, d = np.random.default_rng(0).standard_normal((3, count))
    xt = np.sqrt(alpha_bar) * x0 + np.sqrt(1.0 - alpha_bar) * noise
    error = implied(x0 + d, xt, alpha_bar) - implied(x0, xt, alpha_bar)
    return float(np.mean(error**2) / np.mean(d**2))


def guided(network, x, time, condition, weight):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

    (1 + w) · f(x, condition) − w · f(x, no condition)

    Args:
        network: callable of [x, t/T, condition]; NO_LABEL stands for "no condition", for tokens at each place.
        x: (B, H, W, C). time: (B, 1). condition: labels (B,) or tokens (B, L).
        weight: w ≥ 0; 0 follows the condition without exaggeration, and needs one call of the network instead of two.
    """
    x, time, condition = (tf.convert_to_tensor(part) for part in (x, time, condition))
    conditional = network([x, time, condition])
    if weight == 0:
        return conditional
    unconditional = network([x, time, tf.fill(tf.shape(condition), tf.cast(NO_LABEL, condition.dtype))])
    return (1 + weight) * conditional - weight * unconditional
