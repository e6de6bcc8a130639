"""How a network is trained: what the optimiser does, and what the network is asked for."""

from dataclasses import dataclass, replace

import keras
import numpy as np

from labutils.schedule import check_target


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, with Adam and the mean squared error. The defaults are the classic recipe.

    Attributes:
        batch_size: images per step.
        learning_rate: of Adam; 2e-4 as in the DDPM paper. The largest, if it changes.
        warmup_steps: the rate rises from 0 over so many steps.
        decay_epochs: None, or the rate falls along a cosine and reaches 0 after so many epochs.
        average: None, or the momentum of an exponential moving average of the weights, which are what the run returns.
            It looks back over about 1/(1 - average) steps.
        clip_norm: None, or a gradient longer than this (all weights together) is shortened to it. A single bad step can
            otherwise throw a run with a large rate off its path, from which it may not return.
        target: what the network predicts, one of labutils.schedule.TARGETS.
        min_snr: None, or γ of Min-SNR weighting (Hang et al. 2023, arXiv:2303.09556): the error of x̂_0 counts
            min(SNR, γ), whatever the network predicts.
        label_dropout: share of the labels that are hidden from a network with labels, so that it also learns to do
            without (Ho & Salimans 2022, arXiv:2207.12598).
    """

    batch_size: int = 64
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    decay_epochs: int | None = None
    average: float | None = None
    clip_norm: float | None = None
    target: str = "noise"
    min_snr: float | None = None
    label_dropout: float = 0.1

    def __post_init__(self):
        if not isinstance(self.batch_size, (int, np.integer)) or self.batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1, got {self.batch_size!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.warmup_steps < 0 or (self.decay_epochs is not None and self.decay_epochs < 1):
            raise ValueError(f"warmup_steps must be at least 0 and decay_epochs at least 1, got {self.warmup_steps}, "
                             f"{self.decay_epochs}")  # fmt: skip
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average must lie between 0 and 1, got {self.average}")
        for name in ("min_snr", "clip_norm"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must lie in 0 … 1, got {self.label_dropout}")
        check_target(self.target)

    def optimizer(self, steps_per_epoch):
        """Adam, with the rate and the averaging of this recipe."""
        rate = self.learning_rate
        if self.warmup_steps or self.decay_epochs:
            # A constant rate after the warm-up is a cosine that has hardly begun to fall.
            end = self.decay_epochs * steps_per_epoch if self.decay_epochs else 10**9
            rate = keras.optimizers.schedules.CosineDecay(
                0.0 if self.warmup_steps else rate, max(end - self.warmup_steps, 1),
                warmup_target=rate if self.warmup_steps else None, warmup_steps=self.warmup_steps,
            )  # fmt: skip
        return keras.optimizers.Adam(rate, global_clipnorm=self.clip_norm, use_ema=self.average is not None,
                                     ema_momentum=self.average or 0.99)  # fmt: skip

    def for_run(self, epochs, steps_per_epoch):
        """This recipe cut to a run's length.

        A rate that falls reaches 0 at the end, the warm-up takes a tenth at most, and an average of the weights looks
        back over an eighth at most: over more, the untrained weights of the start would still be in it.
        """
        steps = epochs * steps_per_epoch
        return replace(
            self,
            decay_epochs=self.decay_epochs and epochs,
            warmup_steps=min(self.warmup_steps, steps // 10),
            average=self.average and min(self.average, max(1 - 8 / steps, 0.5)),
        )

    def ask(self, schedule, inputs, noise):
        """What Keras is given for one batch: inputs, what the network shall answer, and perhaps weights.

        Args:
            schedule: labutils.schedule.NoiseSchedule.
            inputs: (x_0, t, ε) and perhaps labels, NumPy arrays. noise: ε.

        Returns:
            (inputs, answer), or with ``min_snr`` (inputs, answer, weights): one weight for each image, shaped (B, 1, 1)
            for images, as Keras wants it.
        """
        x0, t, *_ = inputs
        answer = noise if self.target == "noise" else np.asarray(schedule.target(x0, t, noise, kind=self.target))
        if self.min_snr is None:
            return inputs, answer
        snr = schedule.snr[t]
        # One unit of squared error of the answer is so much of x̂_0 (Hang et al., section 3.4): 1, SNR or SNR + 1.
        scale = {"x0": 1.0, "noise": snr, "v": snr + 1.0}[self.target]
        weights = (np.minimum(snr, self.min_snr) / scale).astype(np.float32)
        return inputs, answer, weights.reshape(-1, *[1] * (answer.ndim - 2))
