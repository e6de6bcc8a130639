"""Samplers: the update of each paper, and the coefficients that follow from it.

Every sampler of this lab has the same form. The network gives the estimate x̂_0, then x ← a·x + b·x̂_0 + c·x̂_0' + σ·z.
Here x̂_0' is the estimate of the call before, and z is fresh noise. The samplers differ only in these coefficients:

- ``ddpm``: DDIM with η = 1, ancestral sampling. It adds noise, and takes K calls for K steps.
- ``ddim``: DDIM with η = 0. No noise, K calls.
- ``dpmpp_2m``: DDIM with x̂_0 extrapolated from the last two estimates. No noise, K calls.
- ``heun``: DDIM with a second call that corrects each step. No noise, 2K - 1 calls.

:func:`flow` is Euler's method of flow matching: DDIM again, at other steps.

In the updates ``alpha_bar`` is ᾱ where the step begins, ``next_alpha_bar`` is ᾱ' where it ends: 1 for the clean image.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from labutils.support.arguments import check_count


def ddim_step(x, x0, alpha_bar, next_alpha_bar, eta=0.0):
    """One step of DDIM (Song, Meng, Ermon 2020, https://arxiv.org/abs/2010.02502, eq. 12 and 16).

    x̂_0 and the noise that it implies are mixed again at the next noise level.

    Args:
        x: the state. x0: the estimate x̂_0.
        alpha_bar, next_alpha_bar: ᾱ and ᾱ'.
        eta: η, scales the noise σ. With 0 nothing is random. With 1, σ² = β̃ and the mean is that of the posterior.

    Returns:
        (mean of the next state, σ).
    """
    noise = (x - np.sqrt(alpha_bar) * x0) / np.sqrt(1.0 - alpha_bar)  # ε
    sigma = eta * np.sqrt((1.0 - next_alpha_bar) / (1.0 - alpha_bar) * (1.0 - alpha_bar / next_alpha_bar))
    return np.sqrt(next_alpha_bar) * x0 + np.sqrt(1.0 - next_alpha_bar - sigma**2) * noise, sigma


def dpmpp_2m_step(x, x0, previous_x0, ratio, alpha_bar, next_alpha_bar):
    """One step of DPM-Solver++(2M) (Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2).

    Extrapolate x̂_0 linearly in λ = log(√ᾱ / √(1 - ᾱ)) to the middle of the step, then take a step of DDIM.

    Args:
        x, x0, alpha_bar, next_alpha_bar: as in :func:`ddim_step`. previous_x0: the estimate of the step before.
        ratio: growth of λ in this step over that in the step before, 1/r in the paper; 0 for plain DDIM.
    """
    return ddim_step(x, x0 + ratio / 2.0 * (x0 - previous_x0), alpha_bar, next_alpha_bar)


def heun_correction(x, x0, previous_x0, alpha_bar, next_alpha_bar):
    """The second half of a step of Heun's method (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 1).

    A step of DDIM is a step of Euler's method for x/√ᾱ as a function of s = √(1 - ᾱ)/√ᾱ, with the slope
    (x/√ᾱ − x̂_0)/s. Heun's method takes the mean of the slopes at both ends of the step.

    Args:
        x: where the step of DDIM ended. x0: the estimate there. previous_x0: the estimate where the step began.
        alpha_bar, next_alpha_bar: as in :func:`ddim_step`.

    Returns:
        (the corrected state, 0).
    """
    s, next_s = (np.sqrt((1.0 - level) / level) for level in (alpha_bar, next_alpha_bar))
    scaled = x / np.sqrt(next_alpha_bar)
    slope = (scaled - previous_x0) / next_s  # the slope of the step: the line through x̂_0' that the step followed
    new_slope = (scaled - x0) / next_s
    return np.sqrt(next_alpha_bar) * (scaled + (next_s - s) * (new_slope - slope) / 2.0), 0.0


@dataclass(frozen=True)
class Coefficients:
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
    """The coefficients of :func:`ddim_step`.

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        steps: decreasing step indices.
        eta: η in [0, 1]. With 1 over all T steps it is exactly :func:`labutils.sampling.reverse_step`. Over fewer steps
            it is the same on a coarser schedule.

    Returns:
        Coefficients with one row per step.

    Raises:
        ValueError: η outside [0, 1]; a larger σ² than β̃ may be more than all the noise of the next level.
    """
    if not 0 <= eta <= 1:  # written so that NaN fails too
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = _levels(schedule, steps)
    return _coefficients(steps, lambda x, x0, _: ddim_step(x, x0, *levels, eta))


def dpmpp_2m(schedule, steps):
    """The coefficients of :func:`dpmpp_2m_step`.

    The first step has no estimate before it, and λ is infinite at the end: first and last step are plain DDIM.
    """
    levels = _levels(schedule, steps)
    h = np.diff(0.5 * np.log(schedule.snr[steps]))  # growth of λ from step to step
    ratio = np.zeros(len(steps))
    ratio[1:-1] = h[1:] / h[:-1]
    return _coefficients(steps, lambda x, x0, previous_x0: dpmpp_2m_step(x, x0, previous_x0, ratio, *levels))


def heun(schedule, steps):
    """The coefficients of Heun's method: after each step of DDIM, but the last, :func:`heun_correction`."""
    alpha_bar, next_alpha_bar = _levels(schedule, steps)
    step = ddim(schedule, steps)
    correction = _coefficients(
        steps[1:], lambda x, x0, previous_x0: heun_correction(x, x0, previous_x0, alpha_bar[:-1], next_alpha_bar[:-1])
    )
    # Each correction follows its step.
    order = np.argsort([*range(len(steps)), *(i + 0.5 for i in range(len(steps) - 1))])
    both = zip(vars(step).values(), vars(correction).values(), strict=True)
    return Coefficients(*(np.concatenate(columns)[order] for columns in both))


def flow(schedule, steps):
    """The coefficients of Euler's method for flow matching: :func:`ddim` at evenly spaced τ, from 1 down.

    A step of DDIM keeps x̂_0 and ε and mixes them again. So does a step of Euler's method along u = ε − x̂_0 on the path
    x_τ = (1−τ) x_0 + τ ε (Liu et al. 2022, https://arxiv.org/abs/2209.03003). At equal SNR both states are the same but
    for a factor.

    Args:
        schedule, steps: as in :func:`ddim`; of ``steps`` only the number counts.
    """
    return ddim(schedule, schedule.t_of(1.0 - np.arange(len(steps)) / len(steps)))


def _levels(schedule, steps):
    """ᾱ at each step, and at the one that follows it: 1 after the last."""
    alpha_bar = schedule.alpha_bars[steps]
    return alpha_bar, np.append(alpha_bar[1:], 1.0)


def _coefficients(steps, step):
    """The coefficients of a step (x, x̂_0, x̂_0') → (mean, σ). It is linear: a is the mean for (1, 0, 0), and so on."""
    (a, sigma), (b, _), (c, _) = (step(*unit) for unit in np.eye(3))
    return Coefficients(steps, *(np.zeros(len(steps)) + column for column in (a, b, c, sigma)))


SAMPLERS = {"ddpm": partial(ddim, eta=1.0), "ddim": ddim, "dpmpp_2m": dpmpp_2m, "heun": heun}


def coefficients(schedule, sampler, steps=None):
    """The coefficients of a sampler over ``steps`` evenly spaced steps.

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        sampler: a key of SAMPLERS, or a function (schedule, steps) → Coefficients.
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
    check_count("steps", count, high=T)
    return (np.round(T - np.arange(count) * T / count) - 1).astype(np.int32)
