"""The way back: both forms of the posterior, the exact denoiser as an oracle, and what is refused."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from labutils import networks, pretrained, samplers, sampling, training
from labutils.sampling import compiled
from labutils.schedule import cosine_schedule, linear_schedule

S = linear_schedule()
RNG = np.random.default_rng(0)


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
    exact = sampling.exact_noise_predictor(image, S)
    drawn = sampling.sample(exact, S, 3, (6, 6, 2), steps=steps, sampler=sampler, progress=False)
    assert drawn.shape == (3, 6, 6, 2) and np.abs(drawn - image).max() < 1e-3


def test_samples_come_from_the_data_set_in_right_proportion():
    data = RNG.uniform(-1, 1, (4, 4, 4, 1)).astype("float32")
    drawn = sampling.sample(sampling.exact_noise_predictor(data, S), S, 400, (4, 4, 1), seed=3, progress=False)
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
        walk = sampling.reverse_process(network, S, start, sampler=sampler, steps=steps, guess=False, chunk=1)
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


@pytest.mark.parametrize("target", ["noise", "v", "x0"])
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_the_compiled_loop_equals_the_plain_one(sampler, target):
    x = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    options = {"sampler": sampler, "steps": 12, "target": target}
    calls = sampling.Sampler(network_for_loops, S, (4, 4, 1), **options).t
    plain = sampling.table_sampling(network_for_loops, S, x, SameNoise(5, calls), **options)
    *_, (_, fast, _) = sampling.reverse_process(network_for_loops, S, x, seed=5, chunk=5, **options)
    np.testing.assert_allclose(plain, fast, rtol=1e-3, atol=1e-3)


def test_algorithm_2_is_the_sampler_ddpm_over_all_steps():
    s = linear_schedule(50, 1e-3, 0.3)
    x = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    steps = range(s.T - 1, -1, -1)
    plain = sampling.ancestral_sampling(network_for_loops, s, x, SameNoise(5, steps))
    by_table = sampling.table_sampling(network_for_loops, s, x, SameNoise(5, steps), sampler="ddpm")
    *_, (_, fast, _) = sampling.reverse_process(network_for_loops, s, x, seed=5, sampler="ddpm")
    np.testing.assert_allclose(plain, by_table, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(plain, fast, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("eta", [1.2, 1.0001, -0.1, float("nan")])
def test_eta_out_of_range_is_refused(eta):
    with pytest.raises(ValueError, match=rf"eta must lie in \[0, 1\], got {eta}"):
        samplers.ddim(S, samplers.spaced_steps(S.T, 5), eta=eta)
    with pytest.raises(ValueError, match="eta must lie in"):
        sampling.sample(network_for_loops, S, 1, (4, 4, 1), sampler=partial(samplers.ddim, eta=eta), progress=False)


def test_a_network_is_drawn_from_by_its_own_target():
    """Without a word about the target: as with it. Another one is refused, by every way that draws or measures."""
    network, schedule, shape, options = pretrained.load_for_sampling("fast")
    chosen = {"sampler": "ddim", "steps": 3, "progress": False}
    drawn = sampling.sample(network, schedule, 2, shape, **chosen)
    assert options == {"target": "x0"}
    assert np.array_equal(drawn, sampling.sample(network, schedule, 2, shape, **chosen, **options))
    x = RNG.standard_normal((2, *shape), np.float32)
    refused = "target must be 'x0', which the network was trained to predict; got 'noise'"
    for call in (
        lambda: sampling.sample(network, schedule, 2, shape, target="noise", **chosen),
        lambda: sampling.table_sampling(network, schedule, x, RNG, steps=3, target="noise"),
        lambda: sampling.ancestral_sampling(network, schedule, x, RNG),
        lambda: training.noise_mse(network, schedule, np.zeros((2, *shape))),
    ):
        with pytest.raises(ValueError, match=refused):
            call()


@pytest.mark.parametrize("target", ["v", "noise"])
def test_a_network_remembers_what_it_was_trained_for(target):
    network, x = networks.build("classic", (8, 8, 1)), RNG.uniform(-1, 1, (8, 8, 8, 1)).astype("float32")
    training.train(network, S, x, 1, recipe=training.Recipe(target=target))
    network = networks.fuse_upsampling(network)
    options = {"sampler": "ddim", "steps": 2, "progress": False}
    drawn = sampling.sample(network, S, 2, (8, 8, 1), **options)
    assert np.array_equal(drawn, sampling.sample(network, S, 2, (8, 8, 1), target=target, **options))
    with pytest.raises(ValueError, match=f"target must be '{target}'"):
        sampling.sample(network, S, 2, (8, 8, 1), target="v" if target == "x0" else "x0", **options)


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
    exact = sampling.exact_noise_predictor(np.zeros((1, 4, 4, 1)), S)
    drawn = sampling.sample(exact, S, 1, (4, 4, 1), steps=3, sampler=partial(samplers.ddim, eta=0.5), progress=False)
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

    sampling.sample(network, S, 3 * compiled.BATCH + 5, (4, 4, 1), steps=60, progress=False)
    assert len(traces) == 1


def test_targets_give_the_same_images():
    """A network that answers v or x_0 draws what the same network answering ε would."""
    exact = sampling.exact_noise_predictor(RNG.uniform(-1, 1, (4, 4, 4, 1)).astype("float32"), S)

    def answering(kind):
        def network(inputs):
            t = tf.cast(tf.round(inputs[1][:, 0] * S.T), tf.int32)
            noise = exact(inputs)
            return S.target(S.predict_x0(inputs[0], t, noise), t, noise, kind)

        return network

    drawn = [
        sampling.sample(answering(kind), S, 4, (4, 4, 1), steps=30, target=kind, progress=False)
        for kind in ("noise", "v", "x0")
    ]
    assert np.allclose(drawn[0], drawn[1], atol=1e-3) and np.allclose(drawn[0], drawn[2], atol=1e-3)


def test_guidance_follows_labels():
    """Two images, two labels, and the exact answer for each: with labels each start ends at its own image."""
    data = RNG.uniform(-1, 1, (2, 4, 4, 1)).astype("float32")
    one, other, both = (sampling.exact_noise_predictor(x, S) for x in (data[:1], data[1:], data))

    def network(inputs):
        label = inputs[2][:, None, None, None]
        return tf.where(label == 0, one(inputs[:2]), tf.where(label == 1, other(inputs[:2]), both(inputs[:2])))

    labels = np.array([0, 1, 1, 0])
    for weight in (0, 0.5):
        drawn = sampling.sample(network, S, 4, (4, 4, 1), labels=labels, guidance=weight, steps=50, progress=False)
        assert np.abs(drawn - data[labels]).max() < 0.02
    free = sampling.sample(network, S, 40, (4, 4, 1), labels=np.full(40, -1), guidance=0, steps=50, progress=False)
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


def test_seeds_chunks_and_batches():
    data = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    exact = sampling.exact_noise_predictor(data, S)

    def draw(count=6, **options):
        return sampling.sample(exact, S, count, (4, 4, 1), steps=40, progress=False, **options)

    assert np.array_equal(draw(seed=1), draw(seed=1))
    assert not np.array_equal(draw(seed=1), draw(seed=2))
    assert draw(count=compiled.BATCH + 3).shape[0] == compiled.BATCH + 3
    start = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    ends = [list(sampling.reverse_process(exact, S, start, seed=5, steps=40, chunk=c))[-1][1] for c in (1, 7, 40, 999)]
    assert all(np.array_equal(ends[0], end) for end in ends[1:]), "the result must not depend on when somebody looks"


def test_constrain_keeps_known_pixels():
    data = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :2] = 1
    exact = sampling.exact_noise_predictor(data, S)
    keep = {"constrain": lambda x0, t: sampling.inpaint(x0, data[:1], mask)}
    drawn = sampling.sample(exact, S, 4, (4, 4, 1), steps=50, progress=False, **keep)
    assert np.abs((drawn - data[:1]) * mask).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count must be an integer of at least 1"),
        ({"count": 1.5}, "count must be"),
        ({"steps": 0}, r"steps must be an integer in 1 … 1000"),
        ({"steps": 1001}, r"steps must be an integer in 1 … 1000"),
        ({"sampler": "euler"}, "unknown sampler 'euler', known: ddpm, ddim, dpmpp_2m, heun"),
        ({"target": "score"}, "unknown target 'score'"),
        ({"guidance": -1, "labels": [0]}, "guidance must be at least 0"),
        ({"guidance": 1}, "needs guidance and one label for each of the 1 images"),
        ({"labels": [0]}, "another network neither; got guidance=None and 1 labels"),
        ({"labels": [0, 1], "guidance": 1}, "got guidance=1 and 2 labels"),
        ({"resample": 0}, "resample must be an integer of at least 1, got 0"),
        ({"resample": 2, "jump": 1.5}, "jump must be an integer"),
        ({"resample": 2, "sampler": "dpmpp_2m", "steps": 5}, "needs a sampler with one estimate per step"),
    ],
)
def test_bad_arguments(options, message):
    arguments = {"count": 1, "shape": (4, 4, 1), "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        sampling.sample(lambda inputs: inputs[0], S, **arguments)


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
    exact = sampling.exact_noise_predictor(data, S)

    def misfit(**options):
        options |= {"constrain": lambda x0, t: sampling.inpaint(x0, data[:1], mask), "progress": False}
        drawn = sampling.sample(exact, S, 64, (6, 6, 1), steps=4, seed=2, **options)
        return float(np.mean(np.abs(drawn - data[:1]).max(axis=(1, 2, 3)) > 0.1))

    assert misfit(resample=6) < misfit() / 2


def test_a_network_with_labels_is_not_run_without_them():
    """Without labels it would silently draw class 0."""
    start = np.zeros((2, 4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="one label for each of the 2 images"):
        sampling.reverse_process(lambda inputs: inputs[0], S, start, guidance=0.5)
    with pytest.raises(ValueError, match="got guidance=None and 2 labels"):
        sampling.reverse_process(lambda inputs: inputs[0], S, start, labels=[1, 2])
    process = sampling.Sampler(lambda inputs: inputs[0], S, (4, 4, 1), guidance=0.5)
    with pytest.raises(ValueError, match="and no labels"):
        next(process.run(start))
