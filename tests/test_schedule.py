"""The noise schedule: its definitions, its properties, and what it refuses."""

import numpy as np
import pytest

from labutils.schedule import NoiseSchedule, cosine_schedule, linear_schedule

SCHEDULES = [linear_schedule(), linear_schedule(100, 1e-3, 0.2), cosine_schedule(), cosine_schedule(40)]


@pytest.mark.parametrize("s", SCHEDULES, ids=repr)
def test_definitions_hold_for_every_t(s):
    kept = 1.0
    for t in range(s.T):
        before, kept = kept, kept * (1 - s.betas[t])
        assert np.isclose(s.alphas[t], 1 - s.betas[t])
        assert np.isclose(s.alpha_bars[t], kept)
        assert np.isclose(s.alpha_bars_previous[t], before)
        assert np.isclose(s.posterior_variances[t], s.betas[t] * (1 - before) / (1 - kept))
        assert np.isclose(s.snr[t], kept / (1 - kept))
    assert s.posterior_variances[0] == 0
    assert all(table.dtype == np.float64 for table in (s.betas, s.alphas, s.alpha_bars, s.snr))


def test_linear_schedule_is_that_of_the_paper():
    s = linear_schedule()
    assert (s.T, s.betas[0], s.betas[-1]) == (1000, 1e-4, 0.02)
    assert np.isclose(s.alpha_bars[-1], 4.04e-5, rtol=1e-3)


def test_cosine_schedule_follows_equation_17():
    s, T, offset = cosine_schedule(), 1000, 0.008
    f = np.cos((np.arange(T + 1) / T + offset) / (1 + offset) * np.pi / 2) ** 2
    assert np.allclose(s.alpha_bars[:-1], f[1:-1] / f[0])  # the last β is clipped
    assert s.betas.max() == 0.999


@pytest.mark.parametrize("s", SCHEDULES, ids=repr)
def test_unit_variance_stays_unit_variance(s):
    rng = np.random.default_rng(0)
    x0, noise = rng.standard_normal((2, 200, 16, 16, 1))
    for t in (0, s.T // 2, s.T - 1):
        assert abs(np.asarray(s.add_noise(x0, t, noise)).var() - 1) < 0.02


def test_closed_form_equals_the_chain_in_distribution():
    s = linear_schedule()
    rng = np.random.default_rng(1)
    x = np.full(50_000, 0.6)
    for t in range(300):
        x = np.sqrt(s.alphas[t]) * x + np.sqrt(s.betas[t]) * rng.standard_normal(x.shape)
    jump = np.asarray(s.add_noise(np.full((50_000, 1), 0.6), 299, rng.standard_normal((50_000, 1))))
    assert abs(x.mean() - jump.mean()) < 0.02 and abs(x.var() - jump.var()) < 0.02


def test_add_noise_and_predict_x0_are_inverse():
    s = linear_schedule()
    rng = np.random.default_rng(2)
    x0, noise = rng.uniform(-1, 1, (2, 7, 4, 4, 3)).astype("float32")
    t = np.array([0, 1, 10, 100, 500, 900, 999])
    xt = s.add_noise(x0, t, noise)
    assert np.allclose(s.predict_x0(xt, t, noise), x0, atol=2e-3)
    for i in range(7):  # a t for each image is the same as one t for all
        assert np.allclose(s.add_noise(x0[i : i + 1], int(t[i]), noise[i : i + 1])[0], xt[i], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_schedule(0), "T must be an integer of at least 1"),
        (lambda: linear_schedule(2.5), "T must be an integer"),
        (lambda: linear_schedule(True), "T must be an integer"),
        (lambda: cosine_schedule(-3), "T must be an integer of at least 1"),
        (lambda: linear_schedule(10, 0.02, 1e-4), "beta_start < beta_end"),
        (lambda: linear_schedule(10, 0.0, 0.02), "0 < beta_start"),
        (lambda: linear_schedule(10, 1e-4, 1.0), "beta_end < 1"),
        (lambda: NoiseSchedule([]), "T >= 1"),
        (lambda: NoiseSchedule([[0.1, 0.2]]), r"shape \(T,\)"),
        (lambda: NoiseSchedule([0.1, 1.5]), "between 0 and 1"),
        (lambda: NoiseSchedule([0.1, np.nan]), "between 0 and 1"),
        (lambda: NoiseSchedule([0.2, 0.1]), "increase"),
        (lambda: NoiseSchedule([0.1, 0.1]), "increase"),
        (lambda: cosine_schedule(10, s=-1), "s > 0"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (1000, r"t must lie in 0 … 999, got 1000"),
        (-1, "t must lie in"),
        (np.array([0, 1000]), "t must lie in"),
        (0.5, "integer index"),
        (np.array([0.0, 1.0]), "integer index"),
        (np.array([0, 1, 2]), "one for each of the 2 items"),
        (np.array([[0], [1]]), "one for each"),
    ],
)
def test_bad_t_is_refused(t, message):
    x0 = np.zeros((2, 4, 4, 1))
    with pytest.raises(ValueError, match=message):
        linear_schedule().add_noise(x0, t, x0)


def test_mismatched_shapes_are_refused():
    with pytest.raises(ValueError, match="noise must have the shape of x0"):
        linear_schedule().add_noise(np.zeros((2, 4, 4, 1)), 0, np.zeros((2, 4, 4)))


def test_a_callers_array_is_not_shared():
    betas = np.array([0.1, 0.2])
    s = NoiseSchedule(betas)
    betas[0] = 0.15
    assert s.betas[0] == 0.1
