"""Why does a network not copy its training images? ``fast`` against a formula that sees only patches.

``python -m benchmarks.copying [--minutes M]`` writes ``results/copying.json``, which lesson 5 shows. Its rows:

- ``step``: along 20 DDIM steps of ``fast``, how far is x̂_0 of the network from that of the formula, for each width of
  the patch? The best width at each step is read off here.
- ``drawings``: network and formula draw from the same noise, which is not that of the first rows. How much do they
  agree? Beside the formula stand the whole image as the patch, one width for all steps, and the widths in reverse.
- ``trained_on``: the network, trained with the same number of steps on 16 to 4,096 images. Does it copy?

Each row is saved as soon as it is measured.
"""

from dataclasses import replace

import keras
import numpy as np
from scipy.special import softmax

from benchmarks import report
from benchmarks.one_call import COPY
from labutils import data, evaluation, metrics, networks, pretrained, samplers, sampling
from labutils.diffusion import Diffusion
from labutils.networks.classifiers import predict
from labutils.training import EXPERIMENTS, keras_progress, train

CALLS, IMAGES = 20, 10_000
WHOLE = 55  # 2 · 28 − 1: around each pixel the whole image
PATCHES = (3, 5, 7, 9, 11, 15, 21, WHOLE)
FIT, DRAWN = 8, 32  # noises from which the widths are read, and other noises from which network and formula draw
FIXED = 7
TRAINING_STEPS, BATCH, SAMPLES = 2_000, 16, 128
KINDS = {"patch": False, "soft patch": True}
DRAWINGS = ["whole image", *KINDS, "one width", "widths in reverse order"]
PLAN = [
    *({"step": step} for step in range(CALLS)),
    *({"drawings": kind, "images": IMAGES, "noises": DRAWN} for kind in DRAWINGS),
    {"drawings": "patch", "images": 1_000, "noises": DRAWN},
    *(
        {"trained_on": count, "seed": seed, "steps": TRAINING_STEPS}
        for count, seed in ((16, 0), (4_096, 0), (16, 1), (256, 0))
    ),
]


def rows():
    """The result file."""
    return report.Rows("copying", PLAN, {"calls": CALLS, **report.about(("fast", *report.JUDGES))})


def noise(seed, count):
    """``count`` starting noises."""
    return np.random.default_rng(seed).standard_normal((count, 28, 28, 1), dtype=np.float32)


def some_images(dataset, count=IMAGES):
    """Training images that the formula knows."""
    return dataset.x_train[np.random.default_rng(0).permutation(len(dataset.x_train))[:count]]


def measure_step(item, dataset):
    """The mean squared error of the formula for each width, with its spread over the noises, and the best widths."""
    fast, images = pretrained.load_diffusion("fast"), some_images(dataset)
    t = int(samplers.spaced_steps(fast.schedule.T, CALLS)[item["step"]])
    states = list(sampling.trajectory(fast, noise(0, FIT), sampler="ddim", steps=CALLS, chunk=1))
    xt = noise(0, FIT) if item["step"] == 0 else states[item["step"] - 1][1]
    x0 = np.clip(fast.predict_x0(xt, t), -1, 1)
    found = {"t": t, "variance": round(float(x0.var()), 4), "errors": {}, "best": {}, "best_of_each": {}}
    for kind, soft in KINDS.items():
        errors = np.array(
            [
                ((sampling.local_x0(images, fast.schedule, xt, t, patch, soft) - x0) ** 2).mean((1, 2, 3))
                for patch in PATCHES
            ]
        )
        found["errors"][kind] = {
            str(patch): [round(float(v), 5) for v in (each.mean(), each.min(), each.max())]
            for patch, each in zip(PATCHES, errors, strict=True)
        }
        found["best"][kind] = PATCHES[errors.mean(axis=1).argmin()]
        found["best_of_each"][kind] = [PATCHES[best] for best in errors.argmin(axis=0)]
    return found


def formula(images, schedule, widths, soft):
    """The local formula as a diffusion model. ``widths``: dict from the step t to the width of the patch."""

    def network(inputs):
        t = round(float(inputs[1][0, 0]) * schedule.T)
        if widths[t] == WHOLE and not soft:
            return sampling.exact_x0(images, schedule, inputs[0], t)
        return sampling.local_x0(images, schedule, inputs[0], t, widths[t], soft)

    return Diffusion(network, schedule, "x0")


def agreement(a, b):
    """r² = 1 − Σ(a − b)² / Σ(a − ā)² of each pair of images; 1 if they are equal."""
    a, b = (np.reshape(x, (len(x), -1)) for x in (a, b))
    return 1 - ((a - b) ** 2).sum(axis=1) / ((a - a.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)


def draw(diffusion, start):
    """20 DDIM steps, clipped as judges see them."""
    x = sampling.plain_sampling(diffusion, start, np.random.default_rng(0), sampler="ddim", steps=CALLS)
    return np.clip(x, -1, 1)


def closeness(images, dataset):
    """The distance to the nearest training image, and the proportion of copies."""
    nearest, _ = metrics.nearest_images(images, dataset.x_train)
    usual, _ = metrics.nearest_images(dataset.x_test[:2_000], dataset.x_train)
    limit = np.quantile(usual, COPY)
    return {
        "nearest": round(float(np.median(nearest)), 4),
        "limit_of_a_copy": round(float(limit), 4),
        "copies": report.interval(metrics.proportion(nearest < limit)),
    }


def median_of(values):
    """A median with its interval over the noises."""
    return report.interval(metrics.bootstrap(np.median, values, resamples=1_000, rng=0))


def measure_drawings(item, dataset):
    """Agreement of network and formula on the same noise, and on shuffled noise."""
    steps = [row for row in rows().read() if "step" in row]
    fast, kind = pretrained.load_diffusion("fast"), item["drawings"]
    widths = {row["t"]: row["best"]["soft patch" if kind == "soft patch" else "patch"] for row in steps}
    if kind == "widths in reverse order":
        widths = dict(zip(widths, reversed(widths.values()), strict=True))
    if kind in ("whole image", "one width"):
        widths = dict.fromkeys(widths, WHOLE if kind == "whole image" else FIXED)
    model = formula(some_images(dataset, item["images"]), fast.schedule, widths, KINDS.get(kind, False))
    start = noise(1, DRAWN)
    theirs, ours = draw(fast, start), draw(model, start)
    _, reads = evaluation.load_judges()
    seen = [softmax(predict(reads, x), axis=1) for x in (theirs, ours)]
    sure = np.all([x.max(axis=1) >= evaluation.CONFIDENT for x in seen], axis=0)
    same = seen[0].argmax(axis=1) == seen[1].argmax(axis=1)
    each = agreement(theirs, ours)
    return {
        "widths": list(widths.values()),
        "r2": median_of(each),
        "r2_shuffled": median_of(agreement(theirs, np.roll(ours, 1, axis=0))),
        "r2_of_each": [round(float(v), 3) for v in each],
        "same_digit": report.interval(metrics.proportion(same)),
        "both_recognised": int(sure.sum()),
        "same_digit_if_both_recognised": report.interval(metrics.proportion(same[sure])),
        **closeness(ours, dataset),
        "network": closeness(theirs, dataset),
    }


def measure_training(item, dataset):
    """Train on a few images, draw, and look for copies. The same number of other images shows what chance gives."""
    count = item["trained_on"]
    chosen = some_images(dataset, 2 * count)
    known, unknown = chosen[:count], chosen[count:]
    keras.utils.set_random_seed(item["seed"])
    experiment = EXPERIMENTS["fast"]
    diffusion = experiment.diffusion(networks.build_fast())
    history = train(
        diffusion,
        np.resize(known, (TRAINING_STEPS * BATCH, *known.shape[1:])),  # all of them, again and again
        1,
        config=replace(experiment.config, batch_size=BATCH).for_run(1, TRAINING_STEPS),
        seed=item["seed"],
        callbacks=[keras_progress(1, f"{count} images")],
    )
    drawn = np.clip(sampling.sample(diffusion, SAMPLES, seed=1, sampler="ddim", steps=CALLS, progress=False), -1, 1)
    near, far = (metrics.nearest_images(drawn, images)[0] for images in (known, unknown))
    return {
        "cpu_seconds": round(sum(history["cpu_seconds"]), 1),
        "loss": round(history["loss"][-1], 5),
        "nearest_known": round(float(np.median(near)), 4),
        "nearest_unknown": round(float(np.median(far)), 4),
        "ratio": median_of(near / far),
        **closeness(drawn, dataset),
    }


def measure(item, dataset):
    """What one row holds."""
    kinds = {"step": measure_step, "drawings": measure_drawings, "trained_on": measure_training}
    return next(work for key, work in kinds.items() if key in item)(item, dataset)


def main():
    """Measure what is missing."""
    options, file, dataset = report.arguments(__doc__), rows(), data.load("mnist")
    for item in file.missing():
        options.budget.check()
        measured = measure(item, dataset)
        file.add(item, measured)
        print(item, measured, flush=True)
    file.finish()


if __name__ == "__main__":
    main()
