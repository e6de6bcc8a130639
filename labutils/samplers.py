"""Samplers as tables of numbers.

Every sampler of this lab has the same form. The network gives the estimate x̂_0, then x ← a·x + b·x̂_0 + c·x̂_0' + σ·z.
Here x̂_0' is the estimate of the call before, and z is fresh noise. The samplers differ only in these numbers:

| sampler | what it is | adds noise | calls for K steps |
| --- | --- | --- | --- |
| ``ddpm`` | DDIM with η = 1: ancestral sampling | yes | K |
| ``ddim`` | DDIM with η = 0 | no | K |
| ``dpmpp_2m`` | DDIM with x̂_0 extrapolated from the last two estimates | no | K |
| ``heun`` | DDIM with a second call that corrects each step | no | 2K - 1 |
"""

from dataclasses import dataclass
from functools import partial

import numpy as np


@dataclass(frozen=True)
class Table:
    """What a sampler does, as numbers: row i turns x into a·x + b·x̂_0 + c·x̂_0' + σ·z.

    x̂_0 is the network's estimate at x and step ``t``. x̂_0' is the estimate of the row before. z is standard normal.

    Attributes (NumPy, one number per call of the network, in the order of the calls):
        t: int32, the step that the network is given. a, b, c, sigma: float64.
    """

    t: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    sigma: np.ndarray

    def rows(self):
        """The rows (t, a, b, c, σ) as Python numbers."""
        return zip(*(column.tolist() for column in (self.t, self.a, self.b, self.c, self.sigma)), strict=True)


def ddim(schedule, steps, eta=0.0):
    """DDIM (Song, Meng, Ermon 2020, https://arxiv.org/abs/2010.02502, eq. 12 and 16).

    The estimate x̂_0 and the noise ε = (x − √ᾱ x̂_0)/√(1 - ᾱ) are mixed again at the next, lower noise level:
    x ← √ᾱ' x̂_0 + √(1 - ᾱ' - σ²) ε + σ z. Here ᾱ' is ᾱ of the next step, and 1 after the last step.

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        steps: decreasing step indices.
        eta: η, scales the noise σ. With 0 nothing is random. With 1, σ² = β̃ and the mean is that of the posterior:
            this is ancestral sampling. Over all T steps it is exactly :func:`reverse_step`. Over fewer steps it is the
            same on a coarser schedule.

    Returns:
        Table with one row per step.

    Raises:
        ValueError: η outside [0, 1]; a larger σ² than β̃ may be more than all the noise of the next level.
    """
    if not 0 <= eta <= 1:  # written so that NaN fails too
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    alpha_bar, following = _levels(schedule, steps)
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)
    sigma = eta * np.sqrt((1.0 - following) / (1.0 - alpha_bar) * (1.0 - alpha_bar / following))
    a = np.sqrt(1.0 - following - sigma**2) / noise  # of ε = (x − √ᾱ x̂_0) / √(1 - ᾱ)
    return Table(steps, a, np.sqrt(following) - a * signal, np.zeros(len(steps)), sigma)


def dpmpp_2m(schedule, steps):
    """DPM-Solver++(2M) (Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2).

    A step of DDIM, but x̂_0 is extrapolated linearly in λ = log(√ᾱ / √(1 - ᾱ)) from the last two estimates. The first
    step has no estimate before it, and λ is infinite at the end: first and last step are plain DDIM.
    """
    plain = ddim(schedule, steps)
    alpha_bar, _ = _levels(schedule, steps)
    h = np.diff(0.5 * np.log(alpha_bar / (1.0 - alpha_bar)))  # growth of λ from step to step
    extrapolation = np.zeros(len(steps))  # 1/2r, with r = h_before / h
    extrapolation[1:-1] = h[1:] / (2.0 * h[:-1])
    return Table(steps, plain.a, plain.b * (1.0 + extrapolation), -plain.b * extrapolation, plain.sigma)


def heun(schedule, steps):
    """Heun's method for the probability flow (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 1).

    The network is called again after a trial step of DDIM. Half the difference of the two estimates corrects the step,
    as if both slopes had been averaged. Two calls per step; the last step, to the clean image, needs no correction.
    """
    plain = ddim(schedule, steps)
    alpha_bar, following = _levels(schedule, steps)
    s, s_next = (np.sqrt((1.0 - level) / level) for level in (alpha_bar, following))  # noise over signal: σ(t)
    half = np.sqrt(following[:-1]) * (s - s_next)[:-1] / (2.0 * s_next[:-1])
    rows = 2 * len(steps) - 1
    a, b, c = np.ones(rows), np.zeros(rows), np.zeros(rows)
    a[0::2], b[0::2] = plain.a, plain.b
    b[1::2], c[1::2] = half, -half  # x + half · (x̂_0 − x̂_0')
    return Table(np.repeat(steps, 2)[1:], a, b, c, np.zeros(rows))


def _levels(schedule, steps):
    """ᾱ at each step, and at the one that follows it: 1 after the last."""
    alpha_bar = schedule.alpha_bars[steps]
    return alpha_bar, np.append(alpha_bar[1:], 1.0)


SAMPLERS = {"ddpm": partial(ddim, eta=1.0), "ddim": ddim, "dpmpp_2m": dpmpp_2m, "heun": heun}


def make_table(schedule, sampler, steps=None):
    """The table of a sampler over ``steps`` evenly spaced steps.

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        sampler: a key of SAMPLERS, or a function (schedule, steps) → Table.
        steps: number of steps, 1 … T; None for all T.

    Raises:
        ValueError: unknown sampler, or a bad number of steps.
    """
    if not callable(sampler) and sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}, known: {', '.join(SAMPLERS)}")
    make = sampler if callable(sampler) else SAMPLERS[sampler]
    return make(schedule, spaced_steps(schedule.T, schedule.T if steps is None else steps))


def spaced_steps(T, count):
    """``count`` step indices, decreasing from T - 1: T - 1, T - 1 - T/count, … ("trailing" spacing).

    The first call is at T - 1, where sampling starts from pure noise. The last call is T/count steps before the clean
    image, so that every call removes an equal share of the steps (Lin et al. 2023, https://arxiv.org/abs/2305.08891,
    section 3.3). Spacing that ends at t = 0 would spend its last call where almost no noise is left.

    Raises:
        ValueError: unless 1 <= count <= T.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= T:
        raise ValueError(f"steps must be an integer in 1 … {T}, got {count!r}")
    return (np.round(T - np.arange(count) * T / count) - 1).astype(np.int32)
