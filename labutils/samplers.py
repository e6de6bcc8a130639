"""What a sampler is: a table of numbers.

Every sampler of this lab has the same form. Ask the network for the guess x̂_0, then x ← a·x + b·x̂_0 + c·x̂_0' + σ·z,
where x̂_0' is the guess before and z fresh noise. They differ in the numbers alone:

| sampler | is | noise on the way | calls for K steps |
| --- | --- | --- | --- |
| ``ddpm`` | DDIM with η = 1: ancestral sampling | yes | K |
| ``ddim`` | DDIM with η = 0 | no | K |
| ``dpmpp_2m`` | DDIM that also leans on the guess before | no | K |
| ``heun`` | DDIM that asks a second time and corrects itself | no | 2K - 1 |
"""

from dataclasses import dataclass
from functools import partial

import numpy as np


@dataclass(frozen=True)
class Table:
    """What a sampler does, as numbers: row i turns x into a·x + b·x̂_0 + c·x̂_0' + σ·z.

    x̂_0 is the network's guess at x and step ``t``, x̂_0' the guess of the row before, z standard normal noise.

    Attributes (NumPy, one number per call of the network, in the order of the calls):
        t: int32, the step the network is told. a, b, c, sigma: float64.
    """

    t: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    sigma: np.ndarray


def ddim(schedule, steps, eta=0.0):
    """DDIM (Song, Meng, Ermon 2020, https://arxiv.org/abs/2010.02502, eq. 12 and 16).

    The guess x̂_0 and the noise that leads from it to x are mixed anew, for the next, lower noise level:
    x ← √ᾱ' x̂_0 + √(1 - ᾱ' - σ²) ε + σ z, where ᾱ' is ᾱ of the next step, and 1 after the last.

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        steps: decreasing step indices.
        eta: η, scales the noise σ: 0 is deterministic. With 1, σ² = β̃ and the mean is the posterior's: ancestral
            sampling, over all T steps exactly :func:`reverse_step`, over fewer the same on a coarser schedule.

    Returns:
        Table with one row per step.
    """
    alpha_bar, following = _levels(schedule, steps)
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1.0 - alpha_bar)
    sigma = eta * np.sqrt((1.0 - following) / (1.0 - alpha_bar) * (1.0 - alpha_bar / following))
    a = np.sqrt(1.0 - following - sigma**2) / noise  # of ε = (x − √ᾱ x̂_0) / √(1 - ᾱ)
    return Table(steps, a, np.sqrt(following) - a * signal, np.zeros(len(steps)), sigma)


def dpmpp_2m(schedule, steps):
    """DPM-Solver++(2M) (Lu et al. 2022, https://arxiv.org/abs/2211.01095, algorithm 2).

    A step of DDIM, with a guess that is drawn on in a straight line from the one before, as a function of
    λ = log(√ᾱ / √(1 - ᾱ)). First and last step are plain: there is nothing before, and λ is infinite at the end.
    """
    plain = ddim(schedule, steps)
    alpha_bar, _ = _levels(schedule, steps)
    h = np.diff(0.5 * np.log(alpha_bar / (1.0 - alpha_bar)))  # growth of λ from step to step
    lean = np.zeros(len(steps))  # 1/2r, with r = h_before / h
    lean[1:-1] = h[1:] / (2.0 * h[:-1])
    return Table(steps, plain.a, plain.b * (1.0 + lean), -plain.b * lean, plain.sigma)


def heun(schedule, steps):
    """Heun's method for the probability flow (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 1).

    A step of DDIM, then the network is asked again where it led, and the step is corrected by half the difference of
    the two guesses. Two calls per step; the last step, to the clean image, needs no second.
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


def spaced_steps(T, count):
    """``count`` step indices spread evenly over T - 1 … 0, decreasing, the first one included.

    Raises:
        ValueError: unless 1 <= count <= T.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= T:
        raise ValueError(f"steps must be an integer in 1 … {T}, got {count!r}")
    return np.round(np.linspace(T - 1, 0, count)).astype(np.int32)
