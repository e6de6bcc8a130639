"""Digits without labels: clusters of pixels in place of labels, and a weak network to move away from.

``python -m benchmarks.unlabelled [--jobs N] [--dask ADDRESS] [--minutes M] [PART …]`` writes
``results/unlabelled.json``, which lesson 7 shows. It draws with checkpoints: each weight w with one noise, and the best
weight of each way with three others. The number of clusters was chosen by benchmarks.ablation, after one pass over
MNIST. Each row is saved as soon as it is measured: you may stop the program and start it again.
"""

from functools import partial

import numpy as np

from benchmarks import report, spread
from labutils import data, evaluation, pretrained, sampling
from labutils.diffusion import autoguided
from labutils.pseudo_labels import draw_labels

IMAGES = 2_000
STEPS, SAMPLER = 12, "dpmpp_2m"  # with a weight w, each step takes two calls: 24
NOISE, SEEDS = 0, (1, 2, 3)  # seeds of the noise: to choose the weight w, and to report
WEIGHTS = (0.0, 0.5, 1.0, 2.0)
EARLY = {"fast": "fast_epoch_02", "fast_clusters": "fast_clusters_epoch_01"}  # states of the same runs
WAYS = [  # checkpoint, and what the weight w belongs to
    ("fast", "autoguidance"),
    ("fast_clusters", "guidance"),
    ("fast_clusters", "autoguidance"),
]
LABELLED = ("fast_conditional", "guidance")  # for comparison, with the weight of the checkpoint
PLAN = [
    *({"checkpoint": name, "way": way, "weight": w} for name, way in WAYS for w in WEIGHTS),
    *({"checkpoint": name, "way": way, "seed": seed} for name, way in (*WAYS, LABELLED) for seed in SEEDS),
]
PARTS = {"weights": "weight", "reported": "seed"}  # name → key of its rows


def rows():
    """The result file."""
    weights = [*EARLY, *EARLY.values(), LABELLED[0], *report.JUDGES]
    return report.Rows("unlabelled", PLAN, {"images": IMAGES, "calls": 2 * STEPS, **report.about(weights)})


def measure_draws(diffusion, proportions, dataset, seed):
    """labutils.evaluation's measures of IMAGES digits. No measure asks which label a digit was drawn with."""
    labels = None
    if proportions is not None:
        labels = draw_labels(proportions, IMAGES, np.random.default_rng(seed))
    images = sampling.sample(
        diffusion, IMAGES, seed=seed, condition=labels, sampler=SAMPLER, steps=STEPS, progress=False
    )
    return report.rounded(evaluation.evaluate(np.clip(images, -1, 1), dataset, progress=False))


def with_weight(name, way, weight):
    """(diffusion, proportions) of a checkpoint."""
    diffusion = pretrained.load_diffusion(name)
    proportions = None
    if diffusion.is_conditional:
        classes = diffusion.network.label_count
        proportions = pretrained.read_record(name).get("proportions", np.full(classes, 1 / classes))
    if way == "guidance":
        return diffusion.with_guidance(weight), proportions
    return autoguided(diffusion.with_guidance(0.0), pretrained.load_diffusion(EARLY[name]), weight), proportions


def best_weight(found, name, way):
    """The weight with the smallest Fréchet distance among the rows that try them; for LABELLED, the checkpoint's."""
    if (name, way) == LABELLED:
        return pretrained.read_record(name)["guidance"]
    tried = [row for row in found if row.get("checkpoint") == name and row["way"] == way and "seed" not in row]
    return min(tried, key=lambda row: row["measures"]["frechet"]["value"])["weight"]


def measure(item, found=()):
    """What one row holds.

    Args:
        item: of PLAN. found: the rows that are there, for the weights that they choose.
    """
    dataset = data.load("mnist")
    name, way = item["checkpoint"], item["way"]
    weight = item["weight"] if "weight" in item else best_weight(found, name, way)
    return {
        "chosen": weight,
        "measures": measure_draws(*with_weight(name, way, weight), dataset, item.get("seed", NOISE)),
    }


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__, "PART", PARTS, spread=True), rows()
    for part, key in PARTS.items():
        if part == "reported" and any("weight" in item for item in file.missing()):
            break  # these rows take the weights that others choose
        items = [item for item in file.missing() if key in item and part in options.names]
        spread.fill(file, items, partial(measure, found=file.read()), options)
    file.finish()


if __name__ == "__main__":
    main()
