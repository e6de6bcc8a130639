"""How much each ingredient of the ``fast`` recipe helps.

``python -m benchmarks.ablation [--minutes M] [VARIANT …]`` trains each variant for one pass over MNIST (one of them for
two), draws 1,000 images with 20 calls of the network each, measures them, and writes ``results/ablation.json``, which
lesson 7 shows. Each variant changes one thing. The whole recipe is trained from three seeds, which shows the effect of
chance. Each row is saved as soon as it is measured. You may stop the program and start it again, and run several
programs with different variants side by side. To measure everything again, delete the file.
"""

import time
from dataclasses import asdict, replace

import keras
import numpy as np

from benchmarks import report
from benchmarks.contenders import classic
from benchmarks.quality import IMAGES
from labutils import data, evaluation, networks, sampling
from labutils.networks import build_fast
from labutils.schedule import linear_schedule
from labutils.training import PLANS, Recipe, keras_progress, train

CALLS = 20
TRAIN_IMAGES = 60_000  # all of MNIST
FAST = PLANS["fast"]
PASSES = {"fast, 2 passes": 2}  # over MNIST; all others 1
SEEDS = {"fast": 3}  # runs; all others 1
# name → (function that builds the network, changes of the recipe or None for the classic recipe, schedule)
VARIANTS = {
    "fast": (build_fast, {}, FAST.schedule),
    "predict the noise": (build_fast, {"target": "noise"}, FAST.schedule),
    "predict v": (build_fast, {"target": "v"}, FAST.schedule),
    "linear schedule": (build_fast, {}, linear_schedule()),
    "no warm-up": (build_fast, {"warmup_steps": 0}, FAST.schedule),
    "no clipping": (build_fast, {"clip_norm": None}, FAST.schedule),
    "averaging": (build_fast, {"average": 0.9995}, FAST.schedule),
    "small constant rate": (
        build_fast,
        {"learning_rate": Recipe().learning_rate, "warmup_steps": 0, "decay_epochs": None, "clip_norm": None},
        FAST.schedule,
    ),
    "scale and shift": (lambda: build_fast(modulate=True), {}, FAST.schedule),
    "random start": (lambda: build_fast(zero_start=False), {}, FAST.schedule),
    "Min-SNR weighting": (build_fast, {"min_snr": 5.0}, FAST.schedule),
    "told the digit": (lambda: build_fast(classes=networks.CLASSES), {}, FAST.schedule),
    **dict.fromkeys(PASSES, (build_fast, {}, FAST.schedule)),
    "classic network": (classic, {}, FAST.schedule),
    "classic network and recipe": (classic, None, linear_schedule()),
}


def plan():
    """What identifies each row: variant, seed, recipe and schedule. If any of them changes, it is measured again."""
    items = []
    for name, (_, changes, schedule) in VARIANTS.items():
        recipe, passes = Recipe() if changes is None else replace(FAST.recipe, **changes), PASSES.get(name, 1)
        recipe = recipe.for_run(passes, -(-TRAIN_IMAGES // recipe.batch_size))
        about = {"passes": passes, "recipe": asdict(recipe), "schedule": repr(schedule)}
        items += [{"variant": name, "seed": seed, **about} for seed in range(SEEDS.get(name, 1))]
    return items


def rows():
    """The result file."""
    return report.Rows("ablation", plan(), {"images": IMAGES, "calls": CALLS, **report.about(report.JUDGES)})


def measure(item, dataset):
    """What one row holds: train, draw, measure."""
    build, _, schedule = VARIANTS[item["variant"]]
    recipe, passes = Recipe(**item["recipe"]), item["passes"]
    keras.utils.set_random_seed(item["seed"])
    network = build()
    told = len(network.inputs) > 2
    history = train(
        network,
        schedule,
        dataset.x_train,
        passes,
        recipe=recipe,
        seed=item["seed"],
        labels=dataset.y_train if told else None,
        callbacks=[keras_progress(passes, item["variant"])],
    )
    labels = {"labels": networks.even_labels(IMAGES)} if told else {}
    options = {"guidance": PLANS["fast_conditional"].guidance, **labels} if told else {}
    images = sampling.sample(
        network,
        schedule,
        IMAGES,
        dataset.image_shape,
        seed=1,
        target=recipe.target,
        sampler="dpmpp_2m",
        steps=CALLS // 2 if told else CALLS,
        **options,
    )
    return {
        "cpu_seconds": round(sum(history["cpu_seconds"]), 1),
        "parameters": network.count_params(),
        "measures": report.rounded(evaluation.evaluate(np.clip(images, -1, 1), dataset, **labels)),
    }


def fill(file, names, budget, measure):
    """Measure the missing rows of ``names``. Another program may measure some of them meanwhile."""
    for item in file.plan:
        if item["variant"] in names and item in file.missing():
            budget.check()
            started = time.perf_counter()
            kept = file.add(item, measure(item))
            print(
                f"{item['variant']}, seed {item['seed']}: {time.perf_counter() - started:.0f} s",
                "" if kept else "(dropped: another program measured it meanwhile)",
                flush=True,
            )
    file.finish()


def main():
    """Measure what is missing."""
    parser = report.arguments(__doc__)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), metavar="VARIANT")
    options = parser.parse_args()
    if unknown := set(options.variants) - set(VARIANTS):
        parser.error(f"unknown variant {', '.join(sorted(unknown))}, known: {', '.join(VARIANTS)}")
    dataset = data.load("mnist")
    if len(dataset.x_train) != TRAIN_IMAGES:
        raise ValueError(f"the plan is for {TRAIN_IMAGES} training images, got {len(dataset.x_train)}")
    fill(rows(), options.variants, report.Budget(options.minutes), lambda item: measure(item, dataset))


if __name__ == "__main__":
    main()
