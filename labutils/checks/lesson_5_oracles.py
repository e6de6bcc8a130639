"""Checks of lesson 5: the two oracles, which know all images: the exact denoiser, and the one that sees patches."""

import contextlib

import numpy as np

from labutils.checks.feedback import Check, require, run
from labutils.checks.lesson_5 import one_image
from labutils.checks.values import as_array, as_numbers, close, compare
from labutils.sampling import patch_sums
from labutils.schedule import linear_schedule

check_exact_x0 = Check(
    "5.3",
    "exact_x0",
    "``exact_x0(images, schedule, x, t)`` is the best x̂_0 if the data set is just ``images``: their weighted mean.",
)
check_patch_x0 = Check(
    "5.5",
    "patch_x0",
    "``patch_x0(images, schedule, x, t, patch)`` is x̂_0 if each pixel is judged by the patch around it.",
)


@check_exact_x0.property("with one image it is this image")
def _(exact_x0, rng):
    image, x = one_image(rng), rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
    answer = as_numbers(run(exact_x0, image, linear_schedule(), x, 500), x.shape, "x̂_0")
    require(close(answer, np.repeat(image, 3, axis=0)), "with one image in the data set x̂_0 can only be this image")


@check_exact_x0.property("the mean of the images, each with the probability that it was the original")
def _(exact_x0, rng):
    s = linear_schedule()
    images = rng.uniform(-1, 1, (3, 4, 4, 1)).astype(np.float32)
    for t in (300, 450, 600):
        bar, size = s.alpha_bars[t], images[0].size
        noise = rng.standard_normal((4, 4, 4, 1))
        x = (np.sqrt(bar) * images[[0, 1, 2, 0]] + np.sqrt(1 - bar) * noise).astype(np.float32)

        def squares(signal, x=x):
            return np.sum((x[:, None] - signal * images[None]) ** 2, axis=(2, 3, 4))

        def mean(exponents, by=1):
            weights = np.exp(exponents - exponents.max())
            return np.tensordot(weights / (weights.sum(axis=by, keepdims=True) if by is not None else 1), images, 1)

        gaps = squares(np.sqrt(bar))
        exponents = -gaps / (2 * (1 - bar))
        right = mean(exponents)
        mistakes = {
            "the ½ is missing: the density of the noise ε is proportional to exp(−‖ε‖²/2)": mean(2 * exponents),
            "the gap x_t − √ᾱ_t x_0 is not ε yet: it is √(1 − ᾱ_t) ε": mean(-gaps / 2),
            "the root is missing: ε is the gap divided by √(1 − ᾱ_t)": mean(exponents / (1 - bar)),
            "√ᾱ_t is missing: x_t holds √ᾱ_t x_0, not x_0": mean(-squares(1.0) / (2 * (1 - bar))),
            "the root is missing: x_t holds √ᾱ_t x_0": mean(-squares(bar) / (2 * (1 - bar))),
            "the sign is wrong: the image that needs the smallest noise has the largest weight": mean(-exponents),
            "this is the most probable image; the best prediction is the mean of all, with their weights (or did you "
            "use α_t where ᾱ_t is needed?)": images[gaps.argmin(axis=1)],
            "you used α_t where ᾱ_t is needed": mean(-squares(np.sqrt(s.alphas[t])) / (2 * s.betas[t])),
            "all images have the same weight; the weights should depend on x_t": mean(0 * exponents),
            "the exponent has the mean over the pixels; the densities of the pixels are multiplied, so their "
            "logarithms are added": mean(exponents / size),
            "the weights are divided by a sum over the batch; each x_t has its own weights, with the sum 1": mean(
                exponents, by=0
            ),
            "the weights of each x_t should have the sum 1": np.tensordot(np.exp(exponents), images, 1),
            "this is the noise that x̂_0 implies; return x̂_0": (x - np.sqrt(bar) * right) / np.sqrt(1 - bar),
        }
        compare(
            run(exact_x0, images, s, x, t),
            right,
            mistakes,
            f"at t = {t}: x̂_0 should be Σ w_i x^(i), with w_i the density of the noise that image i needs, divided by "
            "the sum of these densities",
            what="x̂_0",
        )


@check_exact_x0.property("finite where every density is as small as exp(−2,000)")
def _(exact_x0, rng):
    s, middle = linear_schedule(), 0.3 * one_image(rng)[0]
    apart = rng.standard_normal(middle.shape)
    apart *= np.sqrt(4_000 * (1 - s.alpha_bars[0])) / np.linalg.norm(apart)
    images = np.stack([middle + apart, middle - apart]).astype(np.float32)
    x = np.sqrt(s.alpha_bars[0]) * middle[None] + apart[None] * [[[[1 / 8_000]]], [[[-1 / 8_000]]]]
    x = x.astype(np.float32)
    answer = run(exact_x0, images, s, x, 0)
    sentence = (
        "at t = 0 the exponents are about −2,000, and a computer takes the exponential of such a number for 0; then "
        "the sum of the weights is 0. What happens to the weights if you add the same number to all exponents?"
    )
    with contextlib.suppress(TypeError):  # of what is no numbers: `compare` finds the words
        require(np.all(np.isfinite(as_array(answer))), sentence)
    exponents = -np.sum((x[:, None].astype(float) - np.sqrt(s.alpha_bars[0]) * images[None]) ** 2, axis=(2, 3, 4))
    exponents /= 2 * (1 - s.alpha_bars[0])
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    right = np.tensordot(weights / weights.sum(axis=1, keepdims=True), images, 1)
    compare(answer, right, {sentence: np.zeros(x.shape)}, f"at t = 0 x̂_0 is not the mean. {sentence}", 0.03, "x̂_0")


def _patch_task(rng, t):
    """A schedule, four images of 6 × 6 pixels, and a noisy one that is half one image and half another."""
    schedule = linear_schedule()
    images = rng.uniform(-1, 1, (4, 6, 6)).astype(np.float32)
    mixed = np.concatenate([images[0, :3], images[1, 3:]])
    bar = schedule.alpha_bars[t]
    x = np.sqrt(bar) * mixed + np.sqrt(1 - bar) * rng.standard_normal(mixed.shape)
    return schedule, images, x.astype(np.float32)


def _weighted(exponents, images):
    """Σ w_i x_i at each pixel, with weights from exponents (N, H, W)."""
    weights = np.exp(exponents - exponents.max(axis=0))
    return np.sum(weights / weights.sum(axis=0) * images, axis=0)


@check_patch_x0.property("each pixel has its own weights, from the patch around it")
def _(patch_x0, rng):
    for t, patch in ((300, 3), (500, 5), (450, 1)):
        s, images, x = _patch_task(rng, t)
        bar, exact = s.alpha_bars[t], images.astype(float)

        def exponents(signal, variance=2 * (1 - bar), x=x, exact=exact, patch=patch):
            return -patch_sums((x - signal * exact) ** 2, patch) / variance

        squares, logs = (x - np.sqrt(bar) * exact) ** 2, exponents(np.sqrt(bar))
        right, shifted = _weighted(logs, exact), np.exp(logs - logs.max())
        whole = -np.sum(squares, axis=(1, 2), keepdims=True) / (2 * (1 - bar))
        weights = np.exp(logs - logs.max(axis=0))
        weights /= weights.sum(axis=0)
        inside = patch_sums(np.ones_like(x), patch)
        shifts = [(i, j) for i in range(-(patch // 2), patch // 2 + 1) for j in range(-(patch // 2), patch // 2 + 1)]
        around = sum(np.roll(squares, shift, axis=(1, 2)) for shift in shifts)
        densities = patch_sums(np.exp(-squares / (2 * (1 - bar))), patch)
        mistakes = {
            "the whole image is compared at every pixel: only the patch around a pixel may count for it": _weighted(
                whole, exact
            ),
            "each pixel is judged alone: sum the squares over the patch before the weights": _weighted(
                -squares / (2 * (1 - bar)), exact
            ),
            "the differences are summed over the patch, and then squared; the squares must be summed": _weighted(
                -(patch_sums(x - np.sqrt(bar) * exact, patch) ** 2) / (2 * (1 - bar)), exact
            ),
            "the densities of the pixels are added, but they should be multiplied: sum the squares over the patch, and "
            "then take the exponential": np.sum(densities / densities.sum(axis=0) * exact, axis=0),
            "the patch continues on the other side of the image; at the edge it is cut": _weighted(
                -around / (2 * (1 - bar)), exact
            ),
            "the patch is too wide: `patch` is its whole width, not the pixels to each side": _weighted(
                -patch_sums(squares, 2 * patch + 1) / (2 * (1 - bar)), exact
            ),
            "the weights are divided by a sum over the pixels; at each pixel the weights of all images add to 1": (
                np.sum(shifted / shifted.sum(axis=(1, 2), keepdims=True) * exact, axis=0)
            ),
            "at each pixel the weights of all images should have the sum 1": np.sum(np.exp(logs) * exact, axis=0),
            "this is the sum of the weighted patches; x̂_0 is the weighted mean of the pixels in their middle": np.sum(
                weights * patch_sums(exact, patch), axis=0
            ),
            "this is the mean of the weighted patches; x̂_0 is the weighted mean of the pixels in their middle": np.sum(
                weights * patch_sums(exact, patch) / inside, axis=0
            ),
            "the exponent has the mean over the patch; the densities of the pixels are multiplied, so their logarithms "
            "are added": _weighted(logs / patch**2, exact),
            "the exponent has the mean over the patch; add the squares": _weighted(logs / inside, exact),
            "the ½ is missing: the density of the noise ε is proportional to exp(−‖ε‖²/2)": _weighted(2 * logs, exact),
            "the gap x_t − √ᾱ_t x_0 is not ε yet: it is √(1 − ᾱ_t) ε": _weighted(logs * (1 - bar), exact),
            "√ᾱ_t is missing: x_t holds √ᾱ_t x_0, not x_0": _weighted(exponents(1.0), exact),
            "the root is missing: x_t holds √ᾱ_t x_0": _weighted(exponents(bar), exact),
            "the sign is wrong: the image that needs the smallest noise has the largest weight": _weighted(
                -logs, exact
            ),
            "this is the most probable image at each pixel; the best prediction is the mean with all weights": (
                np.take_along_axis(exact, logs.argmax(axis=0)[None], axis=0)[0]
            ),
            "you used α_t where ᾱ_t is needed": _weighted(exponents(np.sqrt(s.alphas[t]), 2 * s.betas[t]), exact),
            "all images have the same weight; the weights should depend on x_t": exact.mean(axis=0),
        }
        compare(
            run(patch_x0, images, s, x, t, patch),
            right,
            mistakes,
            f"at t = {t}, patch {patch}: x̂_0 at a pixel should be Σ w_i x^(i) of this pixel, with weights from the "
            "squares in the patch around it",
            what="x̂_0",
        )


@check_patch_x0.property("if the patch is the whole image, it is the exact denoiser")
def _(patch_x0, rng):
    for t in (300, 600):
        s, images, x = _patch_task(rng, t)
        bar = s.alpha_bars[t]
        whole = np.sum((x - np.sqrt(bar) * images.astype(float)) ** 2, axis=(1, 2), keepdims=True)
        compare(
            run(patch_x0, images, s, x, t, 11),
            _weighted(-whole / (2 * (1 - bar)), images),
            {},
            f"at t = {t}: a patch of 11 pixels is the whole image of 6 × 6 pixels from every pixel. Then all pixels "
            "have the weights of exercise 5.3, and the result should be the same",
            what="x̂_0",
        )


@check_patch_x0.property("finite where the densities at one pixel are far smaller than at another")
def _(patch_x0, rng):
    s, images, x = _patch_task(rng, 20)
    x[:2, :2] += 12  # all images need a huge noise here, and nowhere else
    answer = run(patch_x0, images, s, x, 20, 3)
    sentence = (
        "in the corner all exponents are below −1,000, and elsewhere they are near 0: then the sum of the weights in "
        "the corner is 0. You may add a number to the exponents of one pixel. Must it be the same for all pixels?"
    )
    with contextlib.suppress(TypeError):  # of what is no numbers: `compare` finds the words
        require(np.all(np.isfinite(as_array(answer))), sentence)
    bar = s.alpha_bars[20]
    logs = -patch_sums((x - np.sqrt(bar) * images.astype(float)) ** 2, 3) / (2 * (1 - bar))
    compare(
        answer,
        _weighted(logs, images),
        {sentence: np.zeros(x.shape)},
        f"at t = 20 x̂_0 is wrong. {sentence}",
        0.03,
        "x̂_0",
    )
