"""Checks of lesson 7: the short cut of the way up, folding an image, and x̂_0 from v."""

import numpy as np

from labutils.checks.feedback import as_numbers, compare, passed, require, run


def check_split_taps(split_taps):
    """``split_taps(w)``: two filters of two taps that do the work of ``w`` (3,) over doubled values; (2, 2)."""
    w = np.array([2.0, 3.0, 7.0])
    even, odd = [w[0], w[1] + w[2]], [w[0] + w[1], w[2]]
    compare(
        run(split_taps, w), [even, odd],
        {
            "the rows are swapped: the first is for even positions, where only the left tap reaches the value before":
                [odd, even],
            "two of the three taps fall on the same value, so their weights must be added": [w[:2], w[1:]],
            "the two taps on the same value are averaged; they must be added, because the value is used twice":
                [[w[0], (w[1] + w[2]) / 2], [(w[0] + w[1]) / 2, w[2]]],
            "both rows are mirrored: w[0] belongs to the value on the left": [even[::-1], odd[::-1]],
        },
        "the two filters do not give what w gives over doubled values: write down three neighbouring doubled values, "
        "and which tap meets which",
    )  # fmt: skip
    passed("split_taps")


def check_space_to_depth(space_to_depth):
    """``space_to_depth(x)``: (B, H, W, C) → (B, H/2, W/2, 4C), each 2×2 block becomes one pixel; any channel order."""
    B, H, W, C = 2, 4, 6, 3
    x = np.arange(B * H * W * C, dtype=np.float32).reshape(B, H, W, C)
    answer = as_numbers(run(space_to_depth, x))
    require(answer.shape != (B, H // 2, W // 2, C), "the channels should grow from C to 4C: four pixels go into one, "
            "and none is averaged or thrown away")  # fmt: skip
    require(answer.shape != (B, 4 * C, H // 2, W // 2), "the channels should come last: (B, H/2, W/2, 4C)")
    answer = as_numbers(answer, (B, H // 2, W // 2, 4 * C))
    once = np.array_equal(np.sort(answer, axis=None), np.sort(x, axis=None))
    require(once, "every value should appear exactly once: nothing is lost and nothing is new")
    blocks = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(answer.shape)
    cut = np.array_equal(answer, x.reshape(answer.shape))
    require(not cut, "a plain reshape cuts the rows of pixels into pieces; the four pixels of one 2×2 block must come "
            "together")  # fmt: skip
    same = np.array_equal(np.sort(answer, axis=-1), np.sort(blocks, axis=-1))
    require(same, "some pixel holds values from outside its own 2×2 block: split H into (H/2, 2) and W into (W/2, 2), "
            "then bring the two 2s to the end")  # fmt: skip
    passed("space_to_depth")


def check_x0_from_v(x0_from_v):
    """``x0_from_v(xt, v, alpha_bar)``: √ᾱ x_t − √(1 − ᾱ) v."""
    rng = np.random.default_rng(0)
    x0, noise = rng.uniform(-1, 1, (2, 4, 5, 5, 1))
    for alpha_bar in (0.7, 0.1):
        signal, level = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        xt, v = signal * x0 + level * noise, signal * noise - level * x0
        compare(
            run(x0_from_v, xt, v, alpha_bar), x0,
            {
                "the second sign is wrong: v holds x_0 with a minus, so v must be taken away": signal * xt + level * v,
                "the two factors are swapped: that is nearly ε, which is √(1 − ᾱ) x_t + √ᾱ v": level * xt - signal * v,
                "you returned ε, the noise": noise,
                "the roots are missing": alpha_bar * xt - (1 - alpha_bar) * v,
                "this is the formula for a network that predicts ε": (xt - level * v) / signal,
            },
            "that is not x_0: put x_t = √ᾱ x_0 + √(1 − ᾱ) ε and v = √ᾱ ε − √(1 − ᾱ) x_0 in and multiply out",
        )  # fmt: skip
    passed("x0_from_v")
