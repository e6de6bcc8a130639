"""The way back: both forms of the posterior, the exact denoiser as an oracle, and what is refused."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from labutils import networks, samplers, sampling
from labutils.diffusion import Diffusion
from labutils.sampling import compiled
from labutils.schedule import PREDICTIONS, cosine_schedule, linear_schedule

S = linear_schedule()
RNG = np.random.default_rng(0)


def exact_for(images, s=S):
    """The exact denoiser as a diffusion model."""
    return Diffusion(sampling.exact_noise_predictor(images, s), s)


@pytest.mark.parametrize("s", [S, linear_schedule(50, 1e-3, 0.3), cosine_schedule(100)], ids=repr)
def test_x0_form_and_noise_form_agree_for_all_t(s):
    x0, noise = RNG.standard_normal((2, s.T, 4, 4, 1)).astype("float32")
    t = np.arange(s.T)
    xt = s.add_noise(x0, t, noise)
    from_x0 = sampling.posterior_mean(s, x0, xt, t)
    from_noise = sampling.reverse_step(s, xt, t, noise, np.zeros_like(x0))
    assert np.allclose(from_x0, from_noise, atol=2e-3)


def test_posterior_by_bayes_rule_on_samples():
    """Mean and variance of x_{t-1} given x_t, measured on pairs drawn by the forward process alone."""
    s, t, x0 = linear_schedule(20, 0.01, 0.3), 8, 0.5
    rng = np.random.default_rng(1)
    before = np.sqrt(s.alpha_bars[t - 1]) * x0 + np.sqrt(1 - s.alpha_bars[t - 1]) * rng.standard_normal(2_000_000)
    after = np.sqrt(s.alphas[t]) * before + np.sqrt(s.betas[t]) * rng.standard_normal(before.shape)
    near = np.abs(after - 0.3) < 0.01
    mean = np.asarray(sampling.posterior_mean(s, np.full((1, 1), x0), np.full((1, 1), 0.3), t)).item()
    assert abs(before[near].mean() - mean) < 0.02
    assert abs(before[near].var() / s.posterior_variances[t] - 1) < 0.05


def test_no_noise_at_the_last_step():
    xt, predicted, z = RNG.standard_normal((3, 2, 4, 4, 1)).astype("float32")
    quiet, loud = (np.asarray(sampling.reverse_step(S, xt, 0, predicted, k * z)) for k in (0, 100))
    assert np.array_equal(quiet, loud)
    assert np.allclose(quiet, S.predict_x0(xt, 0, predicted), atol=1e-5)


@pytest.mark.parametrize("steps", [None, 7, 1])
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_one_known_image_is_returned_exactly(sampler, steps):
    image = RNG.uniform(-1, 1, (1, 6, 6, 2)).astype("float32")
    drawn = sampling.sample(exact_for(image), 3, (6, 6, 2), steps=steps, sampler=sampler, progress=False)
    assert drawn.shape == (3, 6, 6, 2) and np.abs(drawn - image).max() < 1e-3


def test_samples_come_from_the_data_set_in_right_proportion():
    data = RNG.uniform(-1, 1, (4, 4, 4, 1)).astype("float32")
    drawn = sampling.sample(exact_for(data), 400, (4, 4, 1), seed=3, progress=False)
    distance = np.abs(drawn[:, None] - data[None]).max(axis=(2, 3, 4))
    assert distance.min(axis=1).max() < 0.01
    counts = np.bincount(distance.argmin(axis=1), minlength=4)
    assert counts.min() > 60, f"each of four images should be drawn about 100 times, got {counts}"


def test_ddpm_over_all_steps_is_the_posterior():
    """DDIM with η = 1 against DDPM's formulas."""
    table = samplers.SAMPLERS["ddpm"](S, np.arange(S.T)[::-1])
    t = table.t
    assert np.allclose(table.sigma**2, S.posterior_variances[t])
    assert np.allclose(table.b, np.sqrt(S.alpha_bars_previous[t]) * S.betas[t] / (1 - S.alpha_bars[t]))
    assert np.allclose(table.a, np.sqrt(S.alphas[t]) * (1 - S.alpha_bars_previous[t]) / (1 - S.alpha_bars[t]))


def test_samplers_without_noise_follow_the_curve_and_better_ones_need_fewer_steps():
    """For Gaussian data N(0, c²) the way back is known: x keeps its place, counted in standard deviations."""
    c = 0.3
    bars = tf.constant(S.alpha_bars, tf.float32)

    def network(inputs):
        bar = tf.gather(bars, tf.cast(tf.round(inputs[1] * S.T), tf.int32))
        return inputs[0] * tf.sqrt(1 - bar) / (bar * c**2 + 1 - bar)  # E[ε | x_t]

    start = RNG.standard_normal((50, 1)).astype("float32")

    def error(sampler, steps):
        """Before the last call, which leads from there to the clean image by x̂_0 alone, whatever the sampler."""
        walk = sampling.trajectory(Diffusion(network, S), start, sampler=sampler, steps=steps, x0=False, chunk=1)
        *_, (t, x, _), _ = walk
        spread = {t: np.sqrt(S.alpha_bars[t] * c**2 + 1 - S.alpha_bars[t]) for t in (S.T - 1, t)}
        return float(np.abs(x - start * spread[t] / spread[S.T - 1]).mean())

    assert all(error(name, 1000) < 0.002 for name in ("ddim", "dpmpp_2m", "heun"))
    assert error("heun", 20) < error("ddim", 20) / 2
    # With steps even in t the last ones are long in λ, and a multistep method shows its order only with many.
    assert error("dpmpp_2m", 1000) < error("ddim", 1000) / 5


class SameNoise:
    """A random generator that gives the noise of the compiled loop, step after step."""

    def __init__(self, seed, steps):
        self.seed, self.steps = seed, iter(steps)

    def standard_normal(self, shape, dtype):
        return tf.random.stateless_normal(shape, seed=[self.seed, next(self.steps)], dtype=dtype)


def network_for_loops(inputs):
    return 0.7 * inputs[0] + tf.reshape(inputs[1], (-1, 1, 1, 1)) * tf.sin(3.0 * inputs[0])


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_the_compiled_loop_equals_the_plain_one(sampler, prediction):
    x = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    diffusion, options = Diffusion(network_for_loops, S, prediction), {"sampler": sampler, "steps": 12}
    calls = sampling.Sampler(diffusion, (4, 4, 1), **options).t
    plain = sampling.plain_sampling(diffusion, x, SameNoise(5, calls), **options)
    *_, (_, fast, _) = sampling.trajectory(diffusion, x, seed=5, chunk=5, **options)
    np.testing.assert_allclose(plain, fast, rtol=1e-3, atol=1e-3)


def test_algorithm_2_is_the_sampler_ddpm_over_all_steps():
    s = linear_schedule(50, 1e-3, 0.3)
    x = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    steps, diffusion = range(s.T - 1, -1, -1), Diffusion(network_for_loops, s)
    plain = sampling.ancestral_sampling(diffusion, x, SameNoise(5, steps))
    by_rows = sampling.plain_sampling(diffusion, x, SameNoise(5, steps), sampler="ddpm")
    *_, (_, fast, _) = sampling.trajectory(diffusion, x, seed=5, sampler="ddpm")
    np.testing.assert_allclose(plain, by_rows, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(plain, fast, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("eta", [1.2, 1.0001, -0.1, float("nan")])
def test_eta_out_of_range_is_refused(eta):
    with pytest.raises(ValueError, match=rf"eta must lie in \[0, 1\], got {eta}"):
        samplers.ddim(S, samplers.spaced_steps(S.T, 5), eta=eta)
    with pytest.raises(ValueError, match="eta must lie in"):
        sampler = partial(samplers.ddim, eta=eta)
        sampling.sample(Diffusion(network_for_loops, S), 1, (4, 4, 1), sampler=sampler, progress=False)


@pytest.mark.parametrize(
    "known", [np.full((8, 8, 1), 255, np.uint8), np.full((1, 8, 8, 1), 1.5), np.full((8, 8, 1), np.nan)]
)
def test_known_pixels_out_of_range_are_refused(known):
    with pytest.raises(ValueError, match=r"known must lie in \[-1, 1\], got .* x / 127.5 - 1"):
        sampling.inpaint(np.zeros((2, 8, 8, 1), np.float32), known, np.ones((8, 8, 1)))


def test_eta_is_between_the_two():
    steps = samplers.spaced_steps(S.T, 10)
    half = partial(samplers.ddim, eta=0.5)(S, steps)
    assert np.allclose(half.sigma, 0.5 * samplers.SAMPLERS["ddpm"](S, steps).sigma)
    assert not samplers.ddim(S, steps).sigma.any()
    exact, sampler = exact_for(np.zeros((1, 4, 4, 1))), partial(samplers.ddim, eta=0.5)
    drawn = sampling.sample(exact, 1, (4, 4, 1), steps=3, sampler=sampler, progress=False)
    assert np.abs(drawn).max() < 1e-3


@pytest.mark.parametrize("name", samplers.SAMPLERS)
def test_calls_of_the_network(name):
    for steps in (1, 2, 25):
        calls = len(samplers.SAMPLERS[name](S, samplers.spaced_steps(S.T, steps)).t)
        assert calls == (2 * steps - 1 if name == "heun" else steps)


def test_one_graph_for_any_number_of_images_and_steps():
    """The network is traced once by each Sampler, not once per step, batch or count."""
    traces = []

    def network(inputs):
        traces.append(1)
        return inputs[0] * 0.5

    sampling.sample(Diffusion(network, S), 3 * compiled.BATCH + 5, (4, 4, 1), steps=60, progress=False)
    assert len(traces) == 1


def test_predictions_give_the_same_images():
    """A network that predicts v, x_0 or the velocity draws what the same network predicting ε would."""
    exact = sampling.exact_noise_predictor(RNG.uniform(-1, 1, (4, 4, 4, 1)).astype("float32"), S)

    def answering(prediction):
        def network(inputs):
            t = tf.cast(tf.round(inputs[1][:, 0] * S.T), tf.int32)
            noise = exact(inputs)
            return S.target(S.predict_x0(inputs[0], t, noise), t, noise, prediction)

        return Diffusion(network, S, prediction)

    first, *others = (sampling.sample(answering(p), 4, (4, 4, 1), steps=30, progress=False) for p in PREDICTIONS)
    assert all(np.allclose(first, other, atol=1e-3) for other in others)


def test_guidance_follows_labels():
    """Two images, two labels, and the exact answer for each: with labels each start ends at its own image."""
    data = RNG.uniform(-1, 1, (2, 4, 4, 1)).astype("float32")
    one, other, both = (sampling.exact_noise_predictor(x, S) for x in (data[:1], data[1:], data))

    def network(inputs):
        label = inputs[2][:, None, None, None]
        return tf.where(label == 0, one(inputs[:2]), tf.where(label == 1, other(inputs[:2]), both(inputs[:2])))

    labels = np.array([0, 1, 1, 0])
    for weight in (0, 0.5):
        diffusion = Diffusion(network, S, guidance=weight)
        drawn = sampling.sample(diffusion, 4, (4, 4, 1), condition=labels, steps=50, progress=False)
        assert np.abs(drawn - data[labels]).max() < 0.02
    none = np.full(40, networks.NO_LABEL)
    free = sampling.sample(Diffusion(network, S), 40, (4, 4, 1), condition=none, steps=50, progress=False)
    assert {int(np.abs(x - data).mean(axis=(1, 2, 3)).argmin()) for x in free} == {0, 1}


def test_exact_predictor_is_the_formula():
    data = RNG.uniform(-1, 1, (5, 3, 3, 1)).astype("float32")
    xt = RNG.standard_normal((2, 3, 3, 1)).astype("float32")
    for t in (5, 300, 999):
        bar = S.alpha_bars[t]
        logits = np.array([[-np.sum((x - np.sqrt(bar) * d) ** 2) / (2 * (1 - bar)) for d in data] for x in xt])
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        x0 = np.einsum("bn,nhwc->bhwc", weights, data)
        expected = (xt - np.sqrt(bar) * x0) / np.sqrt(1 - bar)
        time = np.full((2, 1), t / S.T, np.float32)
        assert np.allclose(sampling.exact_noise_predictor(data, S)([xt, time]), expected, atol=1e-4)


def test_a_patch_of_the_whole_image_gives_the_exact_denoiser():
    data, xt = RNG.uniform(-1, 1, (7, 6, 4, 2)), RNG.standard_normal((3, 6, 4, 2))
    for t in (5, 300, 999):
        for chunk in (3, 500):
            assert np.allclose(
                sampling.local_x0(data, S, xt, t, 11, chunk=chunk), sampling.exact_x0(data, S, xt, t), atol=1e-4
            )
        assert np.allclose(sampling.local_x0(data[:1], S, xt, t, 3), data[:1], atol=1e-6), "one image: only this one"


@pytest.mark.parametrize("soft", [False, True])
def test_chunks_and_what_is_outside_of_a_patch_change_nothing(soft):
    data, xt = RNG.uniform(-1, 1, (9, 12, 12, 1)), RNG.standard_normal((1, 12, 12, 1))
    found, by_chunks = (sampling.local_x0(data, S, xt, 400, 3, soft, chunk=chunk) for chunk in (500, 2))
    assert np.allclose(found, by_chunks, atol=1e-5)
    xt[:, 6:] += 5.0
    changed = np.abs(sampling.local_x0(data, S, xt, 400, 3, soft) - found).max(axis=(0, 2, 3))
    assert changed[6:].max() > 0.01 and changed[: 3 if soft else 5].max() < 0.01


def test_the_sums_over_a_patch():
    values = RNG.standard_normal((2, 6, 5))
    sums, soft = sampling.patch_sums(values, 3), sampling.patch_sums(values, 3, soft=True)
    assert np.allclose(sums[:, 2, 2], values[:, 1:4, 1:4].sum(axis=(1, 2)))
    assert np.allclose(sums[:, 0, 0], values[:, :2, :2].sum(axis=(1, 2))), "cut at the edge"
    near = np.exp(-np.pi * (np.arange(6)[:, None] ** 2 + np.arange(5) ** 2) / 9)
    assert np.allclose(soft[:, 0, 0], (near * values).sum(axis=(1, 2)))
    assert np.allclose(sampling.patch_sums(np.ones((99, 99)), 7, soft=True)[49, 49], 49, rtol=1e-3)


@pytest.mark.parametrize("patch", [0, -3, 4])
def test_a_patch_without_a_middle_is_refused(patch):
    with pytest.raises(ValueError, match="patch must be odd"):
        sampling.local_x0(np.zeros((1, 4, 4, 1)), S, np.zeros((1, 4, 4, 1)), 5, patch)


def test_seeds_chunks_and_batches():
    data = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    exact = exact_for(data)

    def draw(count=6, **options):
        return sampling.sample(exact, count, (4, 4, 1), steps=40, progress=False, **options)

    assert np.array_equal(draw(seed=1), draw(seed=1))
    assert not np.array_equal(draw(seed=1), draw(seed=2))
    assert draw(count=compiled.BATCH + 3).shape[0] == compiled.BATCH + 3
    start = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    ends = [list(sampling.trajectory(exact, start, seed=5, steps=40, chunk=c))[-1][1] for c in (1, 7, 40, 999)]
    assert all(np.array_equal(ends[0], end) for end in ends[1:]), "the result must not depend on when somebody looks"


def test_a_path_can_be_taken_up_on_the_way():
    sampler = sampling.Sampler(Diffusion(network_for_loops, S), (4, 4, 1), steps=12)
    start = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    (t, x, _), *_, (_, end, _) = list(sampler.run(start, 5, chunk=1))[4:]
    (first, _, _), *_, (_, again, _) = sampler.run(x, 5, start=t)
    assert first == t and np.array_equal(end, again)
    with pytest.raises(ValueError, match="start must be at least"):
        next(sampler.run(x, start=int(sampler.t[-1]) - 1))


def test_a_sampler_that_extrapolates_starts_on_the_way_with_a_step_of_ddim():
    """There is no estimate before the first call."""
    xt = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    exact = exact_for(RNG.uniform(-1, 1, (1, 4, 4, 1)).astype("float32"))
    states = [
        list(sampling.Sampler(exact, (4, 4, 1), sampler=name, steps=12).run(xt, chunk=1, start=500))[1][1]
        for name in ("ddim", "dpmpp_2m")
    ]
    assert np.allclose(*states, atol=1e-5)


def test_constrain_keeps_known_pixels():
    data = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :2] = 1
    keep = {"constrain": lambda x0, t: sampling.inpaint(x0, data[:1], mask)}
    drawn = sampling.sample(exact_for(data), 4, (4, 4, 1), steps=50, progress=False, **keep)
    assert np.abs((drawn - data[:1]) * mask).max() < 1e-3
    keep = {"constrain": sampling.as_constraint(sampling.inpaint, data[:1], mask)}  # written for NumPy
    again = sampling.sample(exact_for(data), 4, (4, 4, 1), steps=50, progress=False, **keep)
    np.testing.assert_allclose(drawn, again, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count must be an integer of at least 1"),
        ({"count": 1.5}, "count must be"),
        ({"steps": 0}, r"steps must be an integer in 1 … 1000"),
        ({"steps": 1001}, r"steps must be an integer in 1 … 1000"),
        ({"sampler": "euler"}, "unknown sampler 'euler', known: ddpm, ddim, dpmpp_2m, heun"),
        ({"resample": 0}, "resample must be an integer of at least 1, got 0"),
        ({"shape": None}, "the network is a plain function, so the shape"),
        ({"resample": 2, "sampler": "dpmpp_2m", "steps": 5}, "needs a sampler with one estimate per step"),
    ],
)
def test_bad_arguments(options, message):
    arguments = {"count": 1, "shape": (4, 4, 1), "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        sampling.sample(Diffusion(lambda inputs: inputs[0], S), **arguments)


def test_spaced_steps():
    assert list(samplers.spaced_steps(1000, 1)) == [999]
    assert list(samplers.spaced_steps(1000, 1000)) == list(range(999, -1, -1))
    assert list(samplers.spaced_steps(1000, 5)) == [999, 799, 599, 399, 199]
    for count in (2, 3, 10, 333, 999):
        steps = samplers.spaced_steps(1000, count)
        assert len(set(steps)) == count and steps[0] == 999
        # Every call removes the same share of the steps; the last one, too.
        assert np.allclose(-np.diff([*steps, -1]), 1000 / count, atol=1)


def test_heun_with_few_steps_corrects_gently():
    """A correction multiplies the difference of two estimates: a factor far above 1 would throw x off its path."""
    for steps in (3, 5, 10, 50):
        table = samplers.heun(S, samplers.spaced_steps(S.T, steps))
        assert np.max(table.b[1::2]) < 2


def test_resampled_steps_go_back_by_the_forward_process():
    """Two walks over a block: the step back, the forward process by hand, and the step back once more."""
    steps = samplers.spaced_steps(S.T, 4)
    plain = samplers.SAMPLERS["ddpm"](S, steps)
    table = sampling.resampled(plain, S, times=2, jump=2)
    assert list(table.t) == [steps[i] for i in (0, 1, 0, 1, 2, 3, 2, 3)]
    x, x0 = 0.7, -0.2  # the mean of x after row 1, and the variance of what is added there
    k = S.alpha_bars[steps[0]] / S.alpha_bars[steps[2]]
    assert np.isclose(table.a[1] * x + table.b[1] * x0, np.sqrt(k) * (plain.a[1] * x + plain.b[1] * x0))
    assert np.isclose(table.sigma[1] ** 2, k * plain.sigma[1] ** 2 + 1 - k)
    for row, original in ((0, 0), (2, 0), (3, 1), (4, 2), (7, 3)):  # rows without a way forward are as they were
        assert all(np.isclose(getattr(table, c)[row], getattr(plain, c)[original]) for c in ("a", "b", "sigma"))
    # After the last step of all, x is a clean image: the way forward starts from there.
    assert np.isclose(table.sigma[5] ** 2, 1 - S.alpha_bars[steps[2]])


@pytest.mark.parametrize(("times", "jump"), [(1, 1), (3, 1), (3, 5), (3, 20)])
def test_resampling_keeps_the_distribution(times, jump):
    """For Gaussian data N(0, c²) each row is linear, so the variance of x can be followed exactly: it ends at c²."""
    c = 0.5
    table = sampling.resampled(samplers.SAMPLERS["ddpm"](S, samplers.spaced_steps(S.T, S.T)), S, times, jump)
    bars = S.alpha_bars[table.t]
    estimate = np.sqrt(bars) * c**2 / (bars * c**2 + 1 - bars)  # x̂_0 = E[x_0 | x_t] = estimate · x_t
    variance = 1.0
    for a, b, sigma, slope in zip(table.a, table.b, table.sigma, estimate, strict=True):
        variance = (a + b * slope) ** 2 * variance + sigma**2
    assert abs(np.sqrt(variance) / c - 1) < 0.02


def test_resampling_makes_the_open_part_fit():
    """Half of an image is known. Repeated steps let the other half follow it; a single walk of few steps does not."""
    rng = np.random.default_rng(5)
    tops, bottoms = rng.uniform(-1, 1, (2, 2, 3, 6, 1)).astype("float32")
    data = np.concatenate([tops, bottoms], axis=1)  # two images, whose halves belong together
    mask = np.zeros((1, 6, 6, 1), np.float32)
    mask[:, :3] = 1
    exact = exact_for(data)

    def misfit(**options):
        options |= {"constrain": lambda x0, t: sampling.inpaint(x0, data[:1], mask), "progress": False}
        drawn = sampling.sample(exact, 64, (6, 6, 1), steps=4, seed=2, **options)
        return float(np.mean(np.abs(drawn - data[:1]).max(axis=(1, 2, 3)) > 0.1))

    assert misfit(resample=6) < misfit() / 2


def test_jump_is_an_integer():
    with pytest.raises(ValueError, match="jump must be an integer"):
        sampling.resampled(samplers.ddim(S, samplers.spaced_steps(S.T, 5)), S, 2, 1.5)
