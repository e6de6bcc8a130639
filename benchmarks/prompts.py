"""Does the text-to-image model of lesson 8 understand its captions? Also where it never saw what they name?

``python -m benchmarks.prompts [--minutes M]`` draws 1,000 pictures for each row, lets a reader that had no part
in training read them (labutils.caption_reader), and writes ``results/text_to_image.json``, which lesson 8 quotes.
What it compares with is trained first, if it is not in ``build/text_to_image``: the model once more, with its weights
after some epochs kept, and two networks that must fail. ``text_to_image_matched`` gets a word of the pair of both in
place of each colour and each digit. ``text_to_image_bag`` gets the words without their order. It may be stopped and
started again: each row is kept as soon as it is measured, and each epoch of a training run.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from benchmarks import report, variants
from lab.autoencoder_training import fit_autoencoder
from lab.pipelines import DRAWN, train_model
from labutils import caption_data, caption_pictures, data, evaluation, metrics, networks, pipeline, plots, pretrained
from labutils.caption_reader import as_read, cut_digits, judge, read_pictures
from labutils.networks.autoencoder import build_autoencoder
from labutils.support.files import write_atomically
from labutils.training import EXPERIMENTS, keras_progress, train

COUNT, SEED = 1_000, 1
STEPS = pipeline.STEPS
RUNS = report.ROOT / "build" / "text_to_image"
PICTURE = report.ROOT / "docs" / "captions.png"
MILESTONES = (1, 2, 3, 5)  # epochs of 1,000 steps; the run has 8
EXPERIMENT = EXPERIMENTS["text_to_image"]
GUIDANCE = EXPERIMENT.guidance
MODELS = ("text_to_image", *variants.TEXT)
WEIGHTS = ("autoencoder", "text_to_image", "digit_recogniser")
SHRUNK = (1, 2, 4, 8)  # channels of the latent, in short runs: what is lost?
SHRUNK_PICTURES, SHRUNK_EPOCHS = 16_000, 2
COPY = 0.01
SAME, TIMES = 32, 16  # captions, and pictures of each, for the variety

EVERY_KIND = (*caption_data.KINDS, "turned")
PLAN = [
    *({"pictures": source, "kind": kind} for source in ("real", "decoded") for kind in EVERY_KIND),
    *(
        {"pictures": model, "epoch": None, "kind": kind, "guidance": GUIDANCE}
        for model in MODELS
        for kind in EVERY_KIND
    ),
    *(
        {"pictures": MODELS[0], "epoch": epoch, "kind": kind, "guidance": GUIDANCE}
        for epoch in MILESTONES
        for kind in EVERY_KIND[:2]
    ),
    {"second look": "unseen_pair"},
    {"pictures": MODELS[0], "epoch": "float32", "kind": "seen", "guidance": GUIDANCE},
    *({"sweep": w} for w in (None, 0.0, 1.0, 2.0, 4.0, 8.0)),
    *({"cost": "training", "model": name} for name in ("autoencoder", *MODELS)),
    {"cost": "drawing"},
    *({"latent": channels} for channels in SHRUNK),
]


def rows():
    """The result file."""
    return report.Rows("text_to_image", PLAN, {"images": COUNT, "steps": STEPS, **report.about(WEIGHTS)})


def asked(kind, count=COUNT, seed=SEED):
    """Scenes to draw, (count, 5): those of caption_data.draw_scenes, or ``turned``.

    Turned scenes are seen scenes with two digits that differ in colour and digit, each followed by the same with the
    colours exchanged: "a red three left of a blue seven", "a blue three left of a red seven". Both are seen kinds. Both
    captions have the same words, so only their order tells them apart.
    """
    if kind != "turned":
        return caption_data.draw_scenes(count, np.random.default_rng(seed), kind)
    scenes = caption_data.draw_scenes(40 * count, np.random.default_rng(seed), alone=0)
    other = scenes[:, [3, 1, 2, 0, 4]]
    differ = (scenes[:, 0] != scenes[:, 3]) & (scenes[:, 1] != scenes[:, 4])
    keep = np.flatnonzero(differ & ~caption_data.has_unseen_pair(other))[: count // 2]
    return np.stack([scenes[keep], other[keep]], axis=1).reshape(-1, 5)


def real(scenes, dataset):
    """Pictures of scenes, made from test images."""
    return caption_pictures.draw_pictures(dataset, scenes, "test", SEED)


def condition_of(model, scenes):
    """The condition of ``model`` for scenes, (N, LENGTH) int32."""
    return variants.TEXT[model][1](scenes) if model in variants.TEXT else variants.encode_words(scenes)


def drawer(model, epoch, dataset):
    """A model with its weights after ``epoch``: None for the end of the run, "float32" for the end, not yet rounded."""
    if model in variants.TEXT:
        return variant(model, dataset)
    if epoch is None:
        return pipeline.TextToImage(model)
    name = f"{model}_float32" if epoch == "float32" else f"{model}_epoch_{epoch:02d}"
    if not (RUNS / model / f"{name}.json").is_file():
        train_model(model, dataset, RUNS / model, milestones=MILESTONES)
    return pipeline.TextToImage(name, RUNS / model)


def variant(model, dataset, count=DRAWN):
    """A network of benchmarks.variants.TEXT, trained as the lab's own; its run may be stopped."""
    folder, parts = RUNS / model, pipeline.TextToImage()
    build, _, epochs = variants.TEXT[model]
    keras.utils.set_random_seed(0)
    parts.diffusion = EXPERIMENT.diffusion(build())
    if not (folder / f"{model}.json").is_file():
        pictures = caption_pictures.make(dataset, count)
        history = train(
            parts.diffusion,
            networks.encode(parts.autoencoder, pictures.images),
            epochs,
            config=EXPERIMENT.config.for_run(epochs, -(-count // EXPERIMENT.config.batch_size)),
            condition=condition_of(model, pictures.scenes),
            latents=True,
            state_file=folder / "state.npz",
            callbacks=[keras_progress(epochs, model)],
        )
        cost = {key: sum(history[key]) for key in ("seconds", "cpu_seconds")}
        pretrained.save(parts.diffusion, model, cost, folder, half=True)
    parts.diffusion.network.load_weights(folder / f"{model}.weights.h5")
    return parts


def word_shares(scenes, images, recogniser):
    """Shares right of each kind of word and of whole captions, each (share, low, high) of the Wilson interval."""
    right = judge(scenes, images, recogniser)
    return {name: report.interval(metrics.proportion(values)) for name, values in right.items()}


def bag_share(scenes, images, recogniser):
    """The share of pictures that show the words of their caption in any order, among all."""
    orders = ([0, 1, 2, 3, 4], [3, 1, 2, 0, 4], [0, 4, 2, 3, 1], [3, 4, 2, 0, 1])
    right = [judge(scenes[:, order], images, recogniser)["caption"] for order in orders]
    return report.interval(metrics.proportion(np.logical_or.reduce(right)))


def measure_words(item, dataset, recogniser):
    """A row of shares."""
    scenes = asked(item["kind"])
    if item["pictures"] in MODELS:
        model = drawer(item["pictures"], item["epoch"], dataset)
        tokens = condition_of(item["pictures"], scenes)
        images = model.draw(tokens, seed=SEED, steps=STEPS, guidance=item["guidance"])
    else:
        images = real(scenes, dataset)
        if item["pictures"] == "decoded":
            network, _ = pretrained.load("autoencoder")
            images = networks.decode(network, networks.encode(network, images))
    measured = word_shares(scenes, images, recogniser)
    if item["kind"] == "turned":
        measured["same_words"] = bag_share(scenes, images, recogniser)
    return measured


def measure_second_look(kind, dataset, recogniser):
    """The drawings once more, by other measures than the judge's.

    - ``second_reader``: whole captions right by another classifier, and the difference from real pictures.
    - ``frechet``: distance of the cut-out digits from those of real pictures; ``floor``: of other real pictures.
    - ``copies``: proportion of cut-out digits nearer to a training image than all but COPY of the real ones.
    - ``places``: in pictures with one unseen and one seen pair, proportion of right digits at each; and the difference.
    """
    scenes = asked(kind)
    drawn = pipeline.TextToImage().draw(condition_of(MODELS[0], scenes), seed=SEED, steps=STEPS, guidance=GUIDANCE)
    originals = real(scenes, dataset)
    second, _ = pretrained.load("digit_features")
    features, _ = evaluation.load_judges()
    read = [judge(scenes, images, second)["caption"] for images in (drawn, originals)]
    other = caption_pictures.draw_pictures(dataset, scenes, "test", SEED + 1)
    cut = [cut_digits(images) for images in (drawn, originals, other)]
    seen_by = [networks.predict(features, digits) for digits in cut]
    nearest = [metrics.nearest_images(digits, dataset.x_train)[0] for digits in cut[:2]]

    wanted, found = as_read(scenes), read_pictures(drawn, recogniser)
    right = wanted[:, [1, 4]] == found[:, [1, 4]]
    unseen = np.stack([caption_data.unseen_pair(*wanted[:, place : place + 2].T) for place in (0, 3)], axis=1)
    mixed = (scenes[:, 2] != caption_data.ALONE) & (unseen.sum(axis=1) == 1)
    at_unseen, at_seen = right[mixed][unseen[mixed]], right[mixed][~unseen[mixed]]
    gap = metrics.bootstrap(np.mean, at_seen.astype(float) - at_unseen, rng=np.random.default_rng(SEED))
    shown = {
        "second_reader": metrics.proportion(read[0]),
        "second_reader_real": metrics.proportion(read[1]),
        "second_difference": metrics.difference(*read),
        "copies": metrics.proportion(nearest[0] < np.quantile(nearest[1], COPY)),
        "at_unseen": metrics.proportion(at_unseen),
        "at_seen": metrics.proportion(at_seen),
        "seen_minus_unseen": gap,
    }
    return {
        "frechet": round(metrics.frechet_distance(seen_by[0], seen_by[1]), 2),
        "floor": round(metrics.frechet_distance(seen_by[2], seen_by[1]), 2),
        "pictures_with_both": int(mixed.sum()),
        **{name: [round(float(v), 4) for v in values] for name, values in shown.items()},
    }


def measure_variety(item, dataset, recogniser):
    """How different are pictures of one caption? Guidance makes them right, and alike.

    ``variety`` is the root mean square distance of a picture's pixels from the mean picture of its caption, over that
    of real pictures. ``sweep`` is w; None measures the real pictures.
    """
    model = pipeline.TextToImage()

    def draw(scenes):
        if item["sweep"] is None:
            return real(scenes, dataset)
        return model.draw(condition_of(MODELS[0], scenes), seed=SEED, steps=STEPS, guidance=item["sweep"])

    few, many = asked("seen", SAME).repeat(TIMES, axis=0), asked("seen")
    variety = _spread(draw(few)) / _spread(real(few, dataset))
    return {"variety": round(variety, 4), **word_shares(many, draw(many), recogniser)}


def _spread(images):
    groups = images.reshape(SAME, TIMES, -1)
    return float(np.sqrt(((groups - groups.mean(axis=1, keepdims=True)) ** 2).mean()))


def measure_training(name):
    """What training cost: CPU minutes, parameters, bytes of the checkpoint."""
    folder = pretrained.CHECKPOINT_DIR if name in ("autoencoder", MODELS[0]) else RUNS / name
    record = pretrained.read_record(name, folder)
    files = [folder / f"{name}{ending}" for ending in (".json", ".weights.h5")]
    return {
        "cpu_minutes": round(record["cpu_seconds"] / 60, 1),
        "parameters": record["parameters"],
        "bytes": sum(file.stat().st_size for file in files),
    }


def measure_drawing():
    """Seconds for 16 pictures: by the command, with Python's start; and in a process that has the model."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["sample", "--checkpoint", MODELS[0], "--prompt", "a red three left of a blue seven", "--count", "16"]
        command = [sys.executable, "-m", "lab", *words, "--out", str(Path(folder) / "drawn.png")]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        whole = time.perf_counter() - started
    started = time.perf_counter()
    model = pipeline.TextToImage()
    loaded = time.perf_counter()
    model.draw(["a red three left of a blue seven"] * 16)
    drawn = time.perf_counter()
    seconds = {"command": whole, "load": loaded - started, "draw": drawn - loaded}
    return {name: round(value, 2) for name, value in seconds.items()}


def measure_latent(item, dataset, recogniser):
    """A short training of an autoencoder with another number of channels: what is left of the digits?"""
    keras.utils.set_random_seed(0)
    network = build_autoencoder(channels=item["latent"])
    pictures = caption_pictures.make(dataset, SHRUNK_PICTURES).images
    folder = RUNS / f"latent_{item['latent']}"
    fit_autoencoder(network, pictures, SHRUNK_EPOCHS, state_file=folder / "state.npz")
    scenes = asked("seen")
    images = real(scenes, dataset)
    decoded = networks.decode(network, networks.encode(network, images))
    numbers = int(np.prod(network.get_layer("decoder").input.shape[1:]))
    error = float(((decoded - images) ** 2).mean())
    return {"numbers": numbers, "error": round(error, 5), **word_shares(scenes, decoded, recogniser)}


def measure(item, dataset, recogniser):
    """What one row holds."""
    if "pictures" in item:
        return measure_words(item, dataset, recogniser)
    if "second look" in item:
        return measure_second_look(item["second look"], dataset, recogniser)
    if "sweep" in item:
        return measure_variety(item, dataset, recogniser)
    if "latent" in item:
        return measure_latent(item, dataset, recogniser)
    return measure_training(item["model"]) if item["cost"] == "training" else measure_drawing()


NAMES = {
    "real": "real pictures",
    "decoded": "real pictures through the autoencoder",
    "text_to_image": "`text_to_image`",
    "text_to_image_matched": "words of pairs in place of colours and digits",
    "text_to_image_bag": "words without their order",
}


def table(results):
    """Whole captions right, and what it cost, as two Markdown tables."""
    rows = results["rows"]
    lines = [
        f"| whole captions right, {results['images']:,} each | seen | unseen pair | unseen order | turned |",
        "| --- | --- | --- | --- | --- |",
    ]
    right = {(r["pictures"], r["kind"]): r["caption"] for r in rows if "pictures" in r and r.get("epoch") is None}
    for source, name in NAMES.items():
        shares = (right[source, kind] for kind in EVERY_KIND)
        cells = [f"{value:.3f} ({low:.3f}–{high:.3f})" for value, low, high in shares]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    drawing = next(r for r in rows if r.get("cost") == "drawing")
    parts = [next(r for r in rows if r.get("model") == name) for name in ("autoencoder", MODELS[0])]
    minutes, parameters, size = (sum(part[key] for part in parts) for key in ("cpu_minutes", "parameters", "bytes"))
    lines += [
        "",
        "| autoencoder, text encoder and denoiser together | |",
        "| --- | --- |",
        f"| CPU minutes of training | {minutes:.0f} |",
        f"| parameters | {parameters / 1e6:.2f} million |",
        f"| checkpoints in the repository | {size / 1e6:.1f} MB |",
        f"| 16 pictures by the command, with Python's start | {drawing['command']:.1f} s |",
    ]
    return "\n".join(lines)


def draw_examples(each=4):
    """The first captions of two kinds and what is drawn for them: ``docs/captions.png``."""
    scenes = np.concatenate([asked(kind, each) for kind in EVERY_KIND[:2]])
    texts = caption_data.sentences(scenes)
    plots.use_lab_style()
    title = "Drawn from the caption alone. Row two: with a pair of colour and digit that training never showed"
    figure = plots.captioned(pipeline.TextToImage().draw(texts, seed=SEED), texts, title, columns=each)
    write_atomically(PICTURE, lambda path: figure.savefig(path, format="png", bbox_inches="tight"))


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__), rows()
    dataset = data.load("mnist")
    recogniser, _ = pretrained.load("digit_recogniser")
    for item in file.missing():
        options.budget.check()
        measured = measure(item, dataset, recogniser)
        file.add(item, measured)
        print(item, measured, flush=True)
    if results := file.finish():
        report.quote("captions", table(results))
        draw_examples()


if __name__ == "__main__":
    main()
