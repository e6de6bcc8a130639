"""The way back: both forms of the posterior, the exact denoiser as an oracle, and what is refused."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from labutils import samplers, sampling
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


@pytest.mark.parametrize("steps", [None, 50, 7, 2, 1])
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
    expected = start * c / np.sqrt(S.alpha_bars[-1] * c**2 + 1 - S.alpha_bars[-1])

    def error(sampler, steps):
        *_, (_, x, _) = sampling.reverse_process(network, S, start, sampler=sampler, steps=steps, guess=False)
        return float(np.abs(x - expected).mean())

    assert all(error(name, 1000) < 0.002 for name in ("ddim", "dpmpp_2m", "heun"))
    assert error("heun", 20) < error("ddim", 20) / 2
    # With steps even in t the last ones are long in λ, and a multistep method shows its order only with many.
    assert error("dpmpp_2m", 1000) < error("ddim", 1000) / 5


def test_eta_is_between_the_two():
    steps = samplers.spaced_steps(S.T, 10)
    half = partial(samplers.ddim, eta=0.5)(S, steps)
    assert np.allclose(half.sigma, 0.5 * samplers.SAMPLERS["ddpm"](S, steps).sigma)
    assert not samplers.ddim(S, steps).sigma.any()
    sampling.sample(sampling.exact_noise_predictor(np.zeros((1, 4, 4, 1)), S), S, 1, (4, 4, 1), steps=3,
                    sampler=partial(samplers.ddim, eta=0.5), progress=False)  # fmt: skip


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

    sampling.sample(network, S, 3 * sampling.BATCH + 5, (4, 4, 1), steps=60, progress=False)
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

    drawn = [sampling.sample(answering(kind), S, 4, (4, 4, 1), steps=30, target=kind, progress=False)
             for kind in ("noise", "v", "x0")]  # fmt: skip
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
    assert draw(count=sampling.BATCH + 3).shape[0] == sampling.BATCH + 3
    start = RNG.standard_normal((3, 4, 4, 1)).astype("float32")
    ends = [list(sampling.reverse_process(exact, S, start, seed=5, steps=40, chunk=c))[-1][1] for c in (1, 7, 40, 999)]
    assert all(np.array_equal(ends[0], end) for end in ends[1:]), "the result must not depend on when somebody looks"


def test_the_loop_is_the_reverse_step():
    """The compiled loop against reverse_step by hand, with the loop's own noise."""
    s = linear_schedule(12, 0.01, 0.4)
    exact = sampling.exact_noise_predictor(RNG.uniform(-1, 1, (3, 4, 4, 1)).astype("float32"), s)
    x = start = RNG.standard_normal((2, 4, 4, 1)).astype("float32")
    for t in range(s.T - 1, -1, -1):
        predicted = exact([x, np.full((2, 1), t / s.T, np.float32)])
        z = tf.random.stateless_normal(x.shape, seed=[9, t])
        x = sampling.reverse_step(s, x, t, predicted, z)
    *_, (_, end, _) = sampling.reverse_process(exact, s, start, seed=9)
    assert np.allclose(x, end, atol=1e-4)


def test_constrain_keeps_known_pixels():
    data = RNG.uniform(-1, 1, (8, 4, 4, 1)).astype("float32")
    mask = np.zeros((1, 4, 4, 1), np.float32)
    mask[:, :2] = 1
    drawn = sampling.sample(sampling.exact_noise_predictor(data, S), S, 4, (4, 4, 1), steps=50, progress=False,
                            constrain=lambda x0, t: sampling.inpaint(x0, data[:1], mask))  # fmt: skip
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
    ],
)
def test_bad_arguments(options, message):
    arguments = {"count": 1, "shape": (4, 4, 1), "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        sampling.sample(lambda inputs: inputs[0], S, **arguments)


def test_spaced_steps():
    assert list(samplers.spaced_steps(1000, 1)) == [999]
    assert list(samplers.spaced_steps(1000, 1000)) == list(range(999, -1, -1))
    for count in (2, 3, 10, 333, 999):
        steps = samplers.spaced_steps(1000, count)
        assert len(set(steps)) == count and steps[0] == 999 and steps[-1] == 0
