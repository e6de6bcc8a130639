"""Checks of lesson 5: one reverse step, and the whole loop."""

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


def _image(rng):
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

    _walk(sampling_loop, rng, _image(rng), look)
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
    image = _image(rng)
    (end,) = _walk(sampling_loop, rng, image)
    gap = np.abs(end - image).max()
    require(
        gap < 1e-3,
        "with one known image and its exact noise predictor, a correct sampler returns that image; "
        f"yours misses it by {gap:.2g}. Is fresh noise added at t = 0? Is x replaced at every step?",
    )


@check_sampling_loop.property("with two known images it ends at one of them, chosen by chance")
def _(sampling_loop, rng):
    image = _image(rng)
    first, second = _walk(sampling_loop, rng, np.concatenate([image, -image]), seeds=(0, 1))
    near = [min(np.abs(x - image[0]).max(), np.abs(x + image[0]).max()) for x in first]
    require(max(near) < 0.05, "with two known images every sample should be one of the two; some of yours are neither")
    require(
        not np.array_equal(first, second),
        "another random generator gives the very same result: draw new noise z from `rng` at every step",
    )
