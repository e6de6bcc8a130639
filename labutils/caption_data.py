"""Scenes and their captions: what is on a picture, as numbers, as a sentence, and as tokens.

A *scene* says what is on a picture: the numbers (colour, digit, relation, colour, digit) of its one or two digits. A
caption names it: "a red three left of a blue seven". labutils.caption_pictures shows it. Some scenes never occur in
training. A network that draws them composes words that it knows.

Which ones: see :func:`has_unseen_pair` and :func:`has_unseen_order`. The idea of captions over placed digits with some
combinations kept out is from alignDRAW (Mansimov et al. 2015, arXiv:1511.02793).
"""

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
RIGHT_STEP, BELOW_STEP = 3, 7  # differences of two digits, see has_unseen_order
KINDS = ("seen", "unseen_pair", "unseen_order")


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
