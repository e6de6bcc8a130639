"""What each ingredient of the ``fast`` recipe is worth.

``python -m benchmarks.ablation [VARIANT …]`` trains each variant for one pass over MNIST (some for more), draws 1,000
images with 20 calls of the network each, measures them, and writes ``results/ablation.json``, which lesson 7 shows.
Each variant changes one thing; the whole recipe is run from several seeds, to tell what chance does. A row is kept as
soon as it is measured, so the run may be stopped and started again, and several may run side by side.
"""

import argparse
import fcntl
import time
from dataclasses import asdict, replace

import keras

from benchmarks.report import save
from labutils import checkpoints, data, doctor, evaluation, networks, plans, sampling
from labutils.fastnet import build_fast
from labutils.progress import keras_progress
from labutils.recipe import Recipe
from labutils.schedule import linear_schedule
from labutils.training import train

FILE = evaluation.RESULTS / "ablation.json"
IMAGES, CALLS = 1_000, 20
FAST = plans.PLANS["fast"]
PASSES = {"fast, 2 passes": 2, "fast, 4 passes": 4}  # over MNIST; all others 1
SEEDS = {"fast": 3}  # runs; all others 1
# name → (what builds the network, what changes in the recipe, schedule)
VARIANTS = {
    "fast": (build_fast, {}, FAST.schedule),
    "predict the noise": (build_fast, {"target": "noise"}, FAST.schedule),
    "predict v": (build_fast, {"target": "v"}, FAST.schedule),
    "linear schedule": (build_fast, {}, linear_schedule()),
    "no averaging": (build_fast, {"average": None}, FAST.schedule),
    "small constant rate": (
        build_fast,
        {"learning_rate": Recipe().learning_rate, "warmup_steps": 0, "decay_epochs": None, "clip_norm": None},
        FAST.schedule,
    ),
    "time as a channel": (lambda: build_fast(modulate=False), {}, FAST.schedule),
    "random start": (lambda: build_fast(zero_start=False), {}, FAST.schedule),
    "Min-SNR weighting": (build_fast, {"min_snr": 5.0}, FAST.schedule),
    "told the digit": (lambda: build_fast(classes=networks.CLASSES), {}, FAST.schedule),
    **dict.fromkeys(PASSES, (build_fast, {}, FAST.schedule)),
    "classic network": (lambda: networks.build("classic", (28, 28, 1)), {}, FAST.schedule),
    "classic network and recipe": (lambda: networks.build("classic", (28, 28, 1)), None, linear_schedule()),
}


def measure(name, seed, dataset):
    """One row: train, draw, measure."""
    build, changes, schedule = VARIANTS[name]
    recipe = Recipe() if changes is None else replace(FAST.recipe, **changes)
    passes = PASSES.get(name, 1)
    recipe = recipe.for_run(passes, -(-len(dataset.x_train) // recipe.batch_size))
    keras.utils.set_random_seed(seed)
    network = build()
    told = len(network.inputs) > 2
    history = train(network, schedule, dataset.x_train, passes, recipe=recipe, seed=seed,
                    labels=dataset.y_train if told else None, callbacks=[keras_progress(passes, name)])  # fmt: skip
    options = {"guidance": plans.GUIDANCE, "labels": plans.even_labels(IMAGES)} if told else {}
    images = sampling.sample(network, schedule, IMAGES, dataset.image_shape, seed=1, target=recipe.target,
                             sampler="dpmpp_2m", steps=CALLS // 2 if told else CALLS, **options)  # fmt: skip
    measures = evaluation.evaluate(images, dataset)
    return {
        "variant": name, "seed": seed, "passes": passes, "cpu_seconds": round(sum(history["cpu_seconds"]), 1),
        "recipe": asdict(recipe), "parameters": network.count_params(),
        "measures": {key: {k: round(v, 5) for k, v in asdict(m).items()} for key, m in measures.items()},
    }  # fmt: skip


def keep(row):
    """Add one row to the file; a lock keeps runs side by side apart."""
    with open(FILE.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = read()
        results["rows"].append(row)
        order = list(VARIANTS)
        results["rows"].sort(key=lambda row: (order.index(row["variant"]), row["seed"]))
        save("ablation", results)


def read():
    """What is measured so far."""
    if FILE.exists():
        return evaluation.recorded("ablation")
    about = {"machine": doctor.machine(), "versions": checkpoints.versions()}
    return {"images": IMAGES, "calls": CALLS, **about, "rows": []}


def main():
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), metavar="VARIANT")
    options = parser.parse_args()
    dataset = data.load("mnist")
    for name in options.variants:
        for seed in range(SEEDS.get(name, 1)):
            if any((row["variant"], row["seed"]) == (name, seed) for row in read()["rows"]):
                continue
            started = time.perf_counter()
            row = measure(name, seed, dataset)
            keep(row)
            found = {key: row["measures"][key]["value"] for key in ("frechet", "recognised")}
            print(f"{name}, seed {seed}: {row['cpu_seconds']} CPU s, {time.perf_counter() - started:.0f} s", found)


if __name__ == "__main__":
    main()
