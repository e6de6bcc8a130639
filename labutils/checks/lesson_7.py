"""Checks of lesson 7: two filters for one, folding an image, and x̂_0 from v."""

import numpy as np

from labutils.checks.feedback import Check, require, run
from labutils.checks.values import as_numbers, compare

check_split_taps = Check(
    "7.1",
    "split_taps",
    "``split_taps(w)``: two filters of two taps, (2, 2), that do over values what ``w`` (3,) does over doubled ones.",
)
check_space_to_depth = Check(
    "7.2",
    "space_to_depth",
    "``space_to_depth(x)``: (B, H, W, C) → (B, H/2, W/2, 4C), each 2×2 block becomes one pixel; any channel order.",
)
check_x0_from_v = Check("7.3", "x0_from_v", "``x0_from_v(xt, v, alpha_bar)``: √ᾱ x_t − √(1 − ᾱ) v.")


@check_split_taps.property("the two filters do what w does")
def _(split_taps, rng):
    _judge_taps(split_taps, rng.uniform(1, 9, 3).round(1))


@check_split_taps.property("weights may be negative")
def _(split_taps, rng):
    _judge_taps(split_taps, rng.uniform(1, 9, 3).round(1) * (1, -1, 1))


def _judge_taps(split_taps, w):
    even, odd = [w[0], w[1] + w[2]], [w[0] + w[1], w[2]]
    means = [[w[0], (w[1] + w[2]) / 2], [(w[0] + w[1]) / 2, w[2]]]
    mistakes = {
        "the rows are swapped: the first is for even positions, where only the left tap reaches the value before": [
            odd,
            even,
        ],
        "two of the three taps fall on the same value, so their weights must be added": [w[:2], w[1:]],
        "the two taps on the same value are averaged; they must be added, because the value is used twice": means,
        "both rows are mirrored: w[0] belongs to the value on the left": [even[::-1], odd[::-1]],
    }
    otherwise = (
        "the two filters do not give what w gives over doubled values: write down three neighbouring doubled values, "
        "and which tap meets which"
    )
    compare(run(split_taps, w), [even, odd], mistakes, otherwise, what="the array of two filters")


B, H, W, C = 2, 4, 6, 3
FOLDED = (B, H // 2, W // 2, 4 * C)


def _fold(space_to_depth, rng, shape=FOLDED):
    """Images in which every value occurs once, and the student's answer; its shape may be any if ``shape`` is None."""
    x = rng.permutation(np.arange(B * H * W * C, dtype=np.float32)).reshape(B, H, W, C)
    return x, as_numbers(run(space_to_depth, x), shape, "the folded image", FOLDED)


@check_space_to_depth.property("(B, H, W, C) becomes (B, H/2, W/2, 4C)")
def _(space_to_depth, rng):
    _, answer = _fold(space_to_depth, rng, shape=None)
    require(
        answer.shape != (B, H // 2, W // 2, C),
        "the channels should grow from C to 4C: four pixels go into one, and none is averaged or thrown away",
    )
    require(answer.shape != (B, 4 * C, H // 2, W // 2), "the channels should come last: (B, H/2, W/2, 4C)")
    as_numbers(answer, FOLDED)


@check_space_to_depth.property("nothing is lost and nothing is new", alone=False)
def _(space_to_depth, rng):
    x, answer = _fold(space_to_depth, rng, shape=None)
    once = np.array_equal(np.sort(answer, axis=None), np.sort(x, axis=None))
    require(once, "every value should appear exactly once: nothing is lost and nothing is new")


@check_space_to_depth.property("the four pixels of one block come together")
def _(space_to_depth, rng):
    x, answer = _fold(space_to_depth, rng)
    blocks = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(FOLDED)
    require(
        not np.array_equal(answer, x.reshape(FOLDED)),
        "a plain reshape cuts the rows of pixels into pieces; the four pixels of one 2×2 block must come together",
    )
    require(
        np.array_equal(np.sort(answer, axis=-1), np.sort(blocks, axis=-1)),
        "some pixel holds values from outside its own 2×2 block: split H into (H/2, 2) and W into (W/2, 2), "
        "then bring the two 2s to the end",
    )


@check_x0_from_v.property("right where the image is strong")
def _(x0_from_v, rng):
    _judge_v(x0_from_v, rng, rng.uniform(0.6, 0.8))


@check_x0_from_v.property("right where the noise is strong")
def _(x0_from_v, rng):
    _judge_v(x0_from_v, rng, rng.uniform(0.05, 0.2))


def _judge_v(x0_from_v, rng, alpha_bar):
    x0, noise = rng.uniform(-1, 1, (2, 4, 5, 5, 1)).astype(np.float32)
    signal, level = np.float32(np.sqrt(alpha_bar)), np.float32(np.sqrt(1 - alpha_bar))
    xt, v = signal * x0 + level * noise, signal * noise - level * x0
    mistakes = {
        "the second sign is wrong: v contains −x_0, so v must be subtracted": signal * xt + level * v,
        "the two factors are swapped: that is nearly ε, which is √(1 − ᾱ) x_t + √ᾱ v": level * xt - signal * v,
        "you returned ε, the noise": noise,
        "the roots are missing": alpha_bar * xt - (1 - alpha_bar) * v,
        "this is the formula for a network that predicts ε": (xt - level * v) / signal,
    }
    otherwise = "that is not x_0: insert x_t = √ᾱ x_0 + √(1 − ᾱ) ε and v = √ᾱ ε − √(1 − ᾱ) x_0, and multiply out"
    compare(run(x0_from_v, xt, v, alpha_bar), x0, mistakes, otherwise, what="x_0")
