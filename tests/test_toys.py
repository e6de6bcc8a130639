"""The small problems of lessons 1 and 6: regression, all the inverses, and islands in the plane."""

import keras
import numpy as np
import pytest

from labutils import toys
from labutils.schedule import linear_schedule
from labutils.toys import inversion, reverse_steps


@pytest.mark.parametrize(("hidden", "parameters"), [((3,), 10), ((3, 3), 22), ((16,), 49), ((64, 64), 4353)])
def test_network_sizes_and_seeds(hidden, parameters):
    network = inversion.build_mlp(hidden)
    assert network.count_params() == parameters
    same, other = inversion.build_mlp(hidden), inversion.build_mlp(hidden, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), same.get_weights(), strict=True))
    assert not np.array_equal(network.get_weights()[1], other.get_weights()[1])


def test_bends_start_inside_the_data():
    w, b = inversion.build_mlp((64,)).get_weights()[:2]
    assert np.all(np.abs(-b / w[0]) < np.sin(1))


@pytest.mark.parametrize("hidden", [(), (0,), (3, -1)])
def test_bad_sizes(hidden):
    with pytest.raises(ValueError, match="hidden must list"):
        inversion.build_mlp(hidden)


def test_fit_learns_and_is_repeatable():
    x = np.linspace(-1, 1, 64)

    def fit(passes):
        network = inversion.build_mlp((16,))
        losses = inversion.fit_inverse(network, np.sin(x), x, 40, passes=passes)
        return losses, network.get_weights()

    (losses, weights), (_, again) = fit(20), fit(20)
    assert len(losses) == 2 and losses[1] < 0.5 * losses[0]
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))
    assert len(fit(1)[0]) == 40


@pytest.mark.parametrize("y", [0.5, -0.3, 0.999, 0.0, 1.0, -1.0])
def test_inverses_are_all_of_them(y):
    found = inversion.inverses(y)
    assert np.allclose(np.sin(found), y) and np.all(np.diff(found) > 1e-6)
    fine = np.linspace(-inversion.SPAN, inversion.SPAN, 2_000_001)
    crossings = np.sum(np.diff(np.sign(np.sin(fine) - y)) != 0)
    if 0 < abs(y) < 1:
        assert len(found) == 4 == crossings


def test_a_reverse_step_is_what_simulated_values_say():
    bars, clean, rng = linear_schedule().alpha_bars, inversion.inverses(0.5) / inversion.SPAN, np.random.default_rng(0)
    for t, s in ((100, 50), (500, 450), (300, 0)):
        x_s = np.sqrt(bars[s]) * rng.choice(clean, 400_000) + np.sqrt(1 - bars[s]) * rng.standard_normal(400_000)
        kept = bars[t] / bars[s]
        x_t = np.sqrt(kept) * x_s + np.sqrt(1 - kept) * rng.standard_normal(400_000)
        near = x_s[np.abs(x_t - 0.2) < 0.02]
        counts, edges = np.histogram(near, 40, (-3, 3))
        grid = np.linspace(-3, 3, 40 * 250, endpoint=False) + 3 / (40 * 250)
        density = reverse_steps.reverse_density(grid, 0.2, t, s, clean, bars)
        expected = density.reshape(40, 250).sum(axis=1) * 6 / (40 * 250)
        assert np.isclose(expected.sum(), 1, atol=1e-3) and 0.5 * np.abs(counts / len(near) - expected).sum() < 0.03


def test_small_steps_are_gaussian_and_draw_the_answers():
    bars, clean = linear_schedule().alpha_bars, inversion.inverses(0.5) / inversion.SPAN
    grid = np.linspace(-3, 3, 6001)
    far = [
        reverse_steps.nearest_gaussian(grid, reverse_steps.reverse_density(grid, 0.1, 500, s, clean, bars))[1]
        for s in (499, 450, 0)
    ]
    assert far[0] < 1e-6 < far[1] < 1e-3 and far[2] > 0.5
    found = {n: reverse_steps.sample_by_gaussians(clean, bars, n, 4000) for n in (1, 999)}
    hit = {n: np.mean(np.abs(x[:, None] - clean).min(axis=1) < 0.05) for n, x in found.items()}
    assert hit[1] < 0.4 and hit[999] > 0.97 and np.allclose(found[1].mean(), clean.mean(), atol=0.05)


def test_no_inverse_past_one():
    with pytest.raises(ValueError, match="only for y in"):
        inversion.inverses(1.1)


@pytest.mark.parametrize("dim", [1, 2])
def test_conditional_diffusion_runs_in_any_dimension(dim):
    network = inversion.build_conditional_denoiser(dim=dim, width=8)
    x = np.random.default_rng(0).uniform(-1, 1, (50, dim))
    first = inversion.train_conditional(network, linear_schedule(), x, x[:, 0], 20)
    assert np.isfinite(first)
    network = inversion.build_conditional_denoiser(dim=dim, width=8)
    again = inversion.train_conditional(network, linear_schedule(), x, x[:, 0], 20, together=100)
    assert np.isclose(first, again, rtol=1e-3), "together only saves time"
    drawn = inversion.sample_conditional(network, linear_schedule(20, 0.01, 0.4), np.zeros(7))
    assert drawn.shape == ((7,) if dim == 1 else (7, 2)) and np.isfinite(drawn).all()


def test_the_answer_is_not_among_the_inputs():
    """No input of the small denoiser is sin x itself, the function that lesson 1 inverts."""
    assert all(np.pi * wave / inversion.SPAN != 1.0 for wave in inversion.WAVES)
    x = np.random.default_rng(0).uniform(-inversion.SPAN, inversion.SPAN, 500)
    network = inversion.build_conditional_denoiser(width=8)
    features = keras.Model(network.inputs, network.layers[-5].output)
    columns = [np.reshape(v, (-1, 1)).astype("float32") for v in (x / inversion.SPAN, 0 * x, 0 * x)]
    inputs = np.asarray(features(columns))
    assert inputs.shape == (500, 1 + 2 * len(inversion.WAVES) + 1 + 32)
    assert np.abs(np.corrcoef(inputs.T[:5], np.sin(x))[-1, :-1]).max() < 0.9


def test_paths_lead_from_noise_to_the_sample_of_ddim():
    network = inversion.build_conditional_denoiser(width=8)
    schedule = linear_schedule(40, 0.005, 0.3)
    t, paths = inversion.paths_conditional(network, schedule, np.zeros(6), chunk=10)
    assert t.tolist() == [39, 29, 19, 9, -1] and paths.shape == (5, 6)
    fine_t, fine = inversion.paths_conditional(network, schedule, np.zeros(6), chunk=1)
    assert np.allclose(fine[np.isin(fine_t, t)], paths, atol=1e-5)


def test_flow_is_the_direction_of_the_paths():
    """With the exact noise of N(0, s²) data the flow is known: β (x − x (1 - ᾱ)/V/(1 - ᾱ)) / 2, V = ᾱ s² + 1 - ᾱ."""
    schedule, s2 = linear_schedule(), 0.25

    def network(inputs):
        x, time, _ = inputs
        bars = schedule.alpha_bars[np.round(time[:, 0] * schedule.T).astype(int)][:, None]
        return np.sqrt(1 - bars) * x / (bars * s2 + 1 - bars)

    t = np.array([10, 300, 900])
    slope = inversion.flow(network, schedule, np.full(3, 0.7), t, 0.0)
    spread = np.sqrt(schedule.alpha_bars * s2 + 1 - schedule.alpha_bars)
    moved = 0.7 * (spread[t - 1] / spread[t] - 1)  # a path keeps its place in units of the spread
    assert np.allclose(slope, moved, rtol=0.03)


def test_ring_and_its_coverage():
    rng = np.random.default_rng(0)
    points = toys.ring_points(4_000, rng)
    islands, near = toys.coverage(points)
    assert islands == 8 and near > 0.99
    assert toys.coverage(points[points[:, 0] > 0.3]) == (3, pytest.approx(near, abs=0.01))
    assert toys.coverage(rng.uniform(-1, 1, (4_000, 2)))[1] < 0.2


def test_gan_moves_towards_the_data():
    points = toys.ring_points(1_000, np.random.default_rng(0))
    drawn = np.asarray(toys.train_gan(points, 300)(np.random.default_rng(1).standard_normal((500, 2))))
    assert drawn.shape == (500, 2) and 0.2 < np.linalg.norm(drawn, axis=1).mean() < 2


# The GAN of lesson 6.

POINTS = toys.ring_points(200, np.random.default_rng(0))
LATENT = np.random.default_rng(1).standard_normal((20, 2)).astype("float32")


def drawn(steps=10, **options):
    return np.asarray(toys.train_gan(POINTS, steps, batch_size=16, **options)(LATENT))


def test_a_seed_gives_one_generator():
    first = drawn(seed=1, **toys.TUNED_GAN)
    drawn(seed=2)  # what runs in between does not matter
    assert np.array_equal(first, drawn(seed=1, **toys.TUNED_GAN))
    assert not np.allclose(first, drawn(seed=2, **toys.TUNED_GAN))


def test_penalty_and_falling_rate_take_effect():
    """The penalty reaches the generator from the second update on; a falling rate moves it less."""
    plain = drawn()
    assert not np.allclose(plain, drawn(penalty=1.0), atol=1e-6)
    start = drawn(0)
    assert np.linalg.norm(drawn(falling=True) - start) < np.linalg.norm(plain - start)


def test_a_negative_penalty_is_refused():
    with pytest.raises(ValueError, match="penalty must be at least 0, got -1"):
        drawn(penalty=-1)
