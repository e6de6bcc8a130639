"""The measures of quality: known answers, properties, and what they do with degenerate input."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from labutils import metrics

RNG = np.random.default_rng(0)


def gaussian(count, mean=0.0, scale=1.0, dim=4, seed=0):
    return mean + scale * np.random.default_rng(seed).standard_normal((count, dim))


def test_frechet_of_gaussians():
    """‖μ_a − μ_b‖² + D (σ_a − σ_b)² for round Gaussians."""
    a, b = gaussian(200_000, seed=1), gaussian(200_000, mean=0.5, scale=2.0, seed=2)
    assert np.isclose(metrics.frechet_distance(a, b), 4 * 0.5**2 + 4 * (2 - 1) ** 2, rtol=0.02)


def test_frechet_against_scipys_matrix_root():
    a, b = RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)), RNG.normal(size=(250, 6))
    A, B = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(A + B - 2 * scipy.linalg.sqrtm(A @ B).real)
    assert np.isclose(metrics.frechet_distance(a, b), expected)
    assert np.isclose(metrics.frechet_distance(b, a), expected), "symmetric"


def test_frechet_of_equal_and_singular_sets():
    a = gaussian(50)
    assert metrics.frechet_distance(a, a) < 1e-6
    flat = a * [1, 1, 0, 0]  # a covariance of rank 2
    moved = flat + [0, 0, 3.0, 0]
    assert np.isclose(metrics.frechet_distance(flat, moved), 9.0, atol=1e-5)
    constant = np.ones((50, 4))
    assert np.isclose(metrics.frechet_distance(constant, constant + 1), 4.0, atol=1e-6)


def test_frechet_falls_with_the_number_of_items():
    """Why numbers are compared only at the same N."""
    small, large = (
        np.mean([metrics.frechet_distance(gaussian(n, seed=2 * k), gaussian(n, seed=2 * k + 1)) for k in range(5)])
        for n in (50, 500)
    )
    assert small > 4 * large > 0


def test_kernel_distance():
    same = [metrics.kernel_distance(gaussian(200, seed=2 * k), gaussian(200, seed=2 * k + 1)) for k in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same)) + 1e-3, "unbiased: 0 on average"
    assert metrics.kernel_distance(gaussian(200), gaussian(200, mean=1.0, seed=1)) > 10 * np.std(same)
    a, b = gaussian(5, seed=1), gaussian(4, seed=2)
    kernel = lambda x, y: (x @ y / 4 + 1) ** 3  # noqa: E731
    direct = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    direct += np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    direct -= 2 * np.mean([kernel(x, y) for x in a for y in b])
    assert np.isclose(metrics.kernel_distance(a, b), direct)


def mean_measures(generated, real):
    return {name: np.mean(values) for name, values in metrics.neighbour_measures(generated, real).items()}


def test_precision_is_quality_and_recall_is_variety():
    real = gaussian(1_000, seed=1)
    like_real = mean_measures(gaussian(1_000, seed=2), real)
    assert all(0.8 < value < 1.2 for value in like_real.values()), like_real
    narrow = mean_measures(gaussian(1_000, scale=0.2, seed=2), real)
    assert narrow["precision"] > 0.95 and narrow["recall"] < 0.2 and narrow["coverage"] < 0.3
    wide = mean_measures(gaussian(1_000, scale=5, seed=2), real)
    assert wide["precision"] < 0.2 and wide["recall"] > 0.8
    far = mean_measures(gaussian(1_000, mean=50, seed=2), real)
    assert set(far.values()) == {0.0}


def test_neighbours_of_a_few_points(monkeypatch):
    """On a line, k = 1: the real balls of 0 and 1 reach to each other, that of 10 just to 1."""
    real, generated = np.array([[0.0], [1.0], [10.0]]), np.array([[0.5], [30.0], [30.5]])
    monkeypatch.setattr(metrics, "NEIGHBOURS", 1)
    found = metrics.neighbour_measures(generated, real)
    assert list(found["precision"]) == [True, False, False]
    assert list(found["density"]) == [2.0, 0.0, 0.0]
    assert list(found["coverage"]) == [True, True, False]
    assert list(found["recall"]) == [True, True, True], "the ball of 0.5 reaches to 30"


def test_class_entropy():
    assert metrics.class_entropy(np.arange(10).repeat(7)) == pytest.approx(1.0)
    assert metrics.class_entropy([3] * 50) == 0.0
    assert max(metrics.class_entropy(np.arange(10).repeat(n)) for n in range(1, 50)) <= 1.0, "no rounding above 1"
    assert metrics.class_entropy([0, 1] * 50) == pytest.approx(np.log(2) / np.log(10))


def test_nearest_distances_find_copies():
    train = RNG.uniform(-1, 1, (50, 4, 4, 1))
    distance, index = metrics.nearest_images(train[:5], train)
    assert np.allclose(distance, 0, atol=1e-6) and np.array_equal(index, np.arange(5))
    assert np.allclose(metrics.nearest_images(train[:1] + 0.01, train)[0], 0.01), "a root mean square over the pixels"
    assert np.all(metrics.nearest_images(RNG.uniform(-1, 1, (5, 4, 4, 1)), train)[0] > 0.1)


def coverage(statistic, draw, limits, repetitions=200, truths=500):
    """How often the interval holds the mean of the statistic over independent sets."""
    rng = np.random.default_rng(0)
    truth = np.mean([statistic(draw(rng)) for _ in range(truths)])
    found = [metrics.bootstrap(statistic, draw(rng), limits, resamples=30, rng=rng) for _ in range(repetitions)]
    return np.mean([low <= truth <= high for _, low, high in found])


REAL = gaussian(40, seed=100)
POSITIVE = (0.0, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistic", "draw", "limits", "highest"),
    [
        (lambda x: metrics.frechet_distance(x, REAL), lambda rng: rng.normal(size=(40, 4)), POSITIVE, 1.0),
        (metrics.class_entropy, lambda rng: rng.integers(0, 10, 60), (0.0, 1.0), 1.0),
        (metrics.class_entropy, lambda rng: rng.choice(10, 60, p=[0.05] * 5 + [0.15] * 5), (0.0, 1.0), 1.0),
        (np.mean, lambda rng: rng.normal(1.0, 0.3, 50), POSITIVE, 0.99),
    ],
    ids=["Fréchet", "entropy, even", "entropy, uneven", "mean"],
)
def test_the_interval_holds_the_mean_over_independent_sets(statistic, draw, limits, highest):
    """About 95 % of the time, and not much more for the mean, which repeated items do not shift."""
    assert 0.9 <= coverage(statistic, draw, limits) <= highest


@pytest.mark.slow
def test_the_interval_of_the_kernel_distance():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        statistic = metrics.kernel_statistic(rng.normal(0.5, 1, (40, 4)), REAL)
        found.append(metrics.bootstrap(statistic, np.arange(40), resamples=30, rng=rng))
    truth = np.mean([value for value, _, _ in found])
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.9


@pytest.mark.slow
def test_the_interval_of_a_share_near_1():
    """Of 50 items, 97 % True on average: one set in five is all True."""
    rng = np.random.default_rng(0)
    found = [metrics.proportion(rng.random(50) < 0.97) for _ in range(400)]
    assert np.mean([low <= 0.97 <= high for _, low, high in found]) >= 0.92


@pytest.mark.slow
def test_the_interval_of_the_shares_among_neighbours():
    """Items depend on each other there; the interval still holds the mean over sets of generated items."""
    rng, real = np.random.default_rng(0), gaussian(100, seed=1)
    drawn = [metrics.neighbour_measures(0.7 * rng.normal(size=(100, 4)), real) for _ in range(100)]
    for name in ("precision", "recall", "coverage"):
        found = [metrics.proportion(one[name]) for one in drawn]
        truth = np.mean([value for value, _, _ in found])
        assert 0.88 <= np.mean([low <= truth <= high for _, low, high in found]) <= 1.0, name


@pytest.mark.parametrize("count", [1, 2, 3, 49, 2_000])
def test_a_share_and_its_interval_stay_in_order_and_in_range(count):
    for k in {0, 1, count // 2, count - 1, count}:
        value, low, high = metrics.proportion(np.arange(count) < k)
        assert 0 <= low <= value <= high <= 1 and low < high and value == k / count
    exact = scipy.stats.norm.ppf(0.975) ** 2
    assert metrics.proportion(np.ones(50, bool))[1] == pytest.approx(50 / (50 + exact)), (
        "Wilson's closed form for k = N"
    )


def test_the_interval_of_a_difference():
    """The first example of Newcombe 1998, table II; and groups that all agree still leave an interval."""
    a, b = np.arange(70) < 56, np.arange(80) < 48
    assert metrics.difference(a, b) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
    assert metrics.difference(b, a) == pytest.approx((-0.2, -0.3339, -0.0524), abs=1e-4)
    value, low, high = metrics.difference(np.ones(9, bool), np.zeros(9, bool))
    assert 0 < low < value == high == 1


@pytest.mark.parametrize(
    ("statistic", "values", "limits"),
    [
        (metrics.class_entropy, np.arange(10).repeat(200), (0.0, 1.0)),  # the committed basic intervals lay above 1
        (metrics.class_entropy, np.arange(10), (0.0, 1.0)),
        (metrics.class_entropy, np.full(50, 3), (0.0, 1.0)),
        (lambda x: metrics.frechet_distance(x, REAL), REAL, POSITIVE),
        (lambda x: metrics.frechet_distance(x, REAL), gaussian(40, seed=7), POSITIVE),
        (np.mean, np.eye(30)[0], POSITIVE),
        (np.median, np.r_[np.zeros(20), np.ones(19)], POSITIVE),
    ],
)
def test_an_interval_holds_its_value_and_stays_in_range(statistic, values, limits):
    for seed in range(5):
        value, low, high = metrics.bootstrap(statistic, values, limits, 20, rng=seed)
        assert limits[0] <= low <= value <= high <= limits[1]
    assert metrics.bootstrap(statistic, values, limits, 20, rng=4) == (value, low, high), "seeded"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.proportion(np.array([0.5, 1.0])), r"hits must be booleans of shape \(N,\).*float64"),
        (lambda: metrics.proportion(np.zeros(0, bool)), "N at least 1"),
        (lambda: metrics.proportion(np.zeros((3, 2), bool)), r"shape \(3, 2\)"),
        (lambda: metrics.bootstrap(np.mean, np.ones(5), resamples=1), "at least 2 resamples"),
        (lambda: metrics.bootstrap(np.mean, np.ones(0)), "at least 1 item"),
        (lambda: metrics.bootstrap(np.mean, np.full(5, 2.0), (0.0, 1.0)), "outside its limits 0.0 … 1.0"),
        (lambda: metrics.bootstrap(np.mean, np.full(5, np.nan)), "the statistic is nan"),
    ],
)
def test_intervals_refuse_what_they_cannot_judge(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("function", "a", "b", "message"),
    [
        (metrics.frechet_distance, gaussian(4), gaussian(50), "of 4 features needs more than 4 items, a has 4"),
        (metrics.frechet_distance, gaussian(50), gaussian(3), "needs more than 4 items, b has 3"),
        (metrics.frechet_distance, gaussian(50) * np.nan, gaussian(50), "NaN or infinity"),
        (metrics.kernel_distance, gaussian(50), gaussian(50, dim=5), r"shapes \(N, D\) and \(M, D\)"),
        (metrics.kernel_distance, gaussian(1), gaussian(50), "at least two items"),
        (metrics.kernel_distance, np.zeros(5), gaussian(50), "features must have shapes"),
        (metrics.neighbour_measures, gaussian(3), gaussian(50), "3 neighbours need more than 3 items"),
        (metrics.neighbour_measures, gaussian(50), np.full((50, 4), np.inf), "NaN or infinity"),
    ],
)
def test_bad_input(function, a, b, message):
    with pytest.raises(ValueError, match=message):
        function(a, b)
