"""Pictures with a sentence each: coloured digits side by side or one above the other, made from MNIST.

A *scene* says what is on a picture: the numbers (colour, digit, relation, colour, digit) of its one or two digits. A
picture shows a scene, a caption names it: "a red three left of a blue seven". Some scenes never occur in training. A
network that draws them composes words that it knows.

Which ones: see :func:`has_unseen_pair` and :func:`has_unseen_order`. The idea of captions over placed digits with some
combinations kept out is from alignDRAW (Mansimov et al. 2015, arXiv:1511.02793).
"""

from dataclasses import dataclass

import numpy as np

from labutils.support.arguments import check_count

# Six brightnesses, so that colour-blind readers can tell them apart: L* of CIELAB about 41, 52, 63, 75, 87, 100.
COLOURS = {
    "blue": (30, 70, 255),
    "red": (240, 55, 40),
    "green": (20, 177, 65),
    "pink": (255, 150, 200),
    "yellow": (255, 215, 0),
    "white": (255, 255, 255),
}
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS = ("left of", "right of", "above", "below")
ALONE = -1  # the relation, second colour and second digit of a scene with one digit
NO_WORD = -1  # token of an empty place; a caption of empty places only means "no caption"
VOCABULARY = ("a", "of", *COLOURS, *DIGITS, "left", "right", "above", "below")
LENGTH = 8  # words of the longest caption
PAIRS = len(COLOURS) * len(DIGITS)
SIZE = 32  # pixels of a picture
HALF = 16  # pixels of the square in which one digit stands
DIGIT_SIZES = (14, 15, 16)  # pixels of a digit's longer side
RIGHT_STEP, BELOW_STEP = 3, 7  # differences of two digits, see has_unseen_order
KINDS = ("seen", "unseen_pair", "unseen_order")


@dataclass(frozen=True)
class Captioned:
    """Pictures and what is on them.

    Attributes:
        images: (N, 32, 32, 3) float32 in [-1, 1]; black is -1.
        scenes: (N, 5) int32, columns (colour, digit, relation, colour, digit): positions in COLOURS, DIGITS and
            RELATIONS. ALONE fills the last three of a scene with one digit.
    """

    images: np.ndarray
    scenes: np.ndarray

    @property
    def captions(self):
        """N sentences."""
        return sentences(self.scenes)

    @property
    def tokens(self):
        """The sentences as numbers, (N, LENGTH) int32."""
        return tokenize(self.captions)


def make(dataset, count, part="train", seed=0):
    """Draw scenes that training may show, and make a picture of each.

    Args:
        dataset: labutils.data.Images with grey digits: MNIST, or scikit-learn's digits.
        count: number of pictures, at least 1.
        part: ``train`` or ``test``: the images of ``dataset`` that are used.
        seed: the same seed gives the same pictures.

    Returns:
        Captioned.

    Raises:
        ValueError: a bad argument.
    """
    rng = np.random.default_rng(seed)
    scenes = draw_scenes(count, rng)
    return Captioned(draw_pictures(dataset, scenes, part, rng), scenes)


def all_scenes():
    """Every scene that a caption can name, (14460, 5) int32: 60 with one digit, then 4·60·60 with two."""
    colour, digit = np.divmod(np.arange(PAIRS), 10)
    alone = np.stack([colour, digit, *[np.full(PAIRS, ALONE)] * 3], axis=1)
    relation, first, second = (i.ravel() for i in np.indices((len(RELATIONS), PAIRS, PAIRS)))
    two = np.stack([colour[first], digit[first], relation, colour[second], digit[second]], axis=1)
    return np.concatenate([alone, two]).astype(np.int32)


def unseen_pair(colour, digit):
    """Whether a colour–digit pair is kept out of training: 12 of 60, two of each colour, one or two of each digit.

    The pairs form a Latin square: (colour + digit) is a multiple of 5.
    """
    return (np.asarray(colour) + np.asarray(digit)) % 5 == 0


def has_unseen_pair(scenes):
    """For each scene, whether it shows a colour–digit pair of :func:`unseen_pair`; (N,) bool."""
    first, second = scenes[:, :2].T, scenes[:, 3:].T
    return unseen_pair(*first) | (unseen_pair(*second) & (scenes[:, 2] != ALONE))


def has_unseen_order(scenes):
    """For each scene, whether it shows two digits in an order that is kept out of training; (N,) bool.

    Kept out is a digit d with d + 3 (after 9 comes 0) at its right, and d with d + 7 below it: 10 of 100 ordered pairs
    each. The rule is about the picture: "a six right of a three" shows the same as "a three left of a six".
    """
    relation = scenes[:, 2]
    step = scenes[:, 4] - scenes[:, 1]
    step = np.where((relation == 1) | (relation == 3), -step, step)  # right of, below: the second digit comes first
    kept_out = np.where(relation < 2, RIGHT_STEP, BELOW_STEP)  # 0 and 1: side by side
    return (relation != ALONE) & (step % 10 == kept_out)


def draw_scenes(count, rng, kind="seen", alone=0.2):
    """Scenes at random, (count, 5) int32.

    Args:
        count: number of scenes, at least 1.
        rng: NumPy generator.
        kind: ``seen``: what training shows; ``unseen_pair``: a colour–digit pair of each scene is kept out of training,
            the order is not; ``unseen_order``: the order is kept out, the pairs are not.
        alone: proportion of scenes with one digit, 0 … 1.

    Raises:
        ValueError: a bad argument.
    """
    check_count("count", count)
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}, known: {', '.join(KINDS)}")
    scenes = all_scenes()
    pair, order = has_unseen_pair(scenes), has_unseen_order(scenes)
    chosen = {"seen": ~pair & ~order, "unseen_pair": pair & ~order, "unseen_order": order & ~pair}[kind]
    single, double = (scenes[chosen & one] for one in (scenes[:, 2] == ALONE, scenes[:, 2] != ALONE))
    drawn = double[rng.integers(len(double), size=count)]
    if len(single):
        here = rng.random(count) < alone
        drawn[here] = single[rng.integers(len(single), size=here.sum())]
    return drawn


def draw_pictures(dataset, scenes, part="train", rng=0, colours=COLOURS):
    """A picture of each scene: handwritten digits of 14 to 16 pixels in their colours on black.

    Each digit stands in its half of the picture, in the middle of it, up to 3 pixels off. A digit that is
    alone stands in the middle, up to 5 pixels off.

    Args:
        dataset, part: as in :func:`make`.
        scenes: (N, 5).
        rng: NumPy generator or seed: of the handwriting, the size and the place.
        colours: dict name → (red, green, blue), in the order of the scenes' numbers.

    Returns:
        (N, 32, 32, 3) float32 in [-1, 1].

    Raises:
        ValueError: unknown part, or a data set without grey images of all ten digits.
    """
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'train' or 'test', got {part!r}")
    source, labels = (getattr(dataset, f"{axis}_{part}") for axis in "xy")
    if source.shape[-1] != 1 or set(np.unique(labels)) != set(range(10)):
        raise ValueError(f"captions need grey images of the ten digits (MNIST, or 'digits'), got {dataset.name}")
    rng = np.random.default_rng(rng)
    examples = [np.flatnonzero(labels == digit) for digit in range(10)]
    colours = np.array(list(colours.values()), np.float32) / 255
    pictures = np.zeros((len(scenes), SIZE, SIZE, 3), np.float32)
    relation = scenes[:, 2]
    for place, (colour, digit) in enumerate((scenes[:, :2].T, scenes[:, 3:].T)):
        rows = np.flatnonzero((relation != ALONE) | (place == 0))
        if not len(rows):
            continue
        picked = rng.random(len(rows))
        chosen = np.array([examples[d][int(u * len(examples[d]))] for d, u in zip(digit[rows], picked, strict=True)])
        patches = _patches(source[chosen, ..., 0], rng)
        y, x = _corners(relation[rows], place, rng)
        within = np.arange(HALF)
        target = rows[:, None, None], (y[:, None] + within)[:, :, None], (x[:, None] + within)[:, None, :]
        pictures[target] += patches[..., None] * colours[colour[rows]][:, None, None]
    pictures *= 2
    pictures -= 1
    return pictures


def _corners(relation, place, rng):
    """Top left corner (y, x) of the square of each digit; ``place`` is 0 for the first digit of a scene, else 1."""
    middle = (SIZE - HALF) // 2
    count = len(relation)
    alone = relation == ALONE
    free = np.where(alone, 5, 3)
    y, x = (middle + np.round(free * rng.uniform(-1, 1, count)).astype(int) for _ in range(2))
    far = HALF * ((relation % 2 == 1) != (place == 1))  # right of, below: the first digit is the far one
    x = np.where((relation == 0) | (relation == 1), far, x)
    y = np.where((relation == 2) | (relation == 3), far, y)
    return y, x


def _patches(images, rng):
    """Digits cut out, resized to one of DIGIT_SIZES, and moved where there is room: (n, 16, 16) in [0, 1].

    Args:
        images: (n, H, W) in [-1, 1].
    """
    grey = (images + 1) / 2
    n, H, W = grey.shape
    edges = [_edges(grey.max(axis=axis) > 0.2) for axis in (2, 1)]  # rows, columns
    longest = np.maximum(*(last - first + 1 for first, last in edges))
    size = rng.choice(DIGIT_SIZES, n)
    step = longest / size  # pixels of the source for one pixel of the patch
    floor, weight = [], []
    for (first, last), length in zip(edges, (H, W), strict=True):
        room = (HALF - (last - first + 1) / step) / 2  # empty pixels at either side
        shift = np.clip(room, 0, 3) * rng.uniform(-1, 1, n)
        at = (first + last)[:, None] / 2 + (np.arange(HALF) - (HALF - 1) / 2 + shift[:, None]) * step[:, None]
        at = np.clip(at, -1, length)  # the border added below is empty
        floor.append(np.minimum(np.floor(at), length - 1).astype(int))
        weight.append((at - floor[-1]).astype(np.float32))
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)))
    (y, x), (v, u) = floor, weight
    item = np.arange(n)[:, None, None]
    rows = [padded[item, y[:, :, None] + 1 + below, x[:, None, :] + 1] * (1 - u)[:, None] for below in (0, 1)]
    right = [padded[item, y[:, :, None] + 1 + below, x[:, None, :] + 2] * u[:, None] for below in (0, 1)]
    return (rows[0] + right[0]) * (1 - v)[:, :, None] + (rows[1] + right[1]) * v[:, :, None]


def _edges(ink):
    """First and last True of each row of a bool array (n, L); a row without any counts as full."""
    ink = ink | ~ink.any(axis=1, keepdims=True)
    return ink.argmax(axis=1), ink.shape[1] - 1 - ink[:, ::-1].argmax(axis=1)


def sentences(scenes):
    """The caption of each scene, a list of N texts."""
    colours = list(COLOURS)
    named = []
    for colour, digit, relation, other_colour, other_digit in np.asarray(scenes).tolist():
        words = f"a {colours[colour]} {DIGITS[digit]}"
        if relation != ALONE:
            words += f" {RELATIONS[relation]} a {colours[other_colour]} {DIGITS[other_digit]}"
        named.append(words)
    return named


def tokenize(captions):
    """Captions as numbers, (N, LENGTH) int32: positions in VOCABULARY; NO_WORD fills what is left.

    Args:
        captions: list of N texts; an empty text means "no caption".

    Raises:
        ValueError: one text instead of a list, a word that is not in VOCABULARY, or a text with too many words.
    """
    if isinstance(captions, str):
        raise ValueError(f"captions must be a list of texts, got one text: {captions!r}")
    tokens = np.full((len(captions), LENGTH), NO_WORD, np.int32)
    for row, caption in zip(tokens, captions, strict=True):
        words = caption.lower().split()
        if unknown := [word for word in words if word not in NUMBERS]:
            raise ValueError(f"unknown word {unknown[0]!r} in {caption!r}, known: {', '.join(VOCABULARY)}")
        if len(words) > LENGTH:
            raise ValueError(f"a caption has at most {LENGTH} words, got {len(words)}: {caption!r}")
        row[: len(words)] = [NUMBERS[word] for word in words]
    return tokens


def detokenize(tokens):
    """The texts of :func:`tokenize`, a list of N."""
    return [" ".join(VOCABULARY[token] for token in row if token != NO_WORD) for row in np.asarray(tokens)]


def parse(captions):
    """The scenes that captions name, (N, 5) int32: the inverse of :func:`sentences`.

    Raises:
        ValueError: a text that is not of the form "a red three" or "a red three left of a blue seven".
    """
    scenes = all_scenes()
    numbers = dict(zip(sentences(scenes), scenes, strict=True))
    for caption in captions:
        if caption not in numbers:
            raise ValueError(f"need a caption such as 'a red three' or 'a red three above a blue two', got {caption!r}")
    return np.array([numbers[caption] for caption in captions], np.int32).reshape(-1, 5)


NUMBERS = {word: number for number, word in enumerate(VOCABULARY)}
