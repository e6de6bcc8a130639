"""From images to numbers: how good is a set of generated images?

- ``metrics``: Fréchet distance, kernel distance, precision, recall …: functions of arrays, with intervals
- ``report``: :func:`evaluate`, all of them for one set of images, with the lab's judges
- ``benchmarks``: the committed results of the programs in the folder ``benchmarks``
"""

from labutils.evaluation.benchmarks import recorded
from labutils.evaluation.metrics import (
    bootstrap,
    check_drawn,
    class_entropy,
    frechet_distance,
    kernel_distance,
    nearest_images,
    neighbour_measures,
    share,
)
from labutils.evaluation.report import (
    CONFIDENT,
    Measure,
    check_judges,
    evaluate,
    load_judges,
    read_images,
    read_labels,
    table,
)

__all__ = [
    "CONFIDENT",
    "Measure",
    "bootstrap",
    "check_drawn",
    "check_judges",
    "class_entropy",
    "evaluate",
    "frechet_distance",
    "kernel_distance",
    "load_judges",
    "nearest_images",
    "neighbour_measures",
    "read_images",
    "read_labels",
    "recorded",
    "share",
    "table",
]
