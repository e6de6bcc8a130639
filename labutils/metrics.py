"""From images to numbers: how good is a set of generated images?

No single number says it. Each measure below compares N generated images with real ones, and means something only
beside its *floor*: the same measure for N real images that the reference does not contain. All of them depend on N (the
Fréchet distance falls as N grows, for the same images), so compare only numbers of the same N.

Sources:
    Fréchet distance: Heusel et al. 2017, https://arxiv.org/abs/1706.08500 (there on Inception's features: "FID")
    Kernel distance (KID): Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401
    Precision and recall: Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991
    Density and coverage: Naeem et al. 2020, https://arxiv.org/abs/2002.09797
"""

import numpy as np
import scipy.linalg
import scipy.stats
from sklearn.metrics import pairwise_distances_chunked
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 3  # k of precision, recall, density and coverage


def frechet_distance(a, b):
    """Distance between two sets of features, each described by its mean and covariance.

    ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)   (Heusel et al. 2017, eq. 6)

    Args:
        a, b: features, shapes (N, D) and (M, D).

    Returns:
        float, at least 0; 0 for equal sets.

    Raises:
        ValueError: not two such arrays, NaN or infinity in them, or no more items than features: a covariance of D
            features needs more than D items.
    """
    a, b = _check_features(a, b)
    for name, x in (("a", a), ("b", b)):
        if len(x) <= x.shape[1]:
            raise ValueError(f"the covariance of {x.shape[1]} features needs more than {x.shape[1]} items, {name} has "
                             f"{len(x)}")  # fmt: skip
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # The trace of a root is the sum of the eigenvalues' roots: exact for singular covariances too, where a root of the
    # whole matrix need not exist.
    eigenvalues = scipy.linalg.eigvals(covariance_a @ covariance_b).real
    cross = np.sum(np.sqrt(np.maximum(eigenvalues, 0.0)))
    squared = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(max(squared + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross, 0.0))


def kernel_distance(a, b):
    """KID: the squared maximum mean discrepancy with the kernel (x·y/D + 1)³, without bias (Bińkowski et al. 2018).

    Args and errors as in :func:`frechet_distance`, but two items in each set are enough.

    Returns:
        float; 0 on average for two samples of the same distribution, so it may be a little negative.
    """
    return kernel_statistic(a, b)(np.arange(len(a)))


def kernel_statistic(a, b):
    """:func:`kernel_distance` as a function of indices into ``a``: cheap to ask for many resamples of ``a``."""
    a, b = _check_features(a, b)
    kernel = polynomial_kernel(a, degree=3)  # gamma = 1/D, coef0 = 1: the kernel above
    across = polynomial_kernel(a, b, degree=3).mean(axis=1)
    within_b = polynomial_kernel(b, degree=3)
    within_b = (within_b.sum() - np.trace(within_b)) / (len(b) * (len(b) - 1))  # no item with itself: without bias

    def statistic(chosen):
        count = np.bincount(chosen, minlength=len(a)).astype(float)  # how often each item was chosen
        n = len(chosen)
        within_a = (count @ kernel @ count - count @ np.diag(kernel)) / (n * (n - 1))
        return float(within_a + within_b - 2 * (count @ across) / n)

    return statistic


def neighbour_measures(generated, real, k=NEIGHBOURS):
    """Precision, recall, density and coverage: the real set as a union of balls, and the other way round.

    The ball of an item reaches to its k-th nearest neighbour in its own set.

    Args:
        generated, real: features, shapes (N, D) and (M, D), more than k items each.
        k: number of neighbours.

    Returns:
        dict of arrays with one number per item, whose mean is the measure: ``precision`` (N,), does the generated item
        lie in a real ball; ``recall`` (M,), does the real item lie in a generated ball; ``density`` (N,), in how many
        real balls the generated item lies, over k; ``coverage`` (M,), is there a generated item in the real ball.

    Raises:
        ValueError: as :func:`frechet_distance`, or k items or fewer.
    """
    generated, real = _check_features(generated, real)
    if min(len(generated), len(real)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} items in each set, got {len(generated)} and {len(real)}")
    generated_radius, real_radius = _radius(generated, k), _radius(real, k)
    balls = np.zeros(len(generated))  # in how many real balls each generated item lies
    covered, recalled = [], []
    # In parts, row by row of the table of distances: the whole table would need too much memory.
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
    """Entropy of the histogram of ``labels`` over the largest possible, log(classes): 1 all equal, 0 a single class."""
    counts = np.bincount(np.asarray(labels, int), minlength=classes)
    return float(scipy.stats.entropy(counts) / np.log(classes))


def nearest_images(images, train_images):
    """For each image the nearest training image: (root mean square distance over the pixels (N,), its index (N,))."""
    flat, train = (np.reshape(x, (len(x), -1)) for x in (images, train_images))
    distance, index = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train).kneighbors(flat)
    return distance[:, 0] / np.sqrt(train.shape[1]), index[:, 0]


def bootstrap(statistic, values, resamples=100, rng=None):
    """A statistic with its uncertainty: how much it would change with another sample of the same size.

    Args:
        statistic: function of an array of items → float.
        values: (N, …) the items.
        resamples: how often N items are drawn from them, with repetition.
        rng: NumPy generator or seed.

    Returns:
        (value, low, high): of all items, and the ends of the 95 % interval (scipy's "basic" bootstrap: it mirrors the
        resampled values at ``value``, which takes away the shift that repeated items cause).
    """
    value = float(statistic(values))
    interval = scipy.stats.bootstrap(
        (np.arange(len(values)),), lambda chosen: statistic(values[chosen]), n_resamples=resamples, vectorized=False,
        method="basic", rng=rng,
    ).confidence_interval  # fmt: skip
    return value, float(interval.low), float(interval.high)


def _check_features(*arrays):
    arrays = [np.asarray(x, np.float64) for x in arrays]
    for x in arrays:
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != arrays[0].shape[1]:
            shapes = ", ".join(str(x.shape) for x in arrays)
            raise ValueError(f"features must have shapes (N, D) and (M, D) with at least two items, got {shapes}")
        if not np.all(np.isfinite(x)):
            raise ValueError("features must be finite numbers; NaN or infinity found (in the images, perhaps)")
    return arrays
