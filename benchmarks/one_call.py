"""One call of a network against its teacher's 24: quality, captions, cost and speed.

``python -m benchmarks.one_call [--minutes M]`` measures the checkpoints ``one_call`` and ``one_call_text`` and writes
``results/one_call.json``, which lesson 9, the README and docs/maintainers.md quote. Student and teacher draw from the
same noise and labels, so each difference has an interval of pairs. The captions are those of benchmarks.prompts, which
measures the teacher. The rows of speed need an idle machine. Each row is saved as soon as it is measured.
"""

from functools import partial

import numpy as np

from benchmarks import prompts, report
from lab import idle
from labutils import caption_data, data, evaluation, metrics, networks, pipeline, pretrained, sampling
from labutils.distillation import SAMPLER, STEPS
from labutils.networks.classifiers import held_out, predict
from labutils.samplers import flow

IMAGES, SEEDS = 2_000, (1, 2, 3)
STUDENT, TEACHER, TEXT = "one_call", "fast_conditional", "one_call_text"
COPY = 0.01  # of the test images, this proportion lies nearer to a training image than the limit of a copy
RESAMPLES = 200
STUDENT_CALLS = (1, 2, 4)
SHOWN = ("as_asked", "recall", "coverage")
PLAN = [
    *({"model": STUDENT, "calls": calls, "seed": seed} for seed in SEEDS for calls in STUDENT_CALLS),
    *({"model": TEACHER, "calls": 2 * STEPS, "seed": seed} for seed in SEEDS),
    {"model": TEACHER, "calls": 1, "seed": SEEDS[0]},
    *({"difference": "one call − the teacher", "seed": seed} for seed in SEEDS),
    *({"captions": kind} for kind in prompts.EVERY_KIND),
    *({"cost": name} for name in (STUDENT, TEXT)),
    {"speed": "digits"},
    {"speed": "captions"},
]


def rows():
    """The result file."""
    weights = (STUDENT, TEXT, TEACHER, "autoencoder", *report.JUDGES)
    return report.Rows("one_call", PLAN, {"images": IMAGES, **report.about(weights, timing=True)})


def draw(model, calls, seed):
    """IMAGES digits with even labels, clipped as judges see them. The same seed is the same noise for every model."""
    diffusion = pretrained.load_diffusion(model)
    few = model == STUDENT or calls == 1
    how = {"sampler": flow, "steps": calls} if few else {"sampler": SAMPLER, "steps": STEPS}
    labels = networks.even_labels(IMAGES)
    diffusion = diffusion.with_guidance(0.0) if few else diffusion
    return np.clip(sampling.sample(diffusion, IMAGES, seed=seed, condition=labels, **how), -1, 1)


def measure_digits(item, dataset):
    """A row of quality: labutils.evaluation's measures, sharpness, and the proportion of copies."""
    images = draw(item["model"], item["calls"], item["seed"])
    measured = evaluation.evaluate(images, dataset, labels=networks.even_labels(IMAGES))
    nearest, _ = metrics.nearest_images(images, dataset.x_train)
    usual, _ = metrics.nearest_images(dataset.x_test[:IMAGES], dataset.x_train)
    return {
        "measures": report.rounded(measured),
        "sharpness": round(metrics.sharpness(images), 4),
        "real_sharpness": round(metrics.sharpness(dataset.x_test[:IMAGES]), 4),
        "copies": [round(v, 5) for v in metrics.proportion(nearest < np.quantile(usual, COPY))],
    }


def measure_difference(item, dataset):
    """Fréchet distance of one call minus that of the teacher, with the interval of pairs from the same noise."""
    features, _ = evaluation.load_judges()
    _, kept = held_out(dataset.x_train)
    held = dataset.x_train[kept]
    real = predict(features, held[np.random.default_rng(0).permutation(len(held))[:IMAGES]])
    drawn = [predict(features, draw(m, calls, item["seed"])) for m, calls in ((STUDENT, 1), (TEACHER, 2 * STEPS))]

    def difference(chosen):
        one, many = (metrics.frechet_distance(x[chosen], real) for x in drawn)
        return one - many

    found = metrics.bootstrap(difference, np.arange(IMAGES), resamples=RESAMPLES, rng=np.random.default_rng(0))
    return {"frechet": [round(v, 3) for v in found]}


def measure_captions(item, _):
    """Proportions of right words of pictures drawn with one call; those of the teacher stand in text_to_image.json."""
    recogniser, _ = pretrained.load("digit_recogniser")
    scenes = prompts.asked(item["captions"])
    model = pipeline.TextToImage(TEXT)
    images = model.draw(prompts.variants.encode_words(scenes), seed=prompts.SEED, steps=1, sampler="ddim")
    return prompts.word_shares(scenes, images, recogniser)


def measure_cost(item, _):
    """CPU minutes of pairs and training, and bytes in the repository."""
    record = pretrained.read_record(item["cost"])
    files = [pretrained.CHECKPOINT_DIR / f"{item['cost']}{ending}" for ending in (".json", ".weights.h5")]
    return {
        "cpu_minutes": round(record["cpu_seconds"] / 60, 1),
        "cpu_minutes_of_pairs": round(record["pairs"]["cpu_seconds"] / 60, 1),
        "pairs": record["train_images"],
        "parameters": record["parameters"],
        "bytes": sum(file.stat().st_size for file in files),
    }


def measure_speed(item, _):
    """Digits a second in batches, or seconds for 16 pictures from captions; each the best of five, warm."""
    if item["speed"] == "digits":
        student = pretrained.load_diffusion(STUDENT)
        sampler = sampling.Sampler(student, sampler="ddim", steps=1)
        works = {}
        for batch in (64, 256):
            noise = np.random.default_rng(0).standard_normal((batch, *sampler.shape), dtype=np.float32)
            labels = networks.even_labels(batch)
            works[str(batch)] = lambda noise=noise, labels=labels: list(sampler.run(noise, condition=labels, x0=False))
    else:
        model = pipeline.TextToImage(TEXT)
        sampler = sampling.Sampler(model.diffusion, sampler="ddim", steps=1)
        noise = np.random.default_rng(0).standard_normal((16, *sampler.shape), dtype=np.float32)
        tokens = caption_data.tokenize(["a red three left of a blue seven"] * 16)

        def captions():
            *_, (_, _, latents) = sampler.run(noise, condition=tokens, x0=False)
            return networks.decode(model.autoencoder, latents)

        works = {"16": captions}

    found = idle.measured({name: partial(idle.fastest, work) for name, work in works.items()})
    return {
        "seconds": {name: round(value, 5) for name, (value, _) in found.items()},
        "idle": max(seen["others"] for _, seen in found.values()),
    }


def measure(item, dataset):
    """What one row holds."""
    kinds = {"model": measure_digits, "difference": measure_difference, "captions": measure_captions}
    kinds |= {"cost": measure_cost, "speed": measure_speed}
    return next(work for key, work in kinds.items() if key in item)(item, dataset)


def mean_of(rows, model, calls, measure):
    """The mean of a measure over the seeds."""
    found = [row for row in rows if row.get("model") == model and row["calls"] == calls]
    return float(np.mean([row["measures"].get(measure, {"value": row.get(measure)})["value"] for row in found]))


def table(results):
    """One call and its teacher: quality as a Markdown table, then captions and speed in sentences."""
    rows = results["rows"]
    floor = np.mean([row["measures"]["frechet"]["floor"] for row in rows if "model" in row])
    lines = [
        f"| {results['images']:,} digits, means of {len(SEEDS)} seeds | calls | Fréchet distance | in floors "
        "| as asked | recall | coverage | sharpness |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, calls in ((TEACHER, 2 * STEPS), *((STUDENT, calls) for calls in STUDENT_CALLS), (TEACHER, 1)):
        frechet, *cells = (mean_of(rows, model, calls, name) for name in ("frechet", *SHOWN, "sharpness"))
        cells = " | ".join(f"{value:.3f}" for value in cells)
        lines.append(f"| `{model}` | {calls} | {frechet:.1f} | {frechet / floor:.1f} | {cells} |")
    right = ", ".join(f"{row['caption'][0]:.3f} ({row['captions']})" for row in rows if "captions" in row)
    seconds = next(row["seconds"] for row in rows if row.get("speed") == "digits")
    pictures = next(row["seconds"] for row in rows if row.get("speed") == "captions")
    rates = " or ".join(f"{int(batch) / value:,.0f} in batches of {batch}" for batch, value in seconds.items())
    lines += [
        "",
        f"`{TEXT}` draws a caption with one call. Whole captions right: {right.replace('_', ' ')}.",
        f"Digits a second with one call on {results['machine']['cores']} cores: {rates}. 16 pictures from captions, "
        f"decoded, take {1e3 * pictures['16']:.0f} ms after the start-up.",
    ]
    return "\n".join(lines)


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__), rows()
    dataset = data.load("mnist")
    for item in file.missing():
        options.budget.check()
        measured = measure(item, dataset)
        file.add(item, measured)
        print(item, measured, flush=True)
    if results := file.finish():
        for document in (report.README, report.MAINTAINERS):
            report.quote("one call", table(results), document)


if __name__ == "__main__":
    main()
