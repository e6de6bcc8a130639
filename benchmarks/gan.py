"""A GAN and a diffusion model in a fair fight on digits: the same CPU seconds and the same number of trial runs.

``python -m benchmarks.gan [--jobs N] [--dask ADDRESS] [--minutes M] [PART …]`` writes ``results/gan.json``, which
lesson 6 shows. Neither network gets labels. Both sides first try six settings, 90 CPU seconds each, with a seed that is
not used again. The setting with the smallest Fréchet distance is then trained from three seeds, for 270 and for
1,080 CPU seconds. Before that, the size of the GAN's networks and its rate were chosen in eight runs of 90 seconds;
those of ``fast`` come from the variants of benchmarks.ablation. The control trains ``fast`` with the settings of its
checkpoint: short trials may choose settings that do not suit a long run.

A run has one thread. Its length is a number of images, so it can be repeated exactly; the row says how many CPU seconds
it took. Each row is saved as soon as it is measured: you may stop the program and start it again.
"""

import base64
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import partial

import keras
import numpy as np

from benchmarks import report, spread
from benchmarks.gan_training import LATENT, Setting, build_generator, train_gan
from lab import idle
from labutils import data, evaluation, networks, pretrained, sampling
from labutils.samplers import flow
from labutils.training import EXPERIMENTS, train

IMAGES, SEEDS, TRIAL_SEED = 1_000, (1, 2, 3), 0
TRIAL, BUDGETS = 90, (270, 1_080)  # CPU seconds
IMAGES_A_SECOND = 300  # that both sides learn from with one thread, where the benchmark was written
CALLS = (20, 5)  # of ``fast``; a GAN takes one
BATCH = 64
SHOWN = 10  # drawings of the first seed that are kept
TRIALS = {
    "gan": [asdict(Setting(batch, gamma)) for batch in (8, 16) for gamma in (0.05, 0.5, 5.0)],
    "fast": [{"batch_size": batch, "learning_rate": rate} for batch in (16, 64) for rate in (1e-3, 2e-3, 4e-3)],
}
LESSON_7 = {"batch_size": 64, "learning_rate": 2e-3}  # of the checkpoint ``fast``, not chosen by the trials
CHECKPOINTS = ("one_call", "fast")
PLAN = [
    *(
        {"trial": model, "seconds": TRIAL, "seed": TRIAL_SEED, "setting": setting}
        for model, settings in TRIALS.items()
        for setting in settings
    ),
    *({"model": model, "seconds": budget, "seed": seed} for budget in BUDGETS for seed in SEEDS for model in TRIALS),
    *({"control": "fast", "seconds": BUDGETS[-1], "seed": seed, "setting": LESSON_7} for seed in SEEDS[:1]),
    *({"checkpoint": name} for name in CHECKPOINTS),
    {"speed": "digits a second"},
]
PARTS = {
    "trials": "trial",
    "runs": "model",
    "controls": "control",
    "checkpoints": "checkpoint",
    "speed": "speed",
}  # name → key of its rows


def rows():
    """The result file."""
    return report.Rows("gan", PLAN, {"images": IMAGES, **report.about([*CHECKPOINTS, *report.JUDGES], timing=True)})


def best_setting(found, model):
    """The setting of the trial run with the smallest Fréchet distance.

    Args:
        found: rows of the result file. model: "gan" or "fast".
    """
    trials = [row for row in found if row.get("trial") == model]
    return min(trials, key=lambda row: first(row["measures"])["frechet"]["value"])["setting"]


def first(measures):
    """Those of the largest number of calls."""
    return measures[max(measures, key=int)]


def fit(model, seconds, seed, setting, images):
    """Train one side.

    Returns:
        (network, CPU seconds): a generator, or a labutils.diffusion.Diffusion.
    """
    steps = seconds * IMAGES_A_SECOND // setting["batch_size"]
    started = time.process_time()
    if model == "gan":
        network = train_gan(images, steps, Setting(**setting), seed)
    else:
        keras.utils.set_random_seed(seed)
        network = EXPERIMENTS["fast"].diffusion(networks.build_fast())
        config = replace(EXPERIMENTS["fast"].config, **setting).for_run(1, steps)
        # All images, again and again, as one epoch.
        shown = np.resize(images, (steps * config.batch_size, *images.shape[1:]))
        train(network, shown, 1, config=config, seed=seed)
    return network, time.process_time() - started


def draw(network, calls, seed, count=IMAGES):
    """Digits from new noise, clipped as judges see them."""
    if calls == 1 and not hasattr(network, "schedule"):
        latent = np.random.default_rng(seed).standard_normal((count, LATENT), dtype=np.float32)
        return np.clip(network.predict(latent, batch_size=BATCH, verbose=0), -1, 1)
    labels = networks.even_labels(count) if network.is_conditional else None
    how = {"sampler": flow, "steps": 1} if calls == 1 else {"sampler": "dpmpp_2m", "steps": calls}
    return np.clip(sampling.sample(network, count, seed=seed, condition=labels, **how), -1, 1)


def measure(item, found=None):
    """What one row holds.

    Args:
        item: of PLAN. found: the rows that are there, for the settings that the trial runs chose.
    """
    dataset = data.load("mnist")
    if "checkpoint" in item:
        network, about = pretrained.load_diffusion(item["checkpoint"]), {"cpu_seconds": trained(item["checkpoint"])}
        calls = (1,) if item["checkpoint"] == "one_call" else CALLS
    else:
        model = item.get("model") or item.get("control") or item["trial"]
        setting = item.get("setting") or best_setting(found, model)
        network, seconds = fit(model, item["seconds"], item["seed"], setting, dataset.x_train)
        about = {"cpu_seconds": round(seconds, 1), "chosen": setting}
        calls = (1,) if model == "gan" else CALLS
    images = {str(n): draw(network, n, seed=1) for n in calls}
    measures = {n: report.rounded(evaluation.evaluate(x, dataset, progress=False)) for n, x in images.items()}
    if item.get("seed") == SEEDS[0] and "control" not in item:  # pictures for the lesson
        about["drawn"] = {n: packed(x[:SHOWN]) for n, x in images.items()}
    return {**about, "measures": measures}


def trained(name):
    """CPU seconds behind a checkpoint: of its own training, and, for a student, of its pairs and its teacher."""
    record = pretrained.read_record(name)
    more = record["pairs"]["cpu_seconds"] + trained(record["teacher"]) if "teacher" in record else 0
    return round(record["cpu_seconds"] + more, 1)


def packed(images):
    """Images in [-1, 1] as text: their pixels as bytes, in base 64."""
    return base64.b64encode(np.uint8(np.round(127.5 * (images + 1)))).decode()


def measure_speed():
    """Digits a second in batches of BATCH, with all cores; the best of 20, warm. It needs an idle machine."""
    generator = build_generator()
    latent = np.random.default_rng(0).standard_normal((BATCH, LATENT), dtype=np.float32)
    works = {"GAN": lambda: generator.predict_on_batch(latent)}
    for name, how in {
        "fast, 20 calls": {"sampler": "dpmpp_2m", "steps": 20},
        "fast, 5 calls": {"sampler": "dpmpp_2m", "steps": 5},
        "one_call": {"sampler": flow, "steps": 1},
    }.items():
        sampler = sampling.Sampler(pretrained.load_diffusion(name.split(",")[0]).with_guidance(0.0), **how)
        noise = np.random.default_rng(0).standard_normal((BATCH, *sampler.shape), dtype=np.float32)
        labels = networks.even_labels(BATCH) if sampler.diffusion.is_conditional else None
        works[name] = lambda s=sampler, x=noise, c=labels: list(s.run(x, condition=c, x0=False))

    found = idle.measured({name: partial(idle.fastest, work) for name, work in works.items()})
    return {"digits_a_second": {name: round(BATCH / seconds, 1) for name, (seconds, _) in found.items()}}


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__, "PART", PARTS, spread=True), rows()

    def missing(part):
        return [item for item in file.missing() if PARTS[part] in item and part in options.names]

    spread.fill(file, missing("trials"), measure, options)
    if not any("trial" in item for item in file.missing()):  # the runs take the settings that the trials choose
        rest = [item for part in ("runs", "controls", "checkpoints") for item in missing(part)]
        spread.fill(file, rest, partial(measure, found=file.read()), options)
    if options.names == ["speed"]:
        for item in missing("speed"):
            file.add(item, measure_speed())
    elif missing("speed"):  # in a new process: this one may be limited to one thread
        subprocess.run([sys.executable, "-m", "benchmarks.gan", "speed"], check=True)
    file.finish()


if __name__ == "__main__":
    main()
