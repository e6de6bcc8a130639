"""Checks of lessons 5 and 6: one reverse step, the whole loop, and inpainting."""

import numpy as np

from labutils.checks.feedback import StandIn, as_numbers, close, compare, passed, require, run
from labutils.sampling import exact_noise_predictor
from labutils.schedule import linear_schedule


def check_reverse_step(reverse_step):
    """``reverse_step(schedule, xt, t, predicted_noise, noise)`` is one step of ancestral sampling."""
    s = linear_schedule()
    rng = np.random.default_rng(2)
    xt, predicted, z = rng.standard_normal((3, 5, 4, 4, 1)).astype(np.float32)
    for t in (999, 500, 100, 10, 1, 0):
        beta, alpha, bar, tilde = s.betas[t], s.alphas[t], s.alpha_bars[t], s.posterior_variances[t]

        root_tilde, root_scale, right_share = np.sqrt(tilde), np.sqrt(1 / alpha), beta / np.sqrt(1 - bar)

        def step(sigma=root_tilde, scale=root_scale, share=right_share):
            return scale * (xt - share * predicted) + sigma * z

        right = step()
        mistakes = {
            "β taken for β̃: σ_t is √β̃_t (`schedule.posterior_variances`), and so no noise is added at t = 0":
                step(sigma=np.sqrt(beta)),
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
        }  # fmt: skip
        # One mistake may look like another at some t (β ≈ β̃ at large t), so every step is judged with little tolerance.
        answer = as_numbers(run(reverse_step, s, xt, t, predicted, z), xt.shape)
        # float32 tables lose digits in 1 − ᾱ_t at the first steps; β and β̃ differ by far more there.
        if close(answer, right, 1e-4 if t > 1 else 5e-4):
            continue
        extra = answer - right
        require(t > 0 or not close(extra, z * (np.sum(extra * z) / np.sum(z * z))), "noise is added at the last step, "
                "t = 0; there σ must be 0")  # fmt: skip
        compare(right + 1e3 * (answer - right), right, {k: right + 1e3 * (m - right) for k, m in mistakes.items()},
                f"at t = {t}: x_{{t-1}} should be √(1/α_t) (x_t − β_t/√(1 − ᾱ_t) ε_θ) + √β̃_t z")  # fmt: skip
    passed("reverse_step")


def check_sampling_loop(sampling_loop):
    """``sampling_loop(network, schedule, x, rng)`` takes noise to images: t = T-1 … 0, each once."""
    s = linear_schedule(60, 1e-3, 0.3)
    rng = np.random.default_rng(3)
    image = rng.uniform(-1, 1, (1, 4, 4, 1)).astype(np.float32)
    exact = exact_noise_predictor(image, s)
    times = []

    def look(xt, time):
        column = as_numbers(time, what="the time given to the network")
        require(column.max() <= 1, "the network gets t itself: it was trained with t/T, a number in [0, 1)")
        require(column.shape == (len(start), 1), f"the time should be a column {(len(start), 1)}, got {column.shape}")
        times.append(int(round(float(column[0, 0]) * s.T)))

    start = rng.standard_normal((6, 4, 4, 1)).astype(np.float32)
    network = StandIn(lambda xt, time: exact([xt, time]), look)
    answer = as_numbers(run(sampling_loop, network, s, start, np.random.default_rng(0)), start.shape)
    expected = list(range(s.T - 1, -1, -1))
    require(times != expected[::-1], "the loop runs from t = 0 upwards; sampling starts at t = T − 1 and goes down")
    require(times != expected[:-1], "the loop stops before t = 0: range(T - 1, -1, -1) includes 0")
    require(not times or times[0] != s.T, "the loop starts at t = T; the first index is T − 1")
    require(times == expected, f"the network should see t = {s.T - 1}, {s.T - 2}, …, 0, each once; it saw "
            f"{times[:3]} … {times[-3:]}, {len(times)} calls")  # fmt: skip
    gap = np.abs(answer - image).max()
    require(gap < 1e-3, "with one known image and its exact noise predictor, a correct sampler returns that image; "
            f"yours misses it by {gap:.2g}. Is fresh noise added at t = 0? Is x replaced at every step?")  # fmt: skip
    exact_of_two = exact_noise_predictor(np.concatenate([image, -image]), s)
    network = StandIn(lambda xt, time: exact_of_two([xt, time]))
    first, second = (as_numbers(run(sampling_loop, network, s, start, np.random.default_rng(k))) for k in (0, 1))
    near = [min(np.abs(x - image[0]).max(), np.abs(x + image[0]).max()) for x in first]
    require(max(near) < 0.05, "with two known images every sample should be one of the two; some of yours are neither")
    require(not np.array_equal(first, second), "another random generator gives the very same result: draw new noise z "
            "from `rng` at every step")  # fmt: skip
    passed("sampling_loop")


def check_inpaint(inpaint):
    """``inpaint(x0, known, mask)`` keeps ``known`` where mask = 1 and x̂_0 elsewhere."""
    rng = np.random.default_rng(4)
    x0, known = rng.uniform(-1, 1, (2, 3, 8, 8, 1)).astype(np.float32)
    for mask in (rng.integers(0, 2, (1, 8, 8, 1)).astype(np.float32), np.ones((1, 8, 8, 1), np.float32)):
        right = mask * known + (1 - mask) * x0
        mistakes = {
            "the mask is upside down: where it is 1 the known pixels stay": (1 - mask) * known + mask * x0,
            "the known pixels are not put in": x0,
            "the network's guess x̂_0 is lost: keep it where the mask is 0": mask * known,
            "known and guess are added; where the mask is 1 the known pixel replaces the guess": mask * known + x0,
            "you averaged the two; the mask decides pixel by pixel": (known + x0) / 2,
        }
        compare(run(inpaint, x0, known, mask), right, mistakes, "should be mask · known + (1 − mask) · x̂_0")
    passed("inpaint")
