"""The report on a set of generated images: every measure of ``metrics``, its interval and its floor.

The judges are the two networks of ``classifiers``. They are not used to make images, so no sampler is fitted to them.
"""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import scipy.special

from labutils import metrics, pretrained
from labutils.networks.classifiers import accuracy, held_out, predict
from labutils.support.files import read_npz
from labutils.support.progress import progress_bar

MEASURES = (  # in the order of the reports
    "frechet",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "recognised",
    "as_asked",
    "class_entropy",
    "memorisation",
)
CONFIDENT = 0.9  # the classifier is sure of a digit if its probability is at least this
READABLE, JUDGED = 0.5, 2_000  # a judge of a data set must read this proportion of so many test images


@dataclass(frozen=True)
class Measure:
    """One row of an evaluation.

    Attributes:
        value: of the generated images.
        low, high: 95 % interval for the mean of ``value`` over independent sets of as many generated images, with the
            same real ones; low ≤ value ≤ high. See metrics.proportion and metrics.bootstrap.
        floor: the same measure for as many real images.
    """

    value: float
    low: float
    high: float
    floor: float


def evaluate(images, dataset, judges=None, labels=None, resamples=100, seed=0, progress=True):
    """Measure N generated images against N real ones. The floor is the same measure for N other real images.

    The real images are training images that the judges have not seen (labutils.networks.classifiers.held_out). The
    floor is measured on test images.

    Args:
        images: (N, H, W, C) in about [-1, 1], see labutils.metrics.check_drawn.
        dataset: labutils.data.Images with at least N held-out and N test images.
        judges: (features, classifier), networks on images; None for the lab's own.
        labels: integers (N,), the digits that the network was asked for; None if it was asked for none.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the choice of real images.
        progress: show a progress bar.

    Returns:
        dict name → Measure:

        - ``frechet``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``: see ``metrics``.
        - ``recognised``: proportion of images of which the classifier is sure: of any digit, with a probability of at
          least CONFIDENT.
        - ``as_asked``, only with ``labels``: proportion of images of which the classifier is sure and names the digit
          asked for. For the floor it must name the label of the test image. The interval assumes that labels are drawn
          at random; if each set has the same number of each digit, it is a little too wide.
        - ``class_entropy``: how evenly the classifier's answers spread over the classes, 0 … 1.
        - ``memorisation``: median distance to the nearest training image, divided by the same median for test images.
          Copies of training images have 0.

    Raises:
        ValueError: images of a shape that the judges do not know, values far outside [-1, 1] or NaN in them, too few
            or too many of them, or not one label per image.
    """
    features, classifier = judges or load_judges()
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[1:] != tuple(features.inputs[0].shape[1:]):
        raise ValueError(
            f"images must have shape (N, {', '.join(map(str, features.inputs[0].shape[1:]))}), got {images.shape}"
        )
    if not np.all(np.isfinite(images)):
        raise ValueError("images hold NaN or infinity")
    images, classes = metrics.check_drawn(images), classifier.outputs[0].shape[-1]
    labels = None if labels is None else _check_labels(labels, len(images), classes)
    _, kept = held_out(dataset.x_train)
    held = dataset.x_train[kept]
    N, most = len(images), min(len(held), len(dataset.x_test))
    if most < N:
        raise ValueError(f"{N} images, but {dataset.name} has only {most} real ones to compare them with: take {most}")
    rng = np.random.default_rng(seed)
    real = held[rng.permutation(len(held))[:N]]
    chosen = rng.permutation(len(dataset.x_test))[:N]
    other = dataset.x_test[chosen]

    sets = [predict(features, x) for x in (images, real, other)]
    scores = [scipy.special.softmax(predict(classifier, x), axis=1) for x in (images, other)]
    neighbours, neighbours_floor = (metrics.neighbour_measures(x, sets[1]) for x in (sets[0], sets[2]))
    distances, distances_floor = (metrics.nearest_images(x, dataset.x_train)[0] for x in (images, other))

    sure, sure_floor = (score.max(axis=1) >= CONFIDENT for score in scores)
    answer, answer_floor = (score.argmax(axis=1) for score in scores)
    yardstick = np.median(distances_floor)

    def distance(x):
        return metrics.frechet_distance(x, sets[1])

    def entropy(answers):
        return metrics.class_entropy(answers, classes)

    def memorisation(x):
        return np.median(x) / yardstick

    # Means of booleans: name, items, floor.
    proportions = [
        *[(name, neighbours[name], np.mean(neighbours_floor[name])) for name in ("precision", "recall", "coverage")],
        ("recognised", sure, np.mean(sure_floor)),
    ]
    if labels is not None:
        right_floor = answer_floor == dataset.y_test[chosen]
        proportions.append(("as_asked", sure & (answer == labels), np.mean(sure_floor & right_floor)))
    # Other measures: name, statistic of the items, items, lowest and highest value, floor.
    kid = metrics.kernel_statistic(sets[0], sets[1])
    statistics = [
        ("frechet", distance, sets[0], (0.0, np.inf), distance(sets[2])),
        ("kid", kid, np.arange(N), (-np.inf, np.inf), metrics.kernel_distance(sets[2], sets[1])),
        ("density", np.mean, neighbours["density"], (0.0, np.inf), np.mean(neighbours_floor["density"])),
        ("class_entropy", entropy, answer, (0.0, 1.0), entropy(answer_floor)),
        ("memorisation", memorisation, distances, (0.0, np.inf), 1.0),
    ]
    measures = {name: Measure(*metrics.proportion(items), float(floor)) for name, items, floor in proportions}
    with progress_bar(len(statistics), "measuring", disable=not progress) as bar:
        for name, statistic, items, limits, floor in statistics:
            found = metrics.bootstrap(statistic, items, limits, resamples, rng)
            measures[name] = Measure(*found, float(floor))
            bar.update()
    return {name: measures[name] for name in MEASURES if name in measures}


def _check_labels(labels, count, classes):
    """``labels`` as an array, if they are ``count`` integers in 0 … classes - 1."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {count} integers, one per image, got {labels.dtype} of shape {labels.shape}")
    if count and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must lie in 0 … {classes - 1}, got {labels.min()} … {labels.max()}")
    return labels


def load_judges(folder=pretrained.CHECKPOINT_DIR):
    """(features, classifier): two networks from their checkpoints in ``folder``; see labutils.networks.classifiers.

    Raises:
        FileNotFoundError, ValueError: as labutils.pretrained.load.
    """
    network, _ = pretrained.load("digit_features", folder)
    features = keras.Model(network.input, network.get_layer("features").output)
    return features, pretrained.load("digit_recogniser", folder)[0]


def check_judges(classifier, dataset):
    """Raise ``ValueError`` unless the classifier can judge a data set: it reads most test images as their labels say.

    It would give a number for everything else, too: a letter looks like some digit, and it may be sure of it.

    Args:
        classifier: from :func:`load_judges`. dataset: labutils.data.Images.
    """
    classes, shape = classifier.outputs[0].shape[-1], tuple(classifier.inputs[0].shape[1:])
    if dataset.image_shape != shape:
        raise ValueError(f"the judges know images of shape {shape}, {dataset.name} has {dataset.image_shape}")
    right = accuracy(classifier, dataset.x_test[:JUDGED], dataset.y_test[:JUDGED])
    if right < READABLE:
        raise ValueError(
            f"the judges cannot judge {dataset.name}: they know {classes} classes, and the classifier reads only "
            f"{right:.0%} of the test images as their labels say"
        )


def table(measures, count):
    """The measures as a plain-text table.

    Args:
        measures: from :func:`evaluate`. count: number of images, N.

    Returns:
        str, several lines.
    """
    lines = [f"{f'{count} images':14} {'value':>10}  {'95 % interval':>22}  {'real images':>11}"]
    for name, m in measures.items():
        lines.append(f"{name:14} {m.value:10.4f}  {m.low:9.4f} to {m.high:9.4f}  {m.floor:11.4f}")
    if "recognised" in measures:
        lines.append(f"recognised: proportion of images of which the classifier is sure (at least {CONFIDENT:.0%}).")
    if "as_asked" in measures:
        lines.append("as_asked: proportion of images where it is sure of the digit that was asked for.")
    return "\n".join([*lines, f"Compare only with numbers for {count} images: they depend on how many there are."])


def read_images(path):
    """The array ``images`` of an ``.npz``, as ``python -m lab sample`` writes it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return read_npz(path, ["images"])["images"]


def read_labels(path):
    """The array ``labels`` of such a file: the digits asked for. None if the file has no labels.

    Errors as in :func:`read_images`.
    """
    read_images(path)  # a damaged file is refused here, in a sentence
    with np.load(path, allow_pickle=False) as archive:
        return read_npz(path, ["labels"])["labels"] if "labels" in archive else None
