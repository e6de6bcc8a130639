"""Checks of lesson 6: the interval of a difference, and filling in a part of an image."""

import numpy as np

from labutils.checks.feedback import Check, CheckFailed, require, run
from labutils.checks.values import as_numbers, close, compare

check_difference = Check(
    "6.1",
    "difference",
    "``difference(hits_a, hits_b)`` is (difference of two proportions, low, high), with its 95 % interval.",
)
check_inpaint = Check(
    "6.2", "inpaint", "``inpaint(x0, known, mask)`` keeps ``known`` where mask = 1 and x̂_0 elsewhere."
)
NEAR = 0.04  # of the half width: 1.96 or 2, divided by n or n - 1, Wald's interval or Newcombe's, all may pass


@check_difference.property("the difference is that of the proportions of a and of b")
def _(difference, rng):
    answer, a, b = _asked(difference, _outcomes(rng, 400, 0.85), _outcomes(rng, 400, 0.6))
    mistakes = {
        "you return b − a: take the proportion of a minus that of b": b - a,
        "you return a difference of counts: divide each count by the number of its own items": 400 * (a - b),
        "you return percent: 9 percentage points are 0.09": 100 * (a - b),
        "you return the sum of the two proportions": a + b,
        "you return the proportion of a alone": a,
    }
    for sentence, wrong in mistakes.items():
        require(not np.isclose(answer[0], wrong, atol=1e-4), sentence)
    right = np.isclose(answer, a - b, atol=1e-4)
    order = "the first number should be the difference itself: return (difference, low, high), in this order"
    require(right[0] or not right.any(), order)
    require(right[0], "the first number should be the proportion of a minus that of b")


@check_difference.property("the interval is that of 95 %, for groups of equal size")
def _(difference, rng):
    _judge_interval(difference, _outcomes(rng, 400, 0.85), _outcomes(rng, 400, 0.3))


@check_difference.property("also for groups of different size")
def _(difference, rng):
    _judge_interval(difference, _outcomes(rng, 900, 0.3), _outcomes(rng, 150, 0.55))


@check_difference.property("also for outcomes that are True and False")
def _(difference, rng):
    _judge_interval(difference, _outcomes(rng, 300, 0.5) == 1, _outcomes(rng, 200, 0.7) == 1)


def _outcomes(rng, count, proportion):
    """``count`` outcomes, 1 and 0, of which ``proportion`` are 1, in random order."""
    return rng.permutation((np.arange(count) < round(proportion * count)).astype(int))


def _asked(difference, hits_a, hits_b):
    """The answer as three numbers, and the two proportions."""
    answer = run(difference, hits_a, hits_b)
    whole = "return three numbers: the difference, then the lower and the upper end of its interval"
    if isinstance(answer, list | tuple):
        require(len(answer) == 3 and all(np.size(part) == 1 for part in answer), whole)
    numbers = as_numbers(answer, what="the answer")
    require(numbers.shape == (3,), whole)
    return numbers, hits_a.mean(), hits_b.mean()


def _judge_interval(difference, hits_a, hits_b):
    (value, low, high), a, b = _asked(difference, hits_a, hits_b)
    require(np.isclose(value, a - b, atol=1e-4), "the difference should be the proportion of a minus that of b")
    require(low <= value <= high, "low should be below the difference and high above it")
    n, m = len(hits_a), len(hits_b)
    variances, both = (a * (1 - a), b * (1 - b)), (n * a + m * b) / (n + m)
    error_a, error_b = np.sqrt(variances[0] / n), np.sqrt(variances[1] / m)
    right = np.hypot(error_a, error_b)  # the standard error
    mistakes = {
        "you added the two standard errors. Two independent errors seldom point the same way: add their variances": (
            error_a + error_b
        ),
        "your interval reaches one standard error to each side; for 95 % it is 1.96 of them": right / 1.96,
        "you divide by nothing: p(1 − p) is the variance of one outcome, a proportion of n outcomes has 1/n of it": (
            np.sqrt(sum(variances))
        ),
        "the root is missing: the standard error is the root of the variance": right**2,
        "you divide both variances by the number of items of a: each group has its own number": (
            np.sqrt(sum(variances) / n)
        ),
        "you divide both variances by the number of items of b: each group has its own number": (
            np.sqrt(sum(variances) / m)
        ),
        "you divide both variances by the number of all items: each group has its own number": (
            np.sqrt(sum(variances) / (n + m))
        ),
        "only the variance of a is in it, but the proportion of b varies by chance, too": error_a,
        "only the variance of b is in it, but the proportion of a varies by chance, too": error_b,
        "you subtract the variances. Chance in b does not undo chance in a: add them": (
            np.sqrt(abs(error_a**2 - error_b**2))
        ),
        "you use one common proportion for both groups; here each group has its own": (
            np.sqrt(both * (1 - both) * (1 / n + 1 / m))
        ),
    }
    half = (high - low) / 2
    if not close(half, 1.96 * right, NEAR):
        for sentence, error in mistakes.items():
            require(not close(half, 1.96 * error, 0.01), sentence)
        raise CheckFailed(f"the interval should reach about {1.96 * right:.3f} to each side here, yours {half:.3f}")
    middle = abs((low + high) / 2 - value) < 0.3 * right  # Newcombe's interval is not quite symmetrical
    require(middle, "the interval should lie around the difference, about as far to both sides")


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
        "the network's estimate x̂_0 is lost: keep it where the mask is 0": mask * known,
        "known and estimate are added; where the mask is 1 the known pixel replaces the estimate": mask * known + x0,
        "you averaged the two; the mask decides pixel by pixel": (known + x0) / 2,
    }
    right, otherwise = mask * known + (1 - mask) * x0, "should be mask · known + (1 − mask) · x̂_0"
    compare(run(inpaint, x0, known, mask), right, mistakes, otherwise, what="the image")
