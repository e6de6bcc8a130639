"""Checks of lesson 2: ᾱ, add_noise, β̃ and the density of a reverse step."""

import numpy as np

from labutils.checks.feedback import Check, require, run
from labutils.checks.values import as_numbers, compare, ignores, require_everywhere
from labutils.schedule import linear_schedule
from labutils.toys.inversion import SPAN, inverses
from labutils.toys.reverse_steps import gaussian, nearest_gaussian

check_alpha_bars = Check("2.1", "alpha_bars", "``alpha_bars(betas)`` is ᾱ_t = (1-β_0)(1-β_1)…(1-β_t).")
check_add_noise = Check(
    "2.2",
    "add_noise",
    "``add_noise(x0, t, noise, alpha_bars)`` is √ᾱ_t x_0 + √(1-ᾱ_t) ε, for a batch of images, each with its own t.",
)
check_posterior_variances = Check(
    "2.3", "posterior_variances", "``posterior_variances(betas)`` is β̃_t = β_t (1-ᾱ_{t-1}) / (1-ᾱ_t), and β̃_0 = 0."
)
check_reverse_density = Check(
    "2.4",
    "reverse_density",
    "``reverse_density(grid, x_t, t, s, clean, alpha_bars)`` is q(x_s | x_t) on a grid, for a few clean values.",
)


def _any_betas(rng):
    """A few β that are not the lab's: an answer that secretly uses the notebook's variables fails."""
    return np.sort(rng.uniform(0.05, 0.6, 3))


@check_alpha_bars.property("right for the β of the lab")
def _(alpha_bars, rng):
    _judge_alpha_bars(alpha_bars, np.linspace(1e-4, 0.02, 1000))


@check_alpha_bars.property("right for any other β")
def _(alpha_bars, rng):
    _judge_alpha_bars(alpha_bars, _any_betas(rng))


def _judge_alpha_bars(alpha_bars, betas):
    alphas = 1 - betas
    right = np.cumprod(alphas)
    mistakes = {
        "you returned α_t where ᾱ_t is needed: the noise level barely changes between t=0 and t=999. "
        "Multiply all α up to t": alphas,
        "you multiplied the β: the signal that is kept is the product of α = 1 − β": np.cumprod(betas),
        "you added where you should multiply: each step keeps a part of what the last one kept": np.cumsum(alphas),
        "ᾱ is shifted by one: ᾱ_0 is α_0, since the step t = 0 already adds noise, and not 1": np.concatenate(
            [[1.0], right[:-1]]
        ),
        "ᾱ is shifted by one: ᾱ_0 must be α_0": np.concatenate([right[1:], right[-1:]]),
        "you returned √ᾱ; the root is taken later, in add_noise": np.sqrt(right),
        "you returned only the last value; ᾱ has one value for every t: use a cumulative product": right[-1],
        "you returned 1 − ᾱ, the variance of the noise; ᾱ is what is kept of the signal": 1 - right,
    }
    otherwise = "ᾱ_t should be the product of all 1 − β_s with s ≤ t"
    answer = compare(run(alpha_bars, betas), right, mistakes, otherwise, what="ᾱ")
    allowed = 1e-2 * np.minimum(right, 1 - right)
    first_right = abs(answer[0] - right[0]) <= allowed[0]
    require(first_right, f"ᾱ_0 should be α_0 = 1 − β_0, yours is {answer[0]:.6g}: the step t = 0 already adds noise")
    require_everywhere(answer, right, allowed, otherwise)


@check_add_noise.property("keeps the shape of the images", alone=False)
def _(add_noise, rng):
    x0, t, noise, schedule = _noising(rng)
    answer = as_numbers(run(add_noise, x0, t, noise, schedule.alpha_bars.astype(np.float32)), None, "x_t", x0.shape)
    require(
        answer.shape == x0.shape,
        f"the result has shape {answer.shape}, it should be {x0.shape}: alpha_bars[t] is "
        "one number per image, shape (B,); give it three more axes with .reshape(-1, 1, 1, 1)",
    )


@check_add_noise.property("x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε")
def _(add_noise, rng):
    x0, t, noise, schedule = _noising(rng)
    B, table = len(t), schedule.alpha_bars.astype(np.float32)

    def mix(signal, rest):
        return signal.reshape(-1, 1, 1, 1) * x0 + rest.reshape(-1, 1, 1, 1) * noise

    def at(bar):
        return np.sqrt(bar), np.sqrt(1 - bar)

    bar, before = schedule.alpha_bars[t], schedule.alpha_bars_previous[t]
    signal, rest = at(bar)
    factors = {
        "the square roots are missing: ᾱ_t and 1 − ᾱ_t are variances, and you multiply values": (
            bar,
            1 - bar,
        ),
        "the root over 1 − ᾱ_t is missing": (signal, 1 - bar),
        "the root over ᾱ_t is missing": (bar, rest),
        "the noise is scaled by 1 − √ᾱ_t; it should be √(1 − ᾱ_t), so that the two variances add up to 1": (
            signal,
            1 - signal,
        ),
        "you used α_t where ᾱ_t is needed: the noise level barely changes between t=0 and t=999": at(
            schedule.alphas[t]
        ),
        "signal and noise are swapped: √ᾱ_t belongs to x_0": (rest, signal),
        "the noise is subtracted; it should be added": (signal, -rest),
        "the image is not scaled: without √ᾱ_t the values grow and grow": (np.ones(B), rest),
        "ᾱ is looked up one step too late: index it with t, not t + 1": at(table[np.minimum(t + 1, B - 1)]),
        "ᾱ is looked up one step too early: index it with t, not t − 1": at(before),
        "ᾱ is looked up one step too early, so that t = 0 takes the last value: index it with t, not t − 1": at(
            table[t - 1]
        ),
        "your function returns the noise alone": (np.zeros(B), np.ones(B)),
    }
    answer = as_numbers(run(add_noise, x0, t, noise, table), None, "x_t", x0.shape)
    otherwise = (
        "x_t should be a · x_0 + b · ε: look at the two conditions for a and b again, and take ᾱ_t from the argument "
        "`alpha_bars`"
    )
    if answer.shape == x0.shape and ignores(answer - mix(signal, 0 * bar), noise):
        otherwise = (
            "the noise should be the argument `noise`: draw none of your own, since the network must guess this one"
        )
    mistakes = {sentence: mix(*each) for sentence, each in factors.items()}
    compare(answer, mix(signal, rest), mistakes, otherwise)


@check_add_noise.property("data of variance 1 keep variance 1 at every t", alone=False)
def _(add_noise, rng):
    _, t, _, schedule = _noising(rng)
    data, e = rng.standard_normal((2, len(t), 40, 40, 1)).astype(np.float32)
    answer = run(add_noise, data, t, e, schedule.alpha_bars.astype(np.float32))
    variance = as_numbers(answer, None, "x_t", data.shape).var()
    require(abs(variance - 1) < 0.05, f"data of variance 1 should keep variance 1, got {variance:.2f}")


def _noising(rng):
    """x0, t, noise and a schedule that is not the notebook's own."""
    x0 = rng.uniform(-1, 1, (50, 4, 4, 1)).astype(np.float32)
    noise = rng.standard_normal(x0.shape).astype(np.float32)
    return x0, rng.permutation(50), noise, linear_schedule(50, 1e-3, 0.3)


FIRST_TILDE = "β̃_0 should be 0, not β_0: at t = 0, x_{t-1} is the clean image, which is known (ᾱ_{-1} = 1)"


@check_posterior_variances.property("right for every t > 0")
def _(posterior_variances, rng):
    formula = "the precision of x_{t-1}, 1/β̃_t, should be the sum of the precisions of the two Gaussians"
    for betas in (np.linspace(1e-4, 0.02, 1000), _any_betas(rng)):
        answer, right, mistakes = _tildes(posterior_variances, betas)
        if answer[0] <= 1e-3 * betas[0]:
            compare(answer, right, mistakes, f"{formula}; ᾱ_{{-1}} = 1")
        del mistakes[FIRST_TILDE]
        compare(answer[1:], right[1:], {sentence: mistake[1:] for sentence, mistake in mistakes.items()}, formula)
        allowed = 1e-2 * right  # a proportion of each value: the first ones are small
        allowed[0] = np.inf
        require_everywhere(answer, right, allowed, formula)


@check_posterior_variances.property("β̃_0 = 0", alone=False)
def _(posterior_variances, rng):
    for betas in (np.linspace(1e-4, 0.02, 1000), _any_betas(rng)):
        # The first value is much smaller than the others. A comparison of all values would miss an error in it.
        answer, _, _ = _tildes(posterior_variances, betas)
        require(answer[0] <= 1e-3 * betas[0], FIRST_TILDE)


def _tildes(posterior_variances, betas):
    """The answer, the right one, and those of typical mistakes."""
    bars = np.cumprod(1 - betas)
    previous = np.concatenate([[1.0], bars[:-1]])
    right = betas * (1 - previous) / (1 - bars)
    first_kept = right.copy()
    first_kept[0] = betas[0]
    following, one_last = (np.append(bars[1:], last) for last in (bars[-1], 1.0))
    mistakes = {
        "you returned β; β̃ is smaller: it is the variance that is left if x_0 is known, too": betas,
        FIRST_TILDE: first_kept,
        "you computed (1 − ᾱ_t)/(1 − α_t): that grows above 1, and x_{t-1} cannot be so uncertain": (1 - bars) / betas,
        "you added the variances of the two Gaussians; add their precisions": 1 - previous + betas / (1 - betas),
        "the second Gaussian has the variance β_t/α_t: x_t is divided by √α_t, and so is its noise": (
            betas * (1 - previous) / (1 - previous + betas)
        ),
        "ᾱ is padded on the wrong side: ᾱ_{t-1} starts with a 1, it does not end with one": (
            betas * (1 - one_last) / (1 - bars)
        ),
        "you used ᾱ_{t+1}; the earlier step is ᾱ_{t-1}": betas * (1 - following) / (1 - bars),
        "numerator and denominator are swapped: β̃_t must be smaller than β_t": np.divide(
            betas * (1 - bars), 1 - previous, out=np.zeros_like(betas), where=previous < 1
        ),
        "you returned √β̃, the standard deviation; return the variance": np.sqrt(right),
        "the factor β_t is missing": (1 - previous) / (1 - bars),
        "you used α where ᾱ is needed": np.concatenate([[0.0], betas[:-1]]),
    }
    return as_numbers(run(posterior_variances, betas), betas.shape, "β̃"), right, mistakes


@check_reverse_density.property("a density: never negative, and its integral over the grid is 1")
def _(reverse_density, rng):
    case = _reverse_case(rng, 3)
    grid = case[0]
    answer = as_numbers(run(reverse_density, *case), grid.shape, "the density")
    require(answer.min() >= -1e-9, "a density is never negative: did you return its logarithm?")
    width = grid[1] - grid[0]
    require(
        abs(answer.sum() - 1) > 0.01,
        "your values have the sum 1, but a density has the integral 1: divide by the width of a cell of the grid, too",
    )
    integral = answer.sum() * width
    require(
        abs(integral - 1) < 0.01,
        f"the integral of your density is {integral:.3g}, it should be 1: divide the product by its own integral",
    )


@check_reverse_density.property("one clean value: one Gaussian")
def _(reverse_density, rng):
    _judge_reverse_density(reverse_density, _reverse_case(rng, 1))


@check_reverse_density.property("several clean values, any t and s: the mixture that Bayes' rule gives")
def _(reverse_density, rng):
    for count in (2, 4, 4):
        _judge_reverse_density(reverse_density, _reverse_case(rng, count))


@check_reverse_density.property(
    "from t = 500 to s = 499: nearly one Gaussian; from t = 950 to s = 0: a peak at each answer"
)
def _(reverse_density, rng):
    clean, bars = inverses(0.5) / SPAN, linear_schedule().alpha_bars
    grid = np.linspace(-3, 3, 6001)
    answer = _judge_reverse_density(reverse_density, (grid, 0.1, 500, 499, clean, bars))
    require(nearest_gaussian(grid, answer)[1] < 0.01, "one small step should be nearly Gaussian")
    answer = _judge_reverse_density(reverse_density, (grid, 0.3, 950, 0, clean, bars))
    peaks = np.sum((answer[1:-1] > answer[:-2]) & (answer[1:-1] > answer[2:]) & (answer[1:-1] > 1))
    require(
        peaks == 4, f"from t = 950 to s = 0 the density should have a peak at each of the 4 answers, yours has {peaks}"
    )


def _reverse_case(rng, count):
    """Arguments that are not the notebook's own: grid, x_t, t, s, clean, ᾱ."""
    clean, x_t = rng.uniform(-1, 1, count), rng.uniform(-1, 1)
    return np.linspace(-6, 6, 2401), x_t, int(rng.integers(60, 80)), int(rng.integers(25, 45)), clean, _REVERSE_BARS


_REVERSE_BARS = linear_schedule(100, 1e-3, 0.1).alpha_bars


def _judge_reverse_density(reverse_density, case):
    """Compare an answer with the right one and with those of typical mistakes; returns the answer."""
    grid, x_t, t, s, clean, bars = case
    bar_t, bar_s, kept = bars[t], bars[s], bars[t] / bars[s]

    def density(values):
        with np.errstate(invalid="ignore"):  # a product may be 0 everywhere
            return values / (values.sum() * (grid[1] - grid[0]))

    def before(factor, variance):
        return np.array([gaussian(grid, factor * value, variance) for value in clean])

    def seen(factor, variance):
        return gaussian(x_t, factor * grid, variance)

    each, likelihood, one = before(np.sqrt(bar_s), 1 - bar_s), seen(np.sqrt(kept), 1 - kept), bars[t] / bars[t - 1]
    prior = each.sum(axis=0)
    products = {
        "this is q(x_s), as if x_t were not known: multiply it by how likely x_t is, seen from each x_s": prior,
        "this uses only how likely x_t is, seen from each x_s: multiply it by q(x_s), which says what values occur": (
            likelihood
        ),
        "from x_s to x_t you took ᾱ_t, which starts at the *clean* value: which steps lie between s and t?": (
            prior * seen(np.sqrt(bar_t), 1 - bar_t)
        ),
        "from x_s to x_t you took α_t, a single step: t − s steps lie between": prior * seen(np.sqrt(one), 1 - one),
        "from x_s to x_t you took ᾱ_s, which describes the steps *before* s": prior * seen(np.sqrt(bar_s), 1 - bar_s),
        "s and t are exchanged: x_s is the cleaner one, so x_t is around a multiple of x_s, and not the reverse": (
            prior * gaussian(grid, np.sqrt(kept) * x_t, 1 - kept)
        ),
        "you gave `gaussian` the standard deviation; its third argument is the variance": (
            before(np.sqrt(bar_s), np.sqrt(1 - bar_s)).sum(axis=0) * seen(np.sqrt(kept), np.sqrt(1 - kept))
        ),
        "a square root is missing: one that multiplies x_s or the clean values": (
            before(bar_s, 1 - bar_s).sum(axis=0) * seen(kept, 1 - kept)
        ),
        "a square root is missing: values are multiplied by √(ᾱ_t/ᾱ_s), not by ᾱ_t/ᾱ_s": prior * seen(kept, 1 - kept),
        "a square root is missing: at step s the clean values are multiplied by √ᾱ_s, not by ᾱ_s": (
            before(bar_s, 1 - bar_s).sum(axis=0) * likelihood
        ),
        "at step s the clean values are already smaller: the jump multiplies them by √ᾱ_s": (
            before(1.0, 1 - bar_s).sum(axis=0) * likelihood
        ),
        "you took ᾱ_t for q(x_s): at step s it is ᾱ_s": before(np.sqrt(bar_t), 1 - bar_t).sum(axis=0) * likelihood,
        "you put one Gaussian around the mean of the clean values: each clean value needs its own": (
            gaussian(grid, np.sqrt(bar_s) * clean.mean(), 1 - bar_s) * likelihood
        ),
        "you multiplied the Gaussians of the clean values: the clean value is one *or* another, so add them": (
            each.prod(axis=0) * likelihood
        ),
        "each clean value counts the same in your result: one that explains x_t better is more probable": sum(
            map(density, each * likelihood)
        ),
    }
    right = density(prior * likelihood)
    mistakes = {sentence: density(values) for sentence, values in products.items()}
    otherwise = "this is not q(x_s) times how likely x_t is, seen from x_s, divided by its integral"
    return compare(run(reverse_density, *case), right, mistakes, otherwise, what="the density")
