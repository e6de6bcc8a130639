"""How much each ingredient of the network ``fast`` and of its training helps.

``python -m benchmarks.ablation [--minutes M] [VARIANT …]`` trains each variant for one pass over MNIST (one of them for
two), draws 1,000 images with 20 calls of the network each, measures them, and writes ``results/ablation.json``, which
lesson 7 shows. Each variant changes one thing. ``fast`` is trained from three seeds, which shows the effect of chance.
Each row is saved as soon as it is measured. You may stop the program and start it again, and run several programs with
different variants side by side. To measure everything again, delete the file.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from benchmarks import report, variants
from benchmarks.contenders import classic
from benchmarks.quality import IMAGES
from labutils import data, evaluation, networks, sampling
from labutils.diffusion import Diffusion
from labutils.pseudo_labels import PseudoLabels, draw_labels
from labutils.schedule import NoiseSchedule, linear_schedule
from labutils.training import EXPERIMENTS, TrainingConfig, keras_progress, train

CALLS = 20
TRAIN_IMAGES = 60_000  # all of MNIST
FAST, CLASSIC = EXPERIMENTS["fast"], EXPERIMENTS["classic"]


@dataclass(frozen=True)
class Variant:
    """What is trained, and how; the defaults are those of ``fast``.

    Attributes:
        min_snr: γ of benchmarks.variants.ErrorOfX0. error_of_x0: its weight 1 at every t.
        tau: "uniform" or "logit-normal" for benchmarks.variants.Flow.
        clusters: number of clusters that are the labels, see labutils.pseudo_labels; None for true labels.
        clipped: drawn with x̂_0 clipped to [-1, 1] at every call.
    """

    build: Any = networks.build_fast
    config: TrainingConfig = FAST.config
    prediction: str = FAST.prediction
    schedule: NoiseSchedule = FAST.schedule
    min_snr: float | None = None
    error_of_x0: bool = False
    clipped: bool = False
    tau: str | None = None
    clusters: int | None = None
    passes: int = 1
    seeds: int = 1

    def diffusion(self):
        """A new network, as a diffusion model."""
        network = self.build()
        guidance = EXPERIMENTS["fast_conditional"].guidance if len(network.inputs) > 2 else 0.0
        if self.min_snr or self.error_of_x0:
            return variants.ErrorOfX0(network, self.schedule, self.prediction, guidance, self.min_snr)
        if self.tau:
            return variants.Flow(network, self.schedule, self.prediction, guidance, self.tau == "logit-normal")
        return Diffusion(network, self.schedule, self.prediction, guidance)


VARIANTS = {
    "fast": Variant(seeds=3),
    "predict the noise": Variant(prediction="noise"),
    "predict the noise, clipped": Variant(prediction="noise", clipped=True),
    "predict v": Variant(prediction="v"),
    "predict v, weighted as x_0": Variant(prediction="v", error_of_x0=True),
    "flow, uniform τ": Variant(prediction="velocity", tau="uniform"),
    "flow, logit-normal τ": Variant(prediction="velocity", tau="logit-normal"),
    "no folding": Variant(variants.no_folding),
    "linear schedule": Variant(schedule=linear_schedule()),
    "no warm-up": Variant(config=replace(FAST.config, warmup_steps=0)),
    "no clipping": Variant(config=replace(FAST.config, clip_norm=None)),
    "averaging": Variant(config=replace(FAST.config, average=0.9995)),
    "small constant rate": Variant(config=TrainingConfig()),
    "scale and shift": Variant(variants.scale_and_shift),
    "random start": Variant(variants.random_start),
    "Min-SNR weighting": Variant(min_snr=5.0),
    "told the digit": Variant(lambda: networks.build_fast(classes=networks.CLASSES)),
    **{
        f"{count} clusters as labels": Variant(partial(networks.build_fast, classes=count), clusters=count)
        for count in (10, 30, 100)
    },
    "fast, 2 passes": Variant(passes=2),
    "classic network": Variant(classic),
    "classic network and recipe": Variant(classic, CLASSIC.config, CLASSIC.prediction, CLASSIC.schedule),
}


def plan(variants=VARIANTS):
    """What identifies each row: name, seed and what the variant holds. If any of them changes, it is measured again."""
    items = []
    for name, variant in variants.items():
        config = variant.config.for_run(variant.passes, -(-TRAIN_IMAGES // variant.config.batch_size))
        about = {key: getattr(variant, key) for key in ("passes", "prediction", "min_snr")}
        about |= {
            key: getattr(variant, key) for key in ("error_of_x0", "clipped", "tau", "clusters") if getattr(variant, key)
        }
        about |= {"config": asdict(config), "schedule": variant.schedule.record()}
        items += [{"variant": name, "seed": seed, **about} for seed in range(variant.seeds)]
    return items


def rows():
    """The result file."""
    return report.Rows("ablation", plan(), {"images": IMAGES, "calls": CALLS, **report.about(report.JUDGES)})


def measure(item, dataset, count=IMAGES, variants=VARIANTS):
    """What one row holds: train, draw, measure."""
    variant = variants[item["variant"]]
    keras.utils.set_random_seed(item["seed"])
    diffusion = variant.diffusion()
    condition = labels = asked = None  # in training, in drawing, and what a judge may ask for
    if variant.clusters:
        condition = PseudoLabels(dataset.x_train, variant.clusters).of(dataset.x_train)
        labels = draw_labels(np.bincount(condition) / len(condition), count, np.random.default_rng(1))
    elif diffusion.is_conditional:
        condition, labels = dataset.y_train, networks.even_labels(count)
        asked = labels
    history = train(
        diffusion,
        dataset.x_train,
        item["passes"],
        config=TrainingConfig(**item["config"]),
        seed=item["seed"],
        condition=condition,
        callbacks=[keras_progress(item["passes"], item["variant"])],
    )
    steps = CALLS // 2 if diffusion.guidance else CALLS
    constrain = (lambda x0, t: ops.clip(x0, -1, 1)) if variant.clipped else None
    images = sampling.sample(
        diffusion, count, seed=1, condition=labels, sampler="dpmpp_2m", steps=steps, constrain=constrain
    )
    return {
        "cpu_seconds": round(sum(history["cpu_seconds"]), 1),
        "parameters": diffusion.network.count_params(),
        "measures": report.rounded(evaluation.evaluate(np.clip(images, -1, 1), dataset, labels=asked)),
    }


def fill(file, names, budget, measure):
    """Measure the missing rows of ``names``. Another program may measure some of them meanwhile."""
    for item in file.plan:
        if item["variant"] in names and item in file.missing():
            budget.check()
            started = time.perf_counter()
            file.add(item, measure(item))
            print(f"{item['variant']}, seed {item['seed']}: {time.perf_counter() - started:.0f} s", flush=True)
    file.finish()


def main():
    """Measure what is missing."""
    options = report.arguments(__doc__, "VARIANT", VARIANTS)
    fill(rows(), options.names, options.budget, lambda item: measure(item, data.load("mnist")))


if __name__ == "__main__":
    main()
