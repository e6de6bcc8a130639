"""How each network is trained: the settings of the optimiser, and the experiments of the lab's checkpoints."""

from dataclasses import asdict, dataclass, replace

import keras
import numpy as np

from labutils.diffusion import Diffusion
from labutils.schedule import NoiseSchedule, cosine_schedule, linear_schedule
from labutils.support.arguments import check_count


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained: Adam minimises the mean squared error. The defaults are those of the classic network.

    NumPy numbers are turned into Python numbers, so that a config can be written as JSON.

    Attributes:
        batch_size: images per step.
        learning_rate: of Adam; 2e-4 as in the DDPM paper. If the rate changes during the run, this is its maximum.
        warmup_steps: number of steps over which the rate rises from 0.
        decay_epochs: number of epochs over which the rate falls along a cosine to 0; None for a constant rate.
        average: momentum of an exponential moving average of the weights; None for no average. The run returns the
            averaged weights. The average looks back over about 1/(1 - average) steps.
        clip_norm: largest norm of the gradient (of all weights together); a longer gradient is shortened to it. None
            for no limit. Without a limit, one bad step at a large rate can ruin a run.
        condition_dropout: proportion of the conditions that are hidden from a conditional network. So the network also
            learns to predict without one (Ho & Salimans 2022, arXiv:2207.12598).
    """

    batch_size: int = 64
    learning_rate: float = 2e-4
    warmup_steps: int = 0
    decay_epochs: int | None = None
    average: float | None = None
    clip_norm: float | None = None
    condition_dropout: float = 0.1

    def __post_init__(self):
        for name, value in asdict(self).items():
            if isinstance(value, np.generic):  # JSON, in which configs are kept, knows no NumPy numbers
                object.__setattr__(self, name, value.item())
        check_count("batch_size", self.batch_size)
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.warmup_steps < 0 or (self.decay_epochs is not None and self.decay_epochs < 1):
            raise ValueError(
                f"warmup_steps must be at least 0 and decay_epochs at least 1, got {self.warmup_steps}, "
                f"{self.decay_epochs}"
            )
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average must lie between 0 and 1, got {self.average}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")
        if not 0 <= self.condition_dropout <= 1:
            raise ValueError(f"condition_dropout must lie in 0 … 1, got {self.condition_dropout}")

    def optimizer(self, steps_per_epoch):
        """Adam, with the learning rate and the weight average of this config."""
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
        """This config, fitted to the length of a run.

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


@dataclass(frozen=True)
class Experiment:
    """How a denoising network of labutils.networks is trained for its checkpoint.

    Attributes:
        schedule: labutils.schedule.NoiseSchedule.
        config: TrainingConfig.
        epochs: length of the run.
        prediction: what the network predicts, one of labutils.schedule.PREDICTIONS.
        guidance: the weight w of classifier-free guidance with which a conditional network draws by default.
    """

    schedule: NoiseSchedule
    config: TrainingConfig
    epochs: int
    prediction: str = "noise"
    guidance: float = 0.0

    def diffusion(self, network):
        """The labutils.diffusion.Diffusion of a network that is trained this way."""
        return Diffusion(network, self.schedule, self.prediction, self.guidance)


FAST = TrainingConfig(learning_rate=2e-3, warmup_steps=300, decay_epochs=20, clip_norm=1.0)
TEXT = TrainingConfig(learning_rate=1.5e-3, warmup_steps=500, decay_epochs=8, average=0.998, clip_norm=1.0)
EXPERIMENTS = {
    "classic": Experiment(linear_schedule(), TrainingConfig(), epochs=50),
    "fast": Experiment(cosine_schedule(), FAST, epochs=40, prediction="x0"),
    "fast_conditional": Experiment(cosine_schedule(), FAST, epochs=20, prediction="x0", guidance=0.5),
    "fast_clusters": Experiment(cosine_schedule(), FAST, epochs=6, prediction="x0", guidance=0.5),
    "text_to_image": Experiment(cosine_schedule(), TEXT, epochs=8, prediction="v", guidance=4.0),
}
