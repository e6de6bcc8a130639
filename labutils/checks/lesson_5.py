"""Checks of lesson 5: one reverse step, the whole loop, the exact denoiser, patches, a step without fresh noise."""

import contextlib

import numpy as np

from labutils.checks.feedback import Check, require, run
from labutils.checks.values import StubNetwork, as_array, as_numbers, close, compare, ignores
from labutils.sampling import exact_noise_predictor, patch_sums
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
check_exact_x0 = Check(
    "5.3",
    "exact_x0",
    "``exact_x0(images, schedule, x, t)`` is the best x̂_0 if the data set is just ``images``: their weighted mean.",
)
check_ddim_step = Check(
    "5.4",
    "ddim_step",
    "``ddim_step(schedule, x, t, s, predicted_noise)`` goes from step t to step s without fresh noise.",
)
check_patch_x0 = Check(
    "5.5",
    "patch_x0",
    "``patch_x0(images, schedule, x, t, patch)`` is x̂_0 if each pixel is judged by the patch around it.",
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


@check_exact_x0.property("with one image it is this image")
def _(exact_x0, rng):
    image, x = _image(rng), rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
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
    s, middle = linear_schedule(), 0.3 * _image(rng)[0]
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
    schedule, image = linear_schedule(), _image(rng)
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
