"""Pictures of scenes: coloured digits side by side or one above the other, made from MNIST.

labutils.caption_data says what a scene is, and which caption names it.
"""

from dataclasses import dataclass

import numpy as np

from labutils.caption_data import ALONE, COLOURS, draw_scenes, sentences, tokenize

SIZE = 32  # pixels of a picture
HALF = 16  # pixels of the square in which one digit stands
DIGIT_SIZES = (14, 15, 16)  # pixels of a digit's longer side


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
