"""The small problems of lessons 1 and 6: regression, all the inverses, and islands in the plane."""

import numpy as np
import pytest

from labutils import inversion, toys
from labutils.schedule import linear_schedule


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


def test_no_inverse_past_one():
    with pytest.raises(ValueError, match="only for y in"):
        inversion.inverses(1.1)


@pytest.mark.parametrize("dim", [1, 2])
def test_conditional_diffusion_runs_in_any_dimension(dim):
    network = inversion.build_conditional_denoiser(dim=dim, width=8)
    x = np.random.default_rng(0).uniform(-1, 1, (50, dim))
    first = inversion.train_conditional(network, linear_schedule(), x, x[:, 0], 20)
    assert np.isfinite(first)
    drawn = inversion.sample_conditional(network, linear_schedule(20, 0.01, 0.4), np.zeros(7))
    assert drawn.shape == ((7,) if dim == 1 else (7, 2)) and np.isfinite(drawn).all()


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
