"""One call in place of 24: a student network learns the whole way at once, from pairs (noise, picture) of a teacher.

DDIM and DPM-Solver add no noise. So the teacher turns each noise into one picture. Noise and picture are a pair. The
student learns x̂_0 on the straight path between the two, most often at its noisy end. There it draws with one call.

Sources: the pairs are those of *reflow* (Liu et al. 2022, https://arxiv.org/abs/2209.03003, section 2.2). The loss is
the pseudo-Huber distance of a whole picture (Song, Dhariwal 2023, https://arxiv.org/abs/2310.14189, section 3.3).
"""

from dataclasses import dataclass

import numpy as np
from keras import ops

from labutils.diffusion import Diffusion
from labutils.sampling.compiled import BATCH, Sampler
from labutils.support.progress import progress_bar

STEPS, SAMPLER = 12, "dpmpp_2m"  # with guidance, the teacher takes two calls a step: 24


@dataclass(frozen=True)
class Student(Diffusion):
    """A diffusion model that learns from pairs.

    Attributes:
        at_noise: proportion of a batch at τ = 1, pure noise; the rest has uniform τ.
        c: below this error of a picture, root mean square, the loss is nearly quadratic; above it, nearly linear.
        edges: how much the errors of the differences of neighbouring pixels count beside those of the pixels.
    """

    at_noise: float = 0.6
    c: float = 0.03
    edges: float = 0.0

    def draw_t(self, count, rng):
        """The steps of a batch, (count,) int32: those with the SNR of τ on the straight path."""
        tau = np.where(rng.random(count) < self.at_noise, 1.0, rng.random(count))
        return self.schedule.t_of(tau)

    def loss(self, x0, t, noise, condition=None):
        """The mean of √(‖x̂_0 − x_0‖² + c²) − c over the batch, with the mean square as ‖ ‖².

        Args:
            x0, noise: the two ends of each pair, (B, H, W, C). t, condition: as in labutils.diffusion.Diffusion.loss.
        """
        error = self.predict_x0(self.schedule.add_noise(x0, t, noise), t, condition) - x0
        squared = _mean_square(error)
        if self.edges:
            steps = error[:, 1:] - error[:, :-1], error[:, :, 1:] - error[:, :, :-1]
            squared += self.edges * sum(_mean_square(step) for step in steps)
        return ops.mean(ops.sqrt(squared + self.c**2) - self.c)


def _mean_square(x):
    return ops.mean(x**2, axis=(1, 2, 3))


def draw_pairs(teacher, condition, seed=0, steps=STEPS, sampler=SAMPLER, progress=True):
    """Pairs (noise, picture) of a teacher, drawn without added noise and with its guidance.

    Args:
        teacher: labutils.diffusion.Diffusion.
        condition: labels (N,) or tokens (N, L). seed: of the noise.
        steps, sampler: as in labutils.sampling.Sampler.
        progress: show a progress bar.

    Returns:
        (noise, pictures), float32 arrays (N, H, W, C). Pictures are not clipped.
    """
    sampler = Sampler(teacher, sampler=sampler, steps=steps)
    noise = np.random.default_rng(seed).standard_normal((len(condition), *sampler.shape), dtype=np.float32)
    pictures = np.empty_like(noise)
    starts = range(0, len(noise), BATCH)
    with progress_bar(len(starts), f"drawing {len(noise)} pairs", not progress) as bar:
        for start in starts:
            part = slice(start, start + BATCH)
            *_, (_, _, pictures[part]) = sampler.run(noise[part], condition=condition[part], x0=False)
            bar.update()
    return noise, pictures
