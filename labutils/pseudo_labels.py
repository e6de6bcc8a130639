"""Labels that nobody wrote: k-means on the pixels puts similar images into one cluster, and its number is their label.

A conditional network learns from such pseudo-labels as from real ones (Bao et al. 2022, https://arxiv.org/abs/2212.00362;
Adaloglou et al. 2024, https://arxiv.org/abs/2403.00570).
"""

import numpy as np

from labutils.support.arguments import check_count

DIMENSIONS = 50  # principal components that k-means sees: about 82 % of the variance of MNIST's pixels


class PseudoLabels:
    """Clusters of images: the nearest of K centres in the space of the first principal components of the pixels.

    Args:
        images: (N, H, W, C); their labels are not asked for.
        count: K, at most N.
        seed: of the start of k-means.

    Attributes:
        centres: (K, H, W, C), the mean image of each cluster.
        proportions: (K,), the part of the images in each cluster.

    Raises:
        ValueError: ``count`` is below 2 or above the number of images.
    """

    def __init__(self, images, count, seed=0):
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
        from sklearn.pipeline import make_pipeline

        check_count("count", count, low=2, high=len(images))
        flat = images.reshape(len(images), -1)
        kmeans = KMeans(count, n_init=3, random_state=seed)
        self._model = make_pipeline(PCA(min(DIMENSIONS, *flat.shape), random_state=seed), kmeans).fit(flat)
        chosen = np.bincount(kmeans.labels_, minlength=count)
        self.proportions = chosen / chosen.sum()
        self.centres = self._model[0].inverse_transform(kmeans.cluster_centers_).reshape(count, *images.shape[1:])

    def of(self, images):
        """The cluster of each image, (N,) int32."""
        return self._model.predict(images.reshape(len(images), -1)).astype(np.int32)


def draw_labels(proportions, count, rng):
    """Labels as often as they occur, (count,) int32.

    Args:
        proportions: (K,), they sum to 1. count: number of labels. rng: NumPy generator.
    """
    return rng.choice(len(proportions), count, p=proportions).astype(np.int32)
