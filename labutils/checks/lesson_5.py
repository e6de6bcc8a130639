"""Checks of lesson 5: one reverse step, the whole loop, a step without fresh noise."""

import numpy as np

from labutils.checks.feedback import Check, require, run
from labutils.checks.values import StubNetwork, as_numbers, close, compare, ignores
from labutils.sampling import exact_noise_predictor
from labutils.schedule import linear_schedule

check_reverse_step = Check(
    "5.1",
    "reverse_step",
    "``reverse_step(schedule, xt, t, predicted_noise, noise)`` is one step of ancestral sampling.",
)
check_sampling_loop = Check(
    "5.2",
    "sampling_loop",
    "``sampling_loop(network, schedule, x, rng)`` turns noise into images: t = T-1 … 0, each once.",
)
check_ddim_step = Check(
    "5.4",
    "ddim_step",
    "``ddim_step(schedule, x, t, s, predicted_noise)`` goes from step t to step s without fresh noise.",
)


@check_reverse_step.property("right for every t > 0")
def _(reverse_step, rng):
    for t in (999, 500, 100, 10, 1):
        _judge_step(reverse_step, t, rng)


@check_reverse_step.property("no noise is added at t = 0")
def _(reverse_step, rng):
    _judge_step(reverse_step, 0, rng)


def _judge_step(reverse_step, t, rng):
    s = linear_schedule()
    xt, predicted, z = rng.standard_normal((3, 5, 4, 4, 1)).astype(np.float32)
    beta, alpha, bar, tilde = s.betas[t], s.alphas[t], s.alpha_bars[t], s.posterior_variances[t]
    root_tilde, root_scale, right_share = np.sqrt(tilde), np.sqrt(1 / alpha), beta / np.sqrt(1 - bar)

    def step(sigma=root_tilde, scale=root_scale, share=right_share):
        return scale * (xt - share * predicted) + sigma * z

    right = step()
    mistakes = {
        "β taken for β̃: σ_t is √β̃_t (`schedule.posterior_variances`), and so no noise is added at t = 0": step(
            sigma=np.sqrt(beta)
        ),
        "the root over β̃_t is missing: σ_t = √β̃_t": step(sigma=tilde),
        "the noise z is not added": step(sigma=0.0),
        "noise is added at full strength: multiply z by σ_t = √β̃_t": step(sigma=1.0),
        "the predicted noise is added; it should be taken away": step(share=-right_share),
        "you used ᾱ_t where α_t is needed in √(1/α_t)": step(scale=np.sqrt(1 / bar)),
        "the factor √(1/α_t) is missing": step(scale=1.0),
        "√α_t multiplies; it should divide: √(1/α_t)": step(scale=np.sqrt(alpha)),
        "the root is missing in √(1/α_t)": step(scale=1 / alpha),
        "the root is missing: β_t / √(1 − ᾱ_t)": step(share=beta / (1 - bar)),
        "you used α_t where ᾱ_t is needed in √(1 − ᾱ_t)": step(share=beta / np.sqrt(1 - alpha)),
        "all of the noise is removed at once; one step takes only β_t / √(1 − ᾱ_t) of it": step(share=1.0),
    }
    # One mistake may look like another at some t (β ≈ β̃ at large t), so every step is judged with little tolerance.
    answer = as_numbers(run(reverse_step, s, xt, t, predicted, z), xt.shape, "x_{t-1}")
    # float32 tables lose digits in 1 − ᾱ_t at the first steps; β and β̃ differ by far more there.
    if close(answer, right, 1e-4 if t > 1 else 5e-4):
        return
    extra = answer - right
    require(
        t > 0 or not close(extra, z * (np.sum(extra * z) / np.sum(z * z))),
        "noise is added at the last step, t = 0; there σ must be 0",
    )
    otherwise = f"at t = {t}: x_{{t-1}} should be √(1/α_t) (x_t − β_t/√(1 − ᾱ_t) ε_θ) + √β̃_t z"
    if t > 0 and ignores((answer - step(sigma=0.0)) / root_tilde, z):
        otherwise = "z should be the argument `noise`: draw no noise of your own"
    compare(
        right + 1e3 * (answer - right), right, {k: right + 1e3 * (m - right) for k, m in mistakes.items()}, otherwise
    )


def _walk(sampling_loop, rng, images, look=None, seeds=(0,)):
    """The results of the student's loop, one for each seed; the network knows the data set ``images`` exactly."""
    schedule = linear_schedule(60, 1e-3, 0.3)
    start = rng.standard_normal((6, *images.shape[1:])).astype(np.float32)
    exact = exact_noise_predictor(images, schedule)
    network = StubNetwork(lambda xt, time: exact([xt, time]), [(None, *images.shape[1:]), (None, 1)], look)
    return [
        as_numbers(run(sampling_loop, network, schedule, start, np.random.default_rng(seed)), start.shape, "x")
        for seed in seeds
    ]


def one_image(rng):
    """A data set of one image, (1, 4, 4, 1)."""
    return rng.uniform(-1, 1, (1, 4, 4, 1)).astype(np.float32)


@check_sampling_loop.property("the network sees t = T − 1 … 0, each once, as t/T")
def _(sampling_loop, rng):
    T, times, seen = 60, [], []

    def look(xt, time):
        column = as_numbers(time, what="the time given to the network")
        require(column.max() <= 1, "the network gets t itself: it was trained with t/T, a number in [0, 1)")
        require(column.shape == (len(xt), 1), f"the time should be a column {(len(xt), 1)}, got {column.shape}")
        times.append(int(round(float(column[0, 0]) * T)))
        seen.append(as_numbers(xt, what="the images given to the network"))

    _walk(sampling_loop, rng, one_image(rng), look)
    expected = list(range(T - 1, -1, -1))
    require(times != expected[::-1], "the loop runs from t = 0 upwards; sampling starts at t = T − 1 and goes down")
    require(times != expected[:-1], "the loop stops before t = 0: range(T - 1, -1, -1) includes 0")
    require(not times or times[0] != T, "the loop starts at t = T; the first index is T − 1")
    require(
        times == expected,
        f"the network should see t = {T - 1}, {T - 2}, …, 0, each once; it saw "
        f"{times[:3]} … {times[-3:]}, {len(times)} calls",
    )
    require(
        not np.array_equal(seen[0], seen[-1]),
        "the network gets the same images at every step: is x replaced by the result of each step?",
    )


@check_sampling_loop.property("with one known image it ends there")
def _(sampling_loop, rng):
    image = one_image(rng)
    (end,) = _walk(sampling_loop, rng, image)
    gap = np.abs(end - image).max()
    require(
        gap < 1e-3,
        "with one known image and its exact noise predictor, a correct sampler returns that image; "
        f"yours misses it by {gap:.2g}. Is fresh noise added at t = 0? Is x replaced at every step?",
    )


@check_sampling_loop.property("with two known images it ends at one of them, chosen by chance")
def _(sampling_loop, rng):
    image = one_image(rng)
    first, second = _walk(sampling_loop, rng, np.concatenate([image, -image]), seeds=(0, 1))
    near = [min(np.abs(x - image[0]).max(), np.abs(x + image[0]).max()) for x in first]
    require(max(near) < 0.05, "with two known images every sample should be one of the two; some of yours are neither")
    require(
        not np.array_equal(first, second),
        "another random generator gives the very same result: draw new noise z from `rng` at every step",
    )


def _mixed(signal, noise, x0, e):
    return signal * x0 + noise * e


@check_ddim_step.property("with the true noise it gives add_noise(x_0, s, ε), each time")
def _(ddim_step, rng):
    schedule = linear_schedule()
    for t, s in ((800, 300), (500, 499), (300, 20), (999, 400)):
        x0, e = rng.uniform(-1, 1, (3, 4, 4, 1)), rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
        bar, new = schedule.alpha_bars[t], schedule.alpha_bars[s]
        x = _mixed(np.sqrt(bar), np.sqrt(1 - bar), x0, e).astype(np.float32)
        signal, noise = np.sqrt(new), np.sqrt(1 - new)
        before, after = schedule.alpha_bars[s - 1], schedule.alpha_bars[s + 1]
        mistakes = {
            "the noise is left out: keep both parts, signal and noise": signal * x0,
            "signal and noise are swapped": _mixed(noise, signal, x0, e),
            "the square roots are missing: x_s = √ᾱ_s … + √(1 − ᾱ_s) …": _mixed(new, 1 - new, x0, e),
            "you returned x̂_0; for s ≥ 0 mix it with the noise again": x0,
            "you returned the noise": e,
            "x is returned as it was": x,
            "the noise still has the level of step t": _mixed(signal, np.sqrt(1 - bar), x0, e),
            "the signal still has the level of step t": _mixed(np.sqrt(bar), noise, x0, e),
            "x_t is mixed with noise as if it were a clean image: find x̂_0 first": _mixed(signal, noise, x, e),
            "you used α_s where ᾱ_s is needed": _mixed(np.sqrt(schedule.alphas[s]), np.sqrt(schedule.betas[s]), x0, e),
            "the level is one step too early: use ᾱ_s": _mixed(np.sqrt(before), np.sqrt(1 - before), x0, e),
            "the level is one step too late: use ᾱ_s": _mixed(np.sqrt(after), np.sqrt(1 - after), x0, e),
        }
        answer, again = (run(ddim_step, schedule, x, t, s, e) for _ in range(2))
        if close(as_numbers(answer, what="x_s", like=x.shape), as_numbers(again, what="x_s", like=x.shape)):
            otherwise = f"from t = {t} to s = {s}: x_s should hold the same x̂_0 and the same noise, mixed at level s"
        else:
            otherwise = "two calls give different results: keep the noise that is in x, and draw none of your own"
        compare(answer, _mixed(signal, noise, x0, e), mistakes, otherwise, what="x_s")


@check_ddim_step.property("s = −1, after the last step, gives x̂_0")
def _(ddim_step, rng):
    schedule = linear_schedule()
    for t in (0, 49, 700):
        x0, e = rng.uniform(-1, 1, (3, 4, 4, 1)), rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
        bar, first, last = schedule.alpha_bars[[t, 0, -1]]
        x = _mixed(np.sqrt(bar), np.sqrt(1 - bar), x0, e).astype(np.float32)
        mistakes = {
            "for s = −1 Python takes the last ᾱ of the table, nearly pure noise; at the end no noise is left": (
                _mixed(np.sqrt(last), np.sqrt(1 - last), x0, e)
            ),
            "for s = −1 you used ᾱ_0; after the last step no noise is left": _mixed(
                np.sqrt(first), np.sqrt(1 - first), x0, e
            ),
            "for s = −1 x is returned as it was; it still has the noise of step t": x,
        }
        otherwise = "s = −1 is the clean image: no noise is left, so the result is x̂_0"
        compare(run(ddim_step, schedule, x, t, -1, e), x0, mistakes, otherwise, what="x_s")


@check_ddim_step.property("with one known image any two steps end there")
def _(ddim_step, rng):
    schedule, image = linear_schedule(), one_image(rng)
    start = rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
    for stop in (900, 400, 3):
        x = start
        for t, s in ((999, stop), (stop, -1)):
            bar = schedule.alpha_bars[t]
            e = ((x - np.sqrt(bar) * image) / np.sqrt(1 - bar)).astype(np.float32)
            x = as_numbers(run(ddim_step, schedule, x, t, s, e), start.shape, "x_s").astype(np.float32)
        require(
            np.abs(x - image).max() < 1e-3,
            f"with one known image the two steps 999 → {stop} → −1 should end at it; yours miss it by "
            f"{np.abs(x - image).max():.2g}",
        )
