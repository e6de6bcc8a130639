"""Pictures with captions: what they show, what is kept out of training, and the words."""

import dataclasses

import numpy as np
import pytest
from conftest import needs

from labutils import caption_data, caption_pictures, data, pretrained
from labutils.caption_data import ALONE, COLOURS, NO_WORD, RELATIONS, VOCABULARY
from labutils.caption_reader import as_read, judge, read_pictures, verdicts
from labutils.networks import NO_LABEL

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def objects(scenes):
    """All colour–digit pairs in scenes, (M, 2)."""
    return np.concatenate([scenes[:, :2], scenes[scenes[:, 2] != ALONE][:, 3:]])


def test_the_pairs_that_are_kept_out_are_a_latin_square():
    colour, digit = np.divmod(np.arange(60), 10)
    out = caption_data.unseen_pair(colour, digit).reshape(6, 10)
    assert out.sum() == 12
    assert set(out.sum(axis=1)) == {2}
    assert set(out.sum(axis=0)) == {1, 2}


def test_held_out_pairs_and_orders_never_occur_in_training():
    scenes = caption_data.draw_scenes(60_000, np.random.default_rng(1))
    assert not caption_data.unseen_pair(*objects(scenes).T).any()
    shown = set(map(tuple, as_read(scenes)[:, [1, 2, 4]]))  # by the picture, not by the sentence
    for digit in range(10):
        assert (digit, 0, (digit + 3) % 10) not in shown
        assert (digit, 2, (digit + 7) % 10) not in shown
    # All else occurs: 48 pairs, and 90 ordered pairs of digits in each direction.
    assert len({tuple(pair) for pair in objects(scenes)}) == 48
    assert sum(relation == 0 for _, relation, _ in shown) == sum(relation == 2 for _, relation, _ in shown) == 90
    # A sentence with two words exchanged says the same thing the other way round, and is kept out too.
    same = caption_data.parse(["a red three left of a blue six", "a blue six right of a red three"])
    assert caption_data.has_unseen_order(same).all()
    assert not caption_data.has_unseen_order(caption_data.parse(["a blue six left of a red three"])).any()


def test_the_tests_ask_for_what_training_never_showed():
    pairs = caption_data.draw_scenes(2_000, np.random.default_rng(2), "unseen_pair")
    assert caption_data.has_unseen_pair(pairs).all()
    assert not caption_data.has_unseen_order(pairs).any()
    orders = caption_data.draw_scenes(2_000, np.random.default_rng(2), "unseen_order")
    assert caption_data.has_unseen_order(orders).all()
    assert not caption_data.has_unseen_pair(orders).any()


def test_pictures_follow_the_seed_and_lie_in_the_range(digits):
    first, again, other = (caption_pictures.make(digits, 40, seed=seed) for seed in (5, 5, 6))
    assert first.images.shape == (40, 32, 32, 3)
    assert first.images.dtype == np.float32
    assert first.images.min() == -1
    assert first.images.max() <= 1
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_each_digit_stands_in_its_half_in_its_colour(digits):
    made = caption_pictures.make(digits, 300, seed=3)
    light = (made.images + 1) / 2
    colours = np.array(list(COLOURS.values())) / 255
    for picture, (colour, _, relation, other, _) in zip(light, made.scenes, strict=True):
        if relation == ALONE:
            halves = {colour: picture}
        else:
            turned = picture if relation < 2 else picture.swapaxes(0, 1)
            first, second = (turned[:, :16], turned[:, 16:])[:: 1 if relation in (0, 2) else -1]
            halves = {colour: first, other: second}
            if colour == other:
                continue
        for name, half in halves.items():
            brightest = half[np.unravel_index(half.max(axis=-1).argmax(), half.shape[:2])]
            np.testing.assert_allclose(brightest / brightest.max(), colours[name] / colours[name].max(), atol=1e-3)


def test_words_and_numbers():
    texts = ["a red three left of a blue seven", "a white nine", "a green one above a yellow four", ""]
    tokens = caption_data.tokenize(texts)
    assert tokens.shape == (4, caption_data.LENGTH)
    assert tokens.dtype == np.int32
    assert caption_data.detokenize(tokens) == texts
    assert (tokens[3] == NO_WORD).all()
    assert NO_WORD == NO_LABEL  # training and guidance take a caption away as they take a label away
    scenes = caption_data.all_scenes()
    assert len(scenes) == 60 + len(RELATIONS) * 60**2
    np.testing.assert_array_equal(caption_data.parse(caption_data.sentences(scenes)), scenes)
    assert caption_data.tokenize(caption_data.sentences(scenes)).max() == len(VOCABULARY) - 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: caption_data.tokenize(["a red cat"]), "unknown word 'cat' in 'a red cat', known: a, of, blue, red"),
        (lambda d: caption_data.tokenize("a red two"), "must be a list of texts"),
        (lambda d: caption_data.tokenize(["a " * 9]), "at most 8 words"),
        (lambda d: caption_data.parse(["a red"]), "need a caption such as"),
        (lambda d: caption_pictures.make(d, 0), "count must be an integer of at least 1"),
        (lambda d: caption_pictures.make(d, 4, part="all"), "part must be 'train' or 'test'"),
        (
            lambda d: caption_data.draw_scenes(4, np.random.default_rng(0), "new"),
            "unknown kind 'new', known: seen, unseen_pair, unseen_order",
        ),
    ],
)
def test_bad_arguments(digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(digits)


def test_data_without_ten_grey_digits(tiny_npz):
    few = dataclasses.replace(data.load(str(tiny_npz)), y_test=np.arange(24) % 9)
    with pytest.raises(ValueError, match="need grey images of the ten digits"):
        caption_pictures.make(few, 4, part="test")


def test_sentences_that_show_the_same_are_read_the_same():
    scenes = caption_data.parse(["a red three right of a blue six", "a red three below a blue six", "a red three"])
    assert caption_data.sentences(as_read(scenes)) == [
        "a blue six left of a red three",
        "a blue six above a red three",
        "a red three",
    ]


def test_the_reader_sees_colour_and_place_without_any_digit_network(digits):
    made = caption_pictures.make(digits, 200, seed=4)
    found = read_pictures(made.images, lambda images, training: np.zeros((len(images), 10), np.float32))
    right = as_read(made.scenes)[:, [0, 2, 3]] == found[:, [0, 2, 3]]
    assert right.mean() > 0.98


def test_verdicts_say_what_is_read_instead(digits):
    scenes = caption_data.parse(["a red zero above a blue zero", "a red one"])
    images = caption_pictures.draw_pictures(digits, scenes)

    def zeros(images, training):
        return np.eye(1, 10).repeat(len(images), axis=0)

    assert verdicts(scenes, images, zeros) == ["✓ as asked", "read: red zero"]


@needs("MNIST")
def test_the_reader_reads_real_pictures():
    made = caption_pictures.make(data.load("mnist"), 500, "test", seed=1)
    right = judge(made.scenes, made.images, pretrained.load("digit_recogniser")[0])
    assert right["caption"].mean() > 0.95
    assert right["colour"].mean() > 0.98
    swapped = made.scenes[:, [3, 4, 2, 0, 1]]
    two = (made.scenes[:, 2] != ALONE) & (made.scenes[:, 1] != made.scenes[:, 4])
    assert judge(swapped[two], made.images[two], pretrained.load("digit_recogniser")[0])["caption"].mean() < 0.02


def test_noise_is_no_scene_and_no_error():
    noise = RNG.uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
    black = np.full((2, 32, 32, 3), -1, np.float32)
    for images in (noise, black):
        assert read_pictures(images, lambda x, training: np.zeros((len(x), 10))).shape == (len(images), 5)
