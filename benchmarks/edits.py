"""Pictures changed with words: which word carries a digit, and how far each way of editing goes (labutils.editing).

``python -m benchmarks.edits [--minutes M] [KIND ...]`` draws 300 pictures for each row, lets the reader of captions
judge them (labutils.caption_reader), and writes ``results/editing.json``, which lesson 10 quotes. Each row is saved as
soon as it is measured. The captions are seen ones: "a C1 D1 left of a C2 D2" with two colours and two digits. An edit
gives D1, C1 or the relation another value. What is compared is drawn from the same noise.
"""

import time
from functools import cache

import numpy as np

from benchmarks import report
from labutils import (
    caption_data,
    caption_pictures,
    data,
    editing,
    metrics,
    networks,
    pipeline,
    pretrained,
    textual_inversion,
)
from labutils.caption_data import COLOURS, sentences
from labutils.caption_pictures import SIZE
from labutils.caption_reader import INK, as_read, read_pictures
from labutils.networks.text_to_image import CROSS_ATTENTION

COUNT, SEED, OTHER_SEED = 300, 1, 2
WEIGHTS = ("autoencoder", "text_to_image", "digit_recogniser")
PLACES = {  # of "a C1 D1 left of a C2 D2"
    "none": [],
    "a": [0],
    "colour": [1],
    "digit": [2],
    "relation": [3, 4],
    "second phrase": [5, 6, 7],
    "all but colour": [0, 2, 3, 4, 5, 6, 7],
    "all": list(range(8)),
}
SELF = "inner_self_attention"
KEPT = {  # the options of editing.draw_edited
    "all words": {},
    "all words, self-attention": {"layers": (*CROSS_ATTENTION, SELF)},
    "all but the colour": {"free": (1,)},
    "all but “a” and the colour": {"free": (0, 1)},
    "all but colour and digit": {"free": (1, 2)},
}
AVOIDED = ("empty", "another digit", "another colour", "first phrase", "second phrase", "second colour")
T = (999, 916, 832, 749, 666, 499, 332, 166)
FILLS = {"one run": {}, "resampled": {"sampler": "ddim", "resample": 2}}
ORANGE = (255, 140, 0)
SEVEN = {**COLOURS, "orange": ORANGE}
HELD_OUT = (2, 5, 8)
TAUGHT = tuple(digit for digit in range(10) if digit not in HELD_OUT)
PLAN = [
    *({"keep": k, "words": "all words", "seed": SEED} for k in range(0, 13, 2)),
    *({"keep": k, "words": words, "seed": SEED} for words in tuple(KEPT)[1:] for k in (8, 12)),
    *({"orange": row} for row in ("real", "decoded", "training")),
    *({"orange": row, "digits": digits} for row in ("learned", "mean") for digits in ("taught", "held out")),
    {"orange": "old captions"},
    *({"swap": edit, "place": place} for edit in ("digit", "colour", "relation") for place in PLACES),
    *({"redraw": edit, "t": t} for edit in ("colour", "digit", "above") for t in T),
    *({"fill": caption, "how": how} for how in FILLS for caption in ("right", "wrong", "none")),
    *({"negative": avoided, "w": 4.0} for avoided in AVOIDED),
    *({"negative": avoided, "w": 1.0} for avoided in ("another digit", "second phrase")),
    *({"open": "avoid a blue digit", "w": w} for w in (0.0, 0.25, 0.5, 1.0)),
    *({"keep": k, "words": words, "seed": OTHER_SEED} for words in KEPT for k in (8, 12)),
]
KINDS = tuple(dict.fromkeys(next(iter(item)).replace(" ", "_") for item in PLAN))


def rows():
    """The result file."""
    return report.Rows("editing", PLAN, {"images": COUNT, **report.about(WEIGHTS)})


def scenes_of(edit, seed=SEED):
    """Scenes "left of" with two colours and two digits, and the same edited; both (COUNT, 5), both of seen kinds."""
    rng = np.random.default_rng(seed)
    before = caption_data.draw_scenes(100 * COUNT, rng, alone=0)
    before = before[(before[:, 2] == 0) & (before[:, 0] != before[:, 3]) & (before[:, 1] != before[:, 4])]
    after = before.copy()
    if edit == "digit":
        after[:, 1] = (after[:, 1] + rng.integers(1, 10, len(after))) % 10
    elif edit == "colour":
        after[:, 0] = (after[:, 0] + rng.integers(1, 6, len(after))) % 6
    else:
        after[:, 2] = {"relation": 1, "above": 2}[edit]
    seen = ~caption_data.has_unseen_pair(after) & ~caption_data.has_unseen_order(after)
    seen &= (after[:, 0] != after[:, 3]) & (after[:, 1] != after[:, 4])
    return before[seen][:COUNT], after[seen][:COUNT]


@cache
def model():
    """The model of lesson 8."""
    return pipeline.TextToImage()


@cache
def recogniser():
    """The judge of digits."""
    return pretrained.load("digit_recogniser")[0]


@cache
def real(seed=SEED):
    """Real test pictures of the scenes before an edit, by its name."""
    dataset = data.load("mnist")
    return lambda scenes: caption_pictures.draw_pictures(dataset, scenes, "test", seed, SEVEN)


def noise(seed=SEED):
    """The noise from which all pictures of a seed are drawn."""
    return np.random.default_rng(seed).standard_normal((COUNT, *model().diffusion.shape), dtype=np.float32)


def shares(**hits):
    """Proportions with their intervals."""
    return {name: report.interval(metrics.proportion(np.asarray(values))) for name, values in hits.items()}


def read(images):
    """What the judge sees."""
    return read_pictures(images, recogniser())


def measure_swap(item):
    """The word vectors of the first caption, with those at some places from the edited one. Which caption is drawn?"""
    before, after = scenes_of(item["swap"])
    encoder, denoiser = editing.split(model().diffusion.network)
    words, other, empty = (
        encoder(caption_data.tokenize(texts)) for texts in (sentences(before), sentences(after), [""] * COUNT)
    )
    words = editing.swap_word(words, other, PLACES[item["place"]])
    network = editing.two_captions(denoiser, model().diffusion.guidance)
    found = read(editing.draw(model(), noise(), network, np.stack([words, empty], axis=1)))
    old, new = as_read(before), as_read(after)
    return shares(
        new=(found == new).all(axis=1),
        old=(found == old).all(axis=1),
        left_digit_new=found[:, 1] == new[:, 1],
        left_digit_old=found[:, 1] == old[:, 1],
        left_colour_new=found[:, 0] == new[:, 0],
        left_colour_old=found[:, 0] == old[:, 0],
        right_old=(found[:, 3:] == old[:, 3:]).all(axis=1),
    )


def draw_away(texts, avoided, w):
    """Pictures of captions, guided away from others."""
    network = editing.two_captions(model().diffusion.network, w)
    return editing.draw(model(), noise(), network, editing.negative_pairs(texts, avoided))


def measure_negative(item):
    """A whole caption is wanted, and a caption that has something in common with it is avoided."""
    wanted, other = scenes_of("colour" if item["negative"] == "another colour" else "digit")
    first, second = wanted[:, :2], wanted[:, 3:]
    avoided = {
        "empty": [""] * COUNT,
        "another digit": sentences(other),
        "another colour": sentences(other),
        "first phrase": [f"a {text}" for text in phrases(first)],
        "second phrase": [f"a {text}" for text in phrases(second)],
        "second colour": [text.split()[0] for text in phrases(second)],
    }[item["negative"]]
    found = read(draw_away(sentences(wanted), avoided, item["w"]))
    return shares(
        caption=(found == wanted).all(axis=1),
        first=(found[:, :2] == wanted[:, :2]).all(axis=1),
        second=(found[:, 3:] == wanted[:, 3:]).all(axis=1),
        second_colour=found[:, 3] == wanted[:, 3],
        alone=found[:, 2] == caption_data.ALONE,
    )


def phrases(pairs):
    """The words of each (colour, digit), such as "red three"."""
    return [f"{list(COLOURS)[colour]} {caption_data.DIGITS[digit]}" for colour, digit in pairs]


def measure_open(item):
    """Nothing is asked for, so everything is left open, and "a blue three" is avoided, for each of ten digits."""
    avoided = [f"a blue {caption_data.DIGITS[number % 10]}" for number in range(COUNT)]
    images = draw_away([""] * COUNT, avoided, item["w"])
    found = read(images)
    seen = {name: (found[:, [0, 3]] == number).any(axis=1) for number, name in enumerate(COLOURS)}
    ink = (images.max(axis=-1) > 2 * INK - 1).mean(axis=(1, 2))  # proportion of pixels that are not black
    return {**shares(**seen), "ink": report.interval(metrics.bootstrap(np.mean, ink, rng=0))}


@cache
def edited(keep, words, seed):
    """Two sets of pictures: of the first captions, and of the edited ones."""
    before, after = map(sentences, scenes_of("digit", seed))
    return editing.draw_edited(model(), noise(seed), before, after, keep, **KEPT[words])


def measure_keep(item):
    """A digit is edited. Is it right, and how far does the other half of the picture move?"""
    seed = item["seed"]
    (first, second), (_, control) = edited(item["keep"], item["words"], seed), edited(0, "all words", seed)
    _, after = scenes_of("digit", seed)
    found = read(second)
    moved = np.stack([right_half_change(x, first) for x in (second, control)], axis=1)  # (COUNT, 2)
    ratio = metrics.bootstrap(lambda x: np.sqrt(x[:, 0].mean() / x[:, 1].mean()), moved, rng=0)
    return {
        **shares(digit=found[:, 1] == after[:, 1], caption=(found == after).all(axis=1)),
        "other_half": rms(moved[:, 0]),
        "control": rms(moved[:, 1]),
        "ratio": report.interval(ratio),
    }


def measure_redraw(item):
    """SDEdit of real test pictures, with a caption in which one word is new. How far does the right half move?"""
    before, after = scenes_of(item["redraw"])
    images = real()(before)
    drawn = editing.redraw(model(), images, sentences(after), item["t"], noise())
    found = read(drawn)
    same = found == after
    new = {"colour": 0, "digit": 1, "above": 2}[item["redraw"]]
    others = np.delete(same, new, axis=1).all(axis=1)
    old = found[:, new] == before[:, new]
    return {
        **shares(new=same[:, new], others=others, both=same[:, new] & others, old=old),
        "other_half": rms(right_half_change(drawn, decoded(images))),
    }


def decoded(images):
    """Pictures as the autoencoder holds them: encoded and decoded."""
    return networks.decode(model().autoencoder, networks.encode(model().autoencoder, images))


def right_half_change(images, others):
    """Mean squared difference of the right halves of pictures, (N,)."""
    return ((images - others)[:, :, SIZE // 2 :] ** 2).mean(axis=(1, 2, 3))


def rms(change):
    """Root of the mean of squared changes (N,), with its interval."""
    return report.interval(metrics.bootstrap(lambda x: np.sqrt(x.mean()), change, rng=0))


def measure_fill(item):
    """The right half of a real picture is hidden and drawn again, with the right caption, a wrong one, or none."""
    before, _ = scenes_of("digit")
    wrong = before.copy()
    wrong[:, 3] = (wrong[:, 3] + 1 + np.arange(COUNT) % 5) % 6
    wrong[:, 4] = (wrong[:, 4] + 1 + np.arange(COUNT) % 9) % 10
    asked = {"right": before, "wrong": wrong, "none": before}[item["fill"]]
    texts = [""] * COUNT if item["fill"] == "none" else sentences(asked)
    mask = np.zeros((8, 8, 1), np.float32)
    mask[:, :4] = 1
    images = real()(before)
    filled = editing.fill(model(), images, mask, texts, noise(), **FILLS[item["how"]])
    held = decoded(images)
    found = read(filled)

    def seam(x):
        return np.abs(x[:, :, SIZE // 2] - x[:, :, SIZE // 2 - 1]).mean(axis=(1, 2))

    change = ((filled - held) ** 2)[:, :, : SIZE // 2].mean(axis=(1, 3))  # (COUNT, 16), for each column
    reach = np.sqrt(change.mean(axis=0))
    steps = {"seam": seam(filled), "seam_real": seam(images), "seam_decoded": seam(held)}
    steps["seam_difference"] = seam(filled) - seam(held)
    return {
        **shares(
            digit=found[:, 4] == asked[:, 4],
            colour=found[:, 3] == asked[:, 3],
            both=(found[:, 3:] == asked[:, 3:]).all(axis=1),
            hidden=(found[:, 3:] == before[:, 3:]).all(axis=1),
            kept=(found[:, :2] == before[:, :2]).all(axis=1),
            two=found[:, 2] == 0,
        ),
        **{name: report.interval(metrics.bootstrap(np.mean, x, rng=0)) for name, x in steps.items()},
        "kept_change_by_column": [round(float(v), 4) for v in reach],
    }


def orange_scenes(digits, count, seed):
    """Scenes whose first digit is orange and one of ``digits``."""
    rng = np.random.default_rng(seed)
    scenes = caption_data.draw_scenes(count, rng)
    scenes[:, 0], scenes[:, 1] = len(COLOURS), rng.choice(digits, count)
    return scenes


def orange_tokens(scenes):
    """The tokens of such scenes: NEW_WORD at the second place."""
    tokens = caption_data.tokenize(sentences(np.where(np.arange(5) == 0, 0, scenes)))
    tokens[:, 1] = textual_inversion.NEW_WORD
    return tokens


def mean_row():
    """The mean of the rows of "red" and "yellow" in the word table: where learning starts, and the control."""
    encoder, _ = editing.split(model().diffusion.network)
    table = np.asarray(encoder.get_layer("word_embedding").embeddings)
    return table[[caption_data.NUMBERS[word] - caption_data.NO_WORD for word in ("red", "yellow")]].mean(axis=0)


def orange_shares(scenes, images):
    """What a judge of seven colours sees."""
    found, asked = read_pictures(images, recogniser(), SEVEN), as_read(scenes)
    here = asked[:, [0, 3]] == len(COLOURS)  # which of the two is orange
    colour = np.where(here[:, 0], found[:, 0], found[:, 3]) == len(COLOURS)
    digit = np.where(here[:, 0], found[:, 1] == asked[:, 1], found[:, 4] == asked[:, 4])
    return shares(colour=colour, digit=digit, caption=(found == asked).all(axis=1))


def draw_with(row, tokens):
    """Pictures of captions with the new word."""
    encoder, denoiser = editing.split(model().diffusion.network)
    captions = tokens, np.full_like(tokens, caption_data.NO_WORD)
    words, empty = (textual_inversion.encode_with(encoder, row, t) for t in captions)
    network = editing.two_captions(denoiser, model().diffusion.guidance)
    return editing.draw(model(), noise()[: len(tokens)], network, np.stack([words, empty], axis=1))


def learned_row():
    """The row that was learned, from the result file."""
    return np.float32(next(row["numbers"] for row in rows().read() if row.get("orange") == "training"))


def measure_orange(item):
    """A new colour, taught with seven of ten digits in 200 pictures."""
    kind = item["orange"]
    if kind in ("real", "decoded"):
        scenes = orange_scenes(range(10), COUNT, SEED)
        images = real()(scenes)
        if kind == "decoded":
            images = decoded(images)
        measured = orange_shares(scenes, images)
        if kind == "real":  # the judge must not see orange where there is none
            scenes, _ = scenes_of("digit")
            others = read_pictures(real()(scenes), recogniser(), SEVEN)[:, [0, 3]]
            measured |= shares(false_orange=(others == len(COLOURS)).any(axis=1))
        return measured
    if kind == "training":
        scenes = orange_scenes(TAUGHT, 200, SEED + 2)
        images = caption_pictures.draw_pictures(data.load("mnist"), scenes, "train", SEED, SEVEN)
        row = textual_inversion.learn_word(model(), images, orange_tokens(scenes), mean_row())
        return {"pictures": len(images), "numbers": [round(float(v), 4) for v in row]}
    if kind == "old captions":
        before, _ = scenes_of("digit")
        tokens = caption_data.tokenize(sentences(before))
        images = [draw_with(row, tokens) for row in (mean_row(), learned_row())]
        return {"largest_difference": float(np.abs(images[0] - images[1]).max())}
    scenes = orange_scenes(TAUGHT if item["digits"] == "taught" else HELD_OUT, COUNT, SEED + 3)
    row = learned_row() if kind == "learned" else mean_row()
    return orange_shares(scenes, draw_with(row, orange_tokens(scenes)))


def main():
    """Measure what is missing."""
    options, file = report.arguments(__doc__, "KIND", KINDS), rows()
    for item in file.missing():
        kind = next(iter(item)).replace(" ", "_")
        if kind not in options.names:
            continue
        options.budget.check()
        started = time.process_time()
        measured = globals()[f"measure_{kind}"](item)
        measured["cpu_seconds"] = round(time.process_time() - started, 1)
        file.add(item, measured)
        print(item, {k: v for k, v in measured.items() if k != "numbers"}, flush=True)
    file.finish()


if __name__ == "__main__":
    main()
