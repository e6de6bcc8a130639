"""Checks of lesson 6: the cosine schedule, and filling in a part of an image."""

import numpy as np

from labutils.checks.feedback import Check, run
from labutils.checks.values import compare, require_everywhere

check_cosine_alpha_bars = Check(
    "6.1",
    "cosine_alpha_bars",
    "``cosine_alpha_bars(T)`` is ᾱ_t = f(t+1)/f(0) with f(n) = cos²((n/T + s)/(1 + s) · π/2), t = 0 … T-1.",
)
check_inpaint = Check(
    "6.2", "inpaint", "``inpaint(x0, known, mask)`` keeps ``known`` where mask = 1 and x̂_0 elsewhere."
)


@check_cosine_alpha_bars.property("right for T = 1000")
def _(cosine_alpha_bars, rng):
    _judge_cosine(cosine_alpha_bars, 1000)


@check_cosine_alpha_bars.property("right for any T")
def _(cosine_alpha_bars, rng):
    _judge_cosine(cosine_alpha_bars, int(rng.integers(30, 80)))


def _judge_cosine(cosine_alpha_bars, T):
    n = np.arange(T + 1) / T

    def curve(power=2.0, quarter=np.pi / 2):
        f = np.cos((n + 0.008) / 1.008 * quarter) ** power
        return f[1:] / f[0]

    f = np.cos((n + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = 1 - f[1:] / f[:-1]
    mistakes = {
        "the cosine is not squared (or you returned √ᾱ, which is the same)": curve(power=1.0),
        "the argument should end at π/2, not π": curve(quarter=np.pi),
        "your list starts at n = 0 and so contains ᾱ = 1, the clean image: ᾱ_t belongs to n = t + 1": f[:-1] / f[0],
        "your list has T + 1 values: leave out n = 0, the clean image": f / f[0],
        "the division by f(0) is missing: ᾱ must start from exactly 1": f[1:],
        "you returned β; the cosine gives ᾱ itself": betas,
        "you returned β, clipped at 0.999; the cosine gives ᾱ itself, and β follows from it": np.minimum(betas, 0.999),
    }
    otherwise = "ᾱ_t should be f(t+1)/f(0), f(n) = cos²((n/T + s)/(1 + s) · π/2), s = 0.008"
    answer = compare(run(cosine_alpha_bars, T), curve(), mistakes, otherwise, tolerance=5e-5, what="ᾱ")
    allowed = 2e-2 * np.minimum(curve(), 1 - curve()) + 3e-6  # at the very end some clip β
    require_everywhere(answer, curve(), allowed, otherwise)


@check_inpaint.property("right for any mask")
def _(inpaint, rng):
    _judge_inpaint(inpaint, rng, rng.integers(0, 2, (1, 8, 8, 1)).astype(np.float32))


@check_inpaint.property("if all pixels are known, all are kept", alone=False)
def _(inpaint, rng):
    _judge_inpaint(inpaint, rng, np.ones((1, 8, 8, 1), np.float32))


def _judge_inpaint(inpaint, rng, mask):
    x0, known = rng.uniform(-1, 1, (2, 3, 8, 8, 1)).astype(np.float32)
    mistakes = {
        "the mask is upside down: where it is 1 the known pixels stay": (1 - mask) * known + mask * x0,
        "the known pixels are not put in": x0,
        "the network's guess x̂_0 is lost: keep it where the mask is 0": mask * known,
        "known and guess are added; where the mask is 1 the known pixel replaces the guess": mask * known + x0,
        "you averaged the two; the mask decides pixel by pixel": (known + x0) / 2,
    }
    right, otherwise = mask * known + (1 - mask) * x0, "should be mask · known + (1 − mask) · x̂_0"
    compare(run(inpaint, x0, known, mask), right, mistakes, otherwise, what="the image")
