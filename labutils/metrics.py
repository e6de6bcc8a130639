"""From images to numbers: how good is a set of generated images?

No single number answers this question. Each measure below compares N generated images with real ones. Compare it with
its *floor*: the same measure for N other real images. The measures depend on N: for the same network, the Fréchet
distance falls as N grows. So compare only numbers with the same N.

Sources:
    Fréchet distance: Heusel et al. 2017, https://arxiv.org/abs/1706.08500 (there on Inception's features: "FID")
    Kernel distance (KID): Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401
    Precision and recall: Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991
    Density and coverage: Naeem et al. 2020, https://arxiv.org/abs/2002.09797
    Why the Fréchet distance depends on N: Chong, Forsyth 2020, https://arxiv.org/abs/1911.07023
    Interval of a proportion: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    Interval of a difference: Newcombe 1998, Statistics in Medicine 17, 873-890, method 10
    Bootstrap standard error and the interval made from it: Efron, Tibshirani 1993, "An Introduction to the Bootstrap",
        chapters 6 and 13
"""

import numpy as np
import scipy.linalg
import scipy.special
import scipy.stats
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from labutils.data import check_images

OVERSHOOT = 1.0  # samplers do not clip; real images in units of their standard deviation reach beyond this
NEIGHBOURS = 3  # k of precision, recall, density and coverage


def frechet_distance(a, b):
    """Distance between two sets of features, each described by its mean and covariance.

    ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)   (Heusel et al. 2017, eq. 6)

    Args:
        a, b: features, shapes (N, D) and (M, D).

    Returns:
        float, at least 0; 0 for equal sets.

    Raises:
        ValueError: not two such arrays; NaN or infinity in them; or too few items (a covariance of D features needs
            more than D of them).
    """
    a, b = _check_features(a, b)
    for name, x in (("a", a), ("b", b)):
        if len(x) <= x.shape[1]:
            raise ValueError(
                f"the covariance of {x.shape[1]} features needs more than {x.shape[1]} items, {name} has {len(x)}"
            )
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of the root is the sum of the roots of the eigenvalues. This also works for singular covariances, where
    # the root of the whole matrix may not exist.
    eigenvalues = scipy.linalg.eigvals(covariance_a @ covariance_b).real
    cross = np.sum(np.sqrt(np.maximum(eigenvalues, 0.0)))
    squared = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(max(squared + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross, 0.0))


def kernel_distance(a, b):
    """KID: the unbiased squared maximum mean discrepancy with the kernel (x·y/D + 1)³ (Bińkowski et al. 2018).

    Args and errors as in :func:`frechet_distance`, but two items in each set are enough.

    Returns:
        float; 0 on average for two samples of the same distribution, so it may be a little negative.
    """
    return kernel_statistic(a, b)(np.arange(len(a)))


def kernel_statistic(a, b):
    """:func:`kernel_distance` as a function of indices into ``a``; the kernels are computed once for all resamples."""
    a, b = _check_features(a, b)
    kernel = polynomial_kernel(a, degree=3)  # gamma = 1/D, coef0 = 1: the kernel above
    across = polynomial_kernel(a, b, degree=3).mean(axis=1)
    within_b = polynomial_kernel(b, degree=3)
    # Pairs of an item with itself are left out: they would make the estimate biased.
    within_b = (within_b.sum() - np.trace(within_b)) / (len(b) * (len(b) - 1))

    def statistic(chosen):
        count = np.bincount(chosen, minlength=len(a)).astype(float)  # how often each item was chosen
        n = len(chosen)
        within_a = (count @ kernel @ count - count @ np.diag(kernel)) / (n * (n - 1))
        return float(within_a + within_b - 2 * (count @ across) / n)

    return statistic


def neighbour_measures(generated, real):
    """Precision, recall, density and coverage: which items of one set lie near items of the other set?

    "Near" means inside a ball. The ball of an item reaches to its k-th nearest neighbour in its own set, where k is
    NEIGHBOURS.

    Args:
        generated, real: features, shapes (N, D) and (M, D), more than k items each.

    Returns:
        dict of arrays with one entry per item. The mean of an array is the measure.

        - ``precision`` (N,), bool: the generated item lies in a real ball.
        - ``recall`` (M,), bool: the real item lies in a generated ball.
        - ``density`` (N,), float, at least 0: the number of real balls that the generated item lies in, divided by k.
        - ``coverage`` (M,), bool: a generated item lies in the ball of the real item.

    Raises:
        ValueError: as :func:`frechet_distance`, or k items or fewer.
    """
    k = NEIGHBOURS
    generated, real = _check_features(generated, real)
    if min(len(generated), len(real)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} items in each set, got {len(generated)} and {len(real)}")
    generated_radius, real_radius = _radius(generated, k), _radius(real, k)
    balls = np.zeros(len(generated))  # in how many real balls each generated item lies
    covered, recalled = [], []
    # A few rows of the table of distances at a time: the whole table would need too much memory.
    for distances in pairwise_distances_chunked(real, generated, working_memory=64):
        first = sum(map(len, covered))
        inside = distances <= real_radius[first : first + len(distances), None]
        balls += inside.sum(axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((distances <= generated_radius).any(axis=1))
    return {
        "precision": balls > 0,
        "recall": np.concatenate(recalled),
        "density": balls / k,
        "coverage": np.concatenate(covered),
    }


def _radius(x, k):
    """Distance of each item to its k-th nearest neighbour in the same set."""
    return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]  # the nearest is the item itself


def class_entropy(labels, classes=10):
    """Entropy of the histogram of ``labels``, divided by the largest possible entropy, log(classes).

    1 means that all classes are equally frequent, 0 that there is only one.
    """
    counts = np.bincount(np.asarray(labels, int), minlength=classes)
    entropy = scipy.special.entr(counts / counts.sum()).sum()
    return float(min(entropy / np.log(classes), 1.0))  # rounding may give a little over 1


def check_drawn(images):
    """Return ``images`` as float32, clipped to [-1, 1], which samplers leave a little.

    Raises:
        ValueError: as labutils.data.check_images, for values beyond 1 + OVERSHOOT, such as pixels 0 … 255.
    """
    images = np.asarray(images, dtype=np.float32)
    near = images.size and np.abs(images).max() <= 1 + OVERSHOOT
    return check_images(np.clip(images, -1, 1) if near else images)


def nearest_images(images, train_images):
    """For each image the nearest training image: (root mean square distance over the pixels (N,), its index (N,)).

    Args:
        images: (N, H, W, C) in about [-1, 1], see :func:`check_drawn`. train_images: (M, H, W, C) in [-1, 1].

    Raises:
        ValueError: values out of these ranges.
    """
    images, train_images = check_drawn(images), check_images(train_images, "train_images")
    flat, train = (np.reshape(x, (len(x), -1)) for x in (images, train_images))
    distance, index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train).kneighbors(flat)
    return distance[:, 0] / np.sqrt(train.shape[1]), index[:, 0]


def sharpness(images):
    """Mean length of the brightness gradient at strokes: pixels brighter than mid grey.

    Args:
        images: (N, H, W, C) in about [-1, 1].

    Returns:
        float, in brightness per pixel; 0 if there is no stroke. A blurred image has a smaller one.
    """
    images = np.asarray(images, np.float32)
    rows, columns = np.gradient(images, axis=(1, 2))
    lengths = np.hypot(rows, columns)[images > 0]
    return float(lengths.mean()) if len(lengths) else 0.0


def proportion(hits):
    """Proportion of the items that are True, with its 95 % interval by Wilson's method (Wilson 1927).

    Wilson's interval stays inside [0, 1]. It has a width even if all items agree: 50 of 50 gives 0.93 … 1.
    The method assumes independent items.

    Args:
        hits: booleans, shape (N,), N at least 1.

    Returns:
        (value, low, high), with 0 ≤ low ≤ value ≤ high ≤ 1.

    Raises:
        ValueError: not such an array.
    """
    hits = np.asarray(hits)
    if hits.ndim != 1 or not len(hits) or hits.dtype != bool:
        raise ValueError(f"hits must be booleans of shape (N,), N at least 1, got {hits.dtype} of shape {hits.shape}")
    value = float(hits.mean())
    interval = scipy.stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    # In exact arithmetic low ≤ value ≤ high; rounding may break this by 1e-17.
    return value, float(min(interval.low, value)), float(max(interval.high, value))


def difference(hits_a, hits_b):
    """Proportion of ``hits_a`` minus that of ``hits_b``, with its 95 % interval (Newcombe 1998, method 10).

    If 0 is outside the interval, the difference is hardly chance. Two intervals of single proportions may overlap even
    then. The method assumes that all items are independent, also those of one group from those of the other.

    Args:
        hits_a, hits_b: booleans, shapes (N,) and (M,), at least one item each.

    Returns:
        (difference, low, high), with -1 ≤ low ≤ difference ≤ high ≤ 1.

    Raises:
        ValueError: as :func:`proportion`.
    """
    (a, low_a, high_a), (b, low_b, high_b) = proportion(hits_a), proportion(hits_b)
    return a - b, a - b - float(np.hypot(a - low_a, high_b - b)), a - b + float(np.hypot(high_a - a, b - low_b))


def bootstrap(statistic, values, limits=(-np.inf, np.inf), resamples=100, rng=None):
    """A statistic of N items, with a 95 % interval for its mean over independent sets of N items.

    The interval is value ± 1.96 bootstrap standard errors, cut at ``limits`` (Efron, Tibshirani 1993, chapter 13). It
    is not an interval for the limit of many items. docs/maintainers.md says why it is made in this way.

    Args:
        statistic: function of an array of items → float.
        values: (N, …) the items, N at least 1.
        limits: (lowest, highest) possible value of the statistic.
        resamples: how many resamples, at least 2.
        rng: NumPy generator or seed.

    Returns:
        (value, low, high), with lowest ≤ low ≤ value ≤ high ≤ highest.

    Raises:
        ValueError: fewer than 2 resamples, no items, or a value outside ``limits``.
    """
    values, rng = np.asarray(values), np.random.default_rng(rng)
    if resamples < 2 or not len(values):
        raise ValueError(f"need at least 2 resamples of at least 1 item, got {resamples} of {len(values)}")
    value = float(statistic(values))
    if not limits[0] <= value <= limits[1]:
        raise ValueError(f"the statistic is {value}, outside its limits {limits[0]} … {limits[1]}")
    chosen = rng.integers(len(values), size=(resamples, len(values)))
    margin = scipy.stats.norm.ppf(0.975) * np.std([statistic(values[rows]) for rows in chosen], ddof=1)
    return value, float(max(value - margin, limits[0])), float(min(value + margin, limits[1]))


def _check_features(*arrays):
    arrays = [np.asarray(x, np.float64) for x in arrays]
    for x in arrays:
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != arrays[0].shape[1]:
            shapes = ", ".join(str(x.shape) for x in arrays)
            raise ValueError(f"features must have shapes (N, D) and (M, D) with at least two items, got {shapes}")
        if not np.all(np.isfinite(x)):
            raise ValueError("features must be finite numbers; NaN or infinity found (in the images, perhaps)")
    return arrays
