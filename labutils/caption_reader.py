"""Does a picture show what its caption says? Scored by a classifier that was not trained with the generator.

It reads a picture without knowing the caption: how many digits, side by side or one above the other, and the colour and
the digit of each. The digits are read by ``digit_recogniser``, which saw grey MNIST alone.
"""

import numpy as np
import tensorflow as tf

from labutils.caption_data import ALONE, COLOURS, sentences
from labutils.caption_pictures import SIZE
from labutils.metrics import check_drawn
from labutils.networks import predict

INK = 0.3  # a pixel darker than this in all colours counts as black
SPREAD = 30.0  # pixels²: two digits spread the ink further than this along their axis, one digit does not
# Shrinking made the strokes dim. Both numbers were chosen so that real pictures of training images are read best.
DIGIT_SIZE = 16.5  # pixels that become the 20 which a digit's longer side has in MNIST
BRIGHTEN = 0.6  # exponent


def read_pictures(images, classifier, colours=COLOURS):
    """The scene that each picture shows.

    Args:
        images: (N, 32, 32, 3) in about [-1, 1], see labutils.metrics.check_drawn.
        classifier: the network ``digit_recogniser`` with weights.
        colours: dict name → (red, green, blue), those among which the judge chooses.

    Returns:
        (N, 5) int32 as in labutils.caption_data. Two digits are read from left to right or from top to bottom, so the
        relation is "left of", "above", or ALONE.

    Raises:
        ValueError: pictures far outside [-1, 1].
    """
    light = (check_drawn(images) + 1) / 2
    first, second, beside, alone = _parts(light)
    scenes = np.empty((len(light), 5), np.int32)
    for columns, part in ((slice(0, 2), first), (slice(3, 5), second)):
        digits = predict(classifier, _cut_out(part)).argmax(axis=1)
        scenes[:, columns] = np.stack([_colour(light, part, colours), digits], axis=1)
    scenes[:, 2] = np.where(beside, 0, 2)
    scenes[alone, 2:] = ALONE
    return scenes


def cut_digits(images):
    """The digits of pictures in the manner of MNIST: the first of each picture, then the second ones.

    Args:
        images: (N, 32, 32, 3) in about [-1, 1].

    Returns:
        (M, 28, 28, 1) float32 in [-1, 1], N ≤ M ≤ 2 N.
    """
    first, second, _, alone = _parts((check_drawn(images) + 1) / 2)
    return _cut_out(np.concatenate([first, second[~alone]]))


def verdicts(scenes, images, classifier):
    """For each picture the text "✓ as asked", or what the judge reads instead; arguments as for :func:`judge`."""
    found = read_pictures(images, classifier)
    right = (as_read(scenes) == found).all(axis=1)
    said = [f"read: {text.removeprefix('a ').replace(' a ', ' ')}" for text in sentences(found)]
    return ["✓ as asked" if ok else text for ok, text in zip(right, said, strict=True)]


def _parts(light):
    """The ink (N, 32, 32) of the first and of the second digit; whether two are side by side; whether there is one."""
    ink = light.max(axis=-1)  # (N, 32, 32): every colour is bright in one channel
    ink = np.where(ink < INK, 0, ink)
    spread_y, spread_x = _spread(ink, 1), _spread(ink, 2)
    alone = np.maximum(spread_x, spread_y) < SPREAD
    beside = spread_x >= spread_y
    half = SIZE // 2
    first, second = ink.copy(), ink.copy()
    for rows, cut in ((beside & ~alone, np.s_[:, :, half:]), (~beside & ~alone, np.s_[:, half:])):
        masked = np.ones((1, SIZE, SIZE), bool)
        masked[cut] = False
        first[rows], second[rows] = first[rows] * masked, second[rows] * ~masked
    return first, second, beside, alone


def as_read(scenes):
    """Scenes as the reader gives them: "b right of a" becomes "a left of b", "b below a" becomes "a above b"."""
    scenes = np.array(scenes, np.int32)
    turned = (scenes[:, 2] == 1) | (scenes[:, 2] == 3)
    scenes[turned] = scenes[turned][:, [3, 4, 2, 0, 1]]
    scenes[turned, 2] -= 1
    return scenes


def judge(scenes, images, classifier):
    """Which words of each caption its picture obeys.

    Args:
        scenes: (N, 5), what was asked for. images, classifier: as for :func:`read_pictures`.

    Returns:
        dict of bool arrays (N,): ``colour``: all colours are right, each at its place; ``digit``: the same for the
        digits; ``relation``: one digit, two side by side, or two one above the other, as asked; ``caption``: all of it.
    """
    asked, found = as_read(scenes), read_pictures(images, classifier)
    right = {
        "colour": (asked[:, [0, 3]] == found[:, [0, 3]]).all(axis=1),
        "digit": (asked[:, [1, 4]] == found[:, [1, 4]]).all(axis=1),
        "relation": asked[:, 2] == found[:, 2],
    }
    return {**right, "caption": np.logical_and.reduce(list(right.values()))}


def _spread(ink, axis):
    """Variance of the place of the ink along an axis, in pixels²."""
    along = ink.sum(axis=3 - axis) + 1e-6  # (N, 32)
    place = np.arange(SIZE)
    total = along.sum(axis=1)
    mean = along @ place / total
    return along @ place**2 / total - mean**2


def _colour(light, ink, colours):
    """The nearest of ``colours`` to the mean colour of the ink, position (N,)."""
    weight = ink[..., None] ** 2
    mean = (light * weight).sum(axis=(1, 2)) / (weight.sum(axis=(1, 2)) + 1e-6)
    mean /= mean.max(axis=1, keepdims=True) + 1e-6  # edges of strokes are darker
    colours = np.array(list(colours.values()), np.float32)
    colours /= colours.max(axis=1, keepdims=True)
    return ((mean[:, None] - colours) ** 2).sum(axis=-1).argmin(axis=1)


def _cut_out(ink):
    """The digit in ``ink`` (N, 32, 32), moved and resized as in MNIST: (N, 28, 28, 1)."""
    place = np.arange(SIZE)
    total = ink.sum(axis=(1, 2)) + 1e-6
    y, x = ((ink.sum(axis=axis) @ place) / total for axis in (2, 1))  # MNIST's digits are centred by mass
    reach = 13.5 * DIGIT_SIZE / 20  # from the middle to the first and to the last pixel's centre, in pixels of ink
    boxes = np.stack([y - reach, x - reach, y + reach, x + reach], axis=1) / (SIZE - 1)
    grey = tf.image.crop_and_resize(ink[..., None], boxes, np.arange(len(ink)), (28, 28))
    return 2 * np.clip(grey, 0, 1).astype(np.float32) ** BRIGHTEN - 1
