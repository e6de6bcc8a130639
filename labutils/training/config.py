"""How each network is trained: the settings of the optimiser, the target that it predicts, the schedule, the epochs."""

from dataclasses import asdict, dataclass, replace

import keras
import numpy as np

from labutils.schedule import NoiseSchedule, check_target, cosine_schedule, linear_schedule


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam minimises the mean squared error. The defaults are the classic recipe.

    NumPy numbers are turned into Python numbers, so that a recipe can be written as JSON.

    Attributes:
        batch_size: images per step.
        learning_rate: of Adam; 2e-4 as in the DDPM paper. If the rate changes during the run, this is its maximum.
        warmup_steps: number of steps over which the rate rises from 0.
        decay_epochs: number of epochs over which the rate falls along a cosine to 0; None for a constant rate.
        average: momentum of an exponential moving average of the weights; None for no average. The run returns the
            averaged weights. The average looks back over about 1/(1 - average) steps.
        clip_norm: largest norm of the gradient (of all weights together); a longer gradient is shortened to it. None
            for no limit. Without a limit, one bad step at a large rate can ruin a run.
        target: what the network predicts, one of labutils.schedule.TARGETS.
        min_snr: γ of Min-SNR weighting (Hang et al. 2023, arXiv:2303.09556); None for no weights. The squared error of
            x̂_0 has the weight min(SNR, γ), for every target.
        label_dropout: share of the labels that are hidden from a network with labels. So the network also learns to
            predict without a label (Ho & Salimans 2022, arXiv:2207.12598).
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
        for name, value in asdict(self).items():
            if isinstance(value, np.generic):  # JSON, in which recipes are kept, knows no NumPy numbers
                object.__setattr__(self, name, value.item())
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1, got {self.batch_size!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.warmup_steps < 0 or (self.decay_epochs is not None and self.decay_epochs < 1):
            raise ValueError(
                f"warmup_steps must be at least 0 and decay_epochs at least 1, got {self.warmup_steps}, "
                f"{self.decay_epochs}"
            )
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average must lie between 0 and 1, got {self.average}")
        for name in ("min_snr", "clip_norm"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f"label_dropout must lie in 0 … 1, got {self.label_dropout}")
        check_target(self.target)

    def optimizer(self, steps_per_epoch):
        """Adam, with the learning rate and the weight average of this recipe."""
        rate = self.learning_rate
        if self.warmup_steps or self.decay_epochs:
            # For a constant rate after the warm-up, the cosine is so long that it does not fall during the run.
            end = self.decay_epochs * steps_per_epoch if self.decay_epochs else 10**9
            rate = keras.optimizers.schedules.CosineDecay(
                0.0 if self.warmup_steps else rate,
                max(end - self.warmup_steps, 1),
                warmup_target=rate if self.warmup_steps else None,
                warmup_steps=self.warmup_steps,
            )
        return keras.optimizers.Adam(
            rate, global_clipnorm=self.clip_norm, use_ema=self.average is not None, ema_momentum=self.average or 0.99
        )

    def for_run(self, epochs, steps_per_epoch):
        """This recipe, fitted to the length of a run.

        A falling rate reaches 0 at the end of the run. The warm-up takes a tenth of the run at most. The average of
        the weights looks back over an eighth of the run at most; a longer one would still contain untrained weights.
        """
        steps = epochs * steps_per_epoch
        return replace(
            self,
            decay_epochs=self.decay_epochs and epochs,
            warmup_steps=min(self.warmup_steps, steps // 10),
            average=self.average and min(self.average, max(1 - 8 / steps, 0.5)),
        )

    def batch(self, schedule, inputs, noise):
        """One batch for Keras' ``fit``: inputs, targets and, with ``min_snr``, sample weights.

        Args:
            schedule: labutils.schedule.NoiseSchedule.
            inputs: (x_0, t, ε), or (x_0, t, ε, labels), NumPy arrays.
            noise: ε.

        Returns:
            (inputs, targets), or with ``min_snr`` (inputs, targets, weights). There is one weight for each image. For
            images the weights have the shape (B, 1, 1), which Keras' mean squared error needs.
        """
        x0, t, *_ = inputs
        targets = noise if self.target == "noise" else np.asarray(schedule.target(x0, t, noise, kind=self.target))
        if self.min_snr is None:
            return inputs, targets
        snr = schedule.snr[t]
        # The squared error of the targets is that of x̂_0 times 1, SNR or SNR + 1 (Hang et al., section 3.4).
        scale = {"x0": 1.0, "noise": snr, "v": snr + 1.0}[self.target]
        weights = (np.minimum(snr, self.min_snr) / scale).astype(np.float32)
        return inputs, targets, weights.reshape(-1, *[1] * (targets.ndim - 2))


@dataclass(frozen=True)
class Plan:
    """How a denoising network of labutils.networks is trained for its checkpoint.

    Attributes:
        schedule: labutils.schedule.NoiseSchedule.
        recipe: Recipe.
        epochs: length of the run.
        guidance: the weight w of classifier-free guidance with which it draws by default; None without labels.
    """

    schedule: NoiseSchedule
    recipe: Recipe
    epochs: int
    guidance: float | None = None


FAST = Recipe(learning_rate=2e-3, warmup_steps=300, decay_epochs=20, clip_norm=1.0, target="x0")
TEXT = Recipe(learning_rate=1.5e-3, warmup_steps=500, decay_epochs=8, average=0.998, clip_norm=1.0, target="v")
PLANS = {
    "classic": Plan(linear_schedule(), Recipe(), epochs=50),
    "fast": Plan(cosine_schedule(), FAST, epochs=40),
    "fast_conditional": Plan(cosine_schedule(), FAST, epochs=20, guidance=0.5),
    **{
        name: Plan(cosine_schedule(), TEXT, epochs=8, guidance=4.0)
        for name in ("text_to_image", "text_to_image_pairs", "text_to_image_bag")
    },
}
