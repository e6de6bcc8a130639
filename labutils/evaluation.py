"""The report on a set of generated images: every measure of ``metrics``, its interval and its floor.

The judges are the two networks of ``recognisers``. Neither is used to make images, so no sampler can please them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import scipy.special

from labutils import checkpoints, metrics
from labutils.data import DATA_DIR
from labutils.files import read_npz
from labutils.progress import progress_bar
from labutils.recognisers import held_out, predict

RESULTS = DATA_DIR.parent / "benchmarks" / "results"  # what the programs in `benchmarks` measured
CONFIDENT = 0.9  # a digit counts as recognised from this probability on


@dataclass(frozen=True)
class Measure:
    """One row of an evaluation.

    Attributes:
        value: of the generated images.
        low, high: 95 % bootstrap interval of ``value`` over the generated images (or, for recall and coverage, over the
            real ones).
        floor: the same measure for as many real images.
    """

    value: float
    low: float
    high: float
    floor: float


def evaluate(images, dataset, judges=None, resamples=100, seed=0, progress=True):
    """Measure N generated images against N real ones, with the same for N other real images as the floor.

    The real ones are training images that the judges have not seen (labutils.recognisers.held_out); the floor's are
    test images.

    Args:
        images: (N, H, W, C) in about [-1, 1]; clipped.
        dataset: labutils.data.Images with at least N held-out and N test images.
        judges: (features, recogniser), networks on images; None for the lab's own.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the choice of real images.
        progress: show a progress bar.

    Returns:
        dict name → Measure: ``frechet``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``,
        ``recognised`` (share that the recogniser is sure of), ``class_entropy``, ``memorisation`` (median distance to
        the nearest training image over the same for test images: 0 for copies).

    Raises:
        ValueError: images of another shape than the judges know, NaN in them, or too few or too many of them.
    """
    features, recogniser = judges or load_judges()
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[1:] != tuple(features.inputs[0].shape[1:]):
        raise ValueError(f"images must have shape (N, {', '.join(map(str, features.inputs[0].shape[1:]))}), got "
                         f"{images.shape}")  # fmt: skip
    if not np.all(np.isfinite(images)):
        raise ValueError("images hold NaN or infinity")
    images = np.clip(images, -1, 1)
    _, kept = held_out(dataset.x_train)
    N, most = len(images), min(len(dataset.x_train[kept]), len(dataset.x_test))
    if most < N:
        raise ValueError(f"{N} images, but {dataset.name} has only {most} real ones to compare them with: take {most}")
    rng = np.random.default_rng(seed)
    real, other = (rng.permutation(x)[:N] for x in (dataset.x_train[kept], dataset.x_test))

    sets = [predict(features, x) for x in (images, real, other)]
    scores = [scipy.special.softmax(predict(recogniser, x), axis=1) for x in (images, other)]
    neighbours = [metrics.neighbour_measures(x, sets[1]) for x in (sets[0], sets[2])]
    distances = [metrics.nearest_images(x, dataset.x_train)[0] for x in (images, other)]

    def distance(x):
        return metrics.frechet_distance(x, sets[1])

    sure, sure_floor = (score.max(axis=1) >= CONFIDENT for score in scores)
    label, label_floor = (score.argmax(axis=1) for score in scores)
    yardstick = np.median(distances[1])
    # name → (statistic, items that are resampled, floor)
    table = {
        "frechet": (distance, sets[0], distance(sets[2])),
        "kid": (metrics.kernel_statistic(sets[0], sets[1]), np.arange(N), metrics.kernel_distance(sets[2], sets[1])),
        **{name: (np.mean, neighbours[0][name], np.mean(neighbours[1][name])) for name in neighbours[0]},
        "recognised": (np.mean, sure, np.mean(sure_floor)),
        "class_entropy": (metrics.class_entropy, label, metrics.class_entropy(label_floor)),
        "memorisation": (lambda x: np.median(x) / yardstick, distances[0], 1.0),
    }
    measures = {}
    with progress_bar(len(table), "measuring", disable=not progress) as bar:
        for name, (statistic, values, floor) in table.items():
            measures[name] = Measure(*metrics.bootstrap(statistic, values, resamples, rng), floor=float(floor))
            bar.update()
    return measures


def load_judges():
    """(features, recogniser): the lab's two networks, from their checkpoints; see labutils.recognisers."""
    network, _ = checkpoints.load("digit_features")
    features = keras.Model(network.input, network.get_layer("features").output)
    return features, checkpoints.load("digit_recogniser")[0]


def report(measures, count):
    """The measures as a plain-text table."""
    lines = [f"{count} images   {'value':>9}  {'95 % interval':>19}  {'real images':>11}"]
    for name, m in measures.items():
        lines.append(f"{name:14} {m.value:10.4f}  {m.low:9.4f}–{m.high:9.4f}  {m.floor:11.4f}")
    return "\n".join([*lines, f"Compare only with numbers for {count} images: they depend on how many there are."])


def read_images(path):
    """The array ``images`` of an ``.npz``, as ``python -m labutils sample`` writes it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return read_npz(path, ["images"])["images"]


def recorded(name):
    """The committed measurements of ``python -m benchmarks.NAME``, a dict.

    Args:
        name: quality, ablation or speed.

    Raises:
        FileNotFoundError: the file is not there.
    """
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. Restore it (git checkout), or measure: make bench")
    return json.loads(file.read_text(encoding="utf-8"))
