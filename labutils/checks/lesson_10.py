"""Checks of lesson 10: vectors exchanged between two captions, a negative prompt, one more row in the word table."""

import functools

import numpy as np
import tensorflow as tf

from labutils.caption_data import LENGTH, NO_WORD, VOCABULARY
from labutils.checks.feedback import Check, in_student_process, require, run
from labutils.checks.lesson_8 import drawing_task
from labutils.checks.values import as_numbers, close, compare

WIDTH = 128  # numbers of a vector, as the texts of the exercises say

check_swap_word = Check(
    "10.1",
    "swap_word",
    "``swap_word(words, other, place)``: the vectors (B, 8, 128) of ``words``, with those of ``other`` at one place.",
)
check_negative_prompt = Check(
    "10.2",
    "negative_prompt",
    "``negative_prompt(network, x, time, wanted, avoided, w)``: guidance towards one caption, away from another.",
)
check_look_up = Check(
    "10.3",
    "look_up",
    "``look_up(table, row, tokens)``: the vectors (B, 8, 128) of tokens, the last of which has the vector ``row``.",
)


def _two_captions(rng):
    """The vectors of two captions for a batch of three. The three axes differ in length."""
    return rng.standard_normal((2, 3, LENGTH, WIDTH), np.float32)


@check_swap_word.property("one place has the vectors of the other caption, all others stay")
def _(swap_word, rng):
    words, other = _two_captions(rng)
    for place in (2, 0, LENGTH - 1):
        here = (np.arange(LENGTH) == place)[:, None]
        right = np.where(here, other, words)
        item, number = np.arange(3)[:, None, None] == place % 3, np.arange(WIDTH) == place
        mistakes = {
            "nothing was exchanged": words,
            "all vectors are those of the other caption: exchange one place only": other,
            "it is the other way round: only at `place` should the vectors be those of `other`": np.where(
                here, words, other
            ),
            "you exchanged all vectors of one caption of the batch: the places are axis 1": np.where(
                item, other, words
            ),
            "you exchanged one number of each vector: the places are axis 1, the numbers axis 2": np.where(
                number, other, words
            ),
            "the places count from 0: you exchanged the place after": np.where(np.roll(here, 1, 0), other, words),
            "the places count from 0: you exchanged the place before": np.where(np.roll(here, -1, 0), other, words),
            "you exchanged all places from `place` on": np.where(np.arange(LENGTH)[:, None] >= place, other, words),
            "you exchanged all places before `place`": np.where(np.arange(LENGTH)[:, None] < place, other, words),
            "all captions of the batch got the vector of the first one": np.where(here, other[:1], words),
            "you added the two vectors; the new one should stand in place of the old one": words + here * other,
        }
        otherwise = f"at place {place} the vectors should be those of `other`, at all other places those of `words`"
        compare(run(swap_word, words, other, place), right, mistakes, otherwise, what="the array of vectors")


def changes_inputs(swap_word):
    """Call the student's function without copies: whether ``words`` and whether ``other`` is changed by it."""
    words, other = _two_captions(np.random.default_rng(0))
    kept = words.copy(), other.copy()
    run(functools.wraps(swap_word)(lambda: swap_word(words, other, 1)))  # ``run`` copies arguments, so it gets none
    return [float(not np.array_equal(a, b)) for a, b in zip((words, other), kept, strict=True)]


@check_swap_word.property("the arrays that come in stay as they are", alone=False)
def _(swap_word, rng):
    for name, changed in zip(("words", "other"), in_student_process(changes_inputs, swap_word), strict=True):
        require(not changed, f"`{name}` itself was changed: make a copy first, and write into the copy")


def _answers(rng, avoided=None):
    """A network, the other arguments of a negative prompt but w, and its answers to wanted, avoided and empty."""
    network, x, time, wanted = drawing_task(rng)
    if avoided is None:
        avoided = rng.permuted(wanted, axis=1)
        avoided[:, 1] = rng.integers(0, len(VOCABULARY), len(wanted))
    else:
        avoided = np.broadcast_to(avoided, wanted.shape).astype(np.int32)
    answers = [network.predict([x, time, tokens]) for tokens in (wanted, avoided, np.full_like(wanted, NO_WORD))]
    return (network, x, time, wanted, avoided), answers


@check_negative_prompt.property("towards the wanted caption, away from the avoided one")
def _(negative_prompt, rng):
    arguments, (wanted, avoided, empty) = _answers(rng)
    w = rng.uniform(1.5, 3.0)
    mistakes = {
        "that is guidance away from the empty caption: `avoided` takes its place": (1 + w) * wanted - w * empty,
        "the two captions have changed places: the picture would show what is to be avoided": (
            (1 + w) * avoided - w * wanted
        ),
        "you move towards the avoided caption: the sign of the difference is wrong": wanted - w * (wanted - avoided),
        "you begin at the answer for the avoided caption; begin at that for the wanted one": (
            avoided + w * (wanted - avoided)
        ),
        "the two are added; the answer for the avoided caption must be subtracted": (1 + w) * wanted + w * avoided,
        "the factor of the wanted caption must be 1 + w, so that both factors add up to 1": wanted - w * avoided,
        "that is only the way, w times the difference: it should begin at the answer for the wanted caption": (
            w * (wanted - avoided)
        ),
        "you begin at the answer for the empty caption: it does not take part": empty + w * (wanted - avoided),
        "the answer for the empty caption is subtracted, too: it does not take part": (1 + w) * wanted
        - w * empty
        - w * avoided,
        "the two factors add up to 0; they should add up to 1, as in lesson 8": (1 + w) * (wanted - avoided),
        "w has no effect: that is the answer for the wanted caption": wanted,
        "you returned the answer for the avoided caption": avoided,
        "that is a mean of both answers: it lies between them, not beyond the wanted one": (
            (wanted + w * avoided) / (1 + w)
        ),
    }
    otherwise = "the answer should lie on the line through both answers, beyond that for the wanted caption"
    found = run(negative_prompt, *arguments, w)
    compare(found, wanted + w * (wanted - avoided), mistakes, otherwise, what="the guided answer")


@check_negative_prompt.property("with an empty caption to avoid it is the guidance of lesson 8")
def _(negative_prompt, rng):
    arguments, (wanted, empty, _) = _answers(rng, NO_WORD)
    found = as_numbers(run(negative_prompt, *arguments, 2.0), wanted.shape, "the guided answer")
    require(
        close(found, 3 * wanted - 2 * empty),
        "with an empty `avoided` and w = 2 it should be 3 · with caption − 2 · without",
    )


@check_negative_prompt.property("the same caption twice, or w = 0: the answer for the wanted caption", alone=False)
def _(negative_prompt, rng):
    arguments, (wanted, *_) = _answers(rng)
    found = as_numbers(run(negative_prompt, *arguments, 0.0), wanted.shape, "the guided answer")
    require(close(found, wanted), "with w = 0 the answer for the wanted caption should come back unchanged")
    network, x, time, tokens, _ = arguments
    found = as_numbers(run(negative_prompt, network, x, time, tokens, tokens, 2.5), wanted.shape, "the guided answer")
    require(close(found, wanted), "if both captions are the same, the difference is 0, and w should have no effect")


NEW = len(VOCABULARY)  # the token of the new word


def _table(rng):
    """A word table, and a row for the new word."""
    return rng.standard_normal((NEW + 1, WIDTH), np.float32), rng.standard_normal(WIDTH, np.float32)


def _compare_rows(look_up, rng, tokens):
    """Judge the vectors of some tokens."""
    table, row = _table(rng)
    longer = np.concatenate([table, row[None]])
    number = tokens - NO_WORD
    overwritten = table.copy()
    overwritten[-1] = row
    mistakes = {
        "each word gets the vector of the word before it: row 0 belongs to the empty place, token −1, and the new row "
        "stands at the end": longer[tokens],
        "each word gets the vector of the word before it: row 0 belongs to the empty place, token −1": longer[
            tokens % (NEW + 1)
        ],
        "the shift has the wrong sign: token −1 needs row 0": longer[tokens + NO_WORD],
        "the shift is too large: token −1 needs row 0": longer[np.minimum(number + 1, NEW + 1)],
        "the new row has taken the place of the last old word: the table needs one more row": overwritten[
            np.minimum(number, NEW)
        ],
        "the new word gets the vector of the last old word: the table is not longer": table[np.minimum(number, NEW)],
        "the new word gets zeros: where is `row`?": np.concatenate([table, 0 * row[None]])[number],
        "every token gets the new row": np.broadcast_to(row, (*tokens.shape, WIDTH)),
        "an empty place keeps the vector of row 0; you set it to zero": longer[number] * (tokens != NO_WORD)[..., None],
    }
    otherwise = "token k needs row k + 1 of the longer table"
    compare(run(look_up, table, row, tokens), longer[number], mistakes, otherwise, what="the array of vectors")


@check_look_up.property("old words and empty places keep their rows")
def _(look_up, rng):
    tokens = np.append(rng.permutation(np.arange(NO_WORD, NEW)), NO_WORD)  # all of them: 24
    _compare_rows(look_up, rng, tokens.reshape(3, LENGTH).astype(np.int32))


@check_look_up.property("the new word gets the new row, wherever it stands")
def _(look_up, rng):
    tokens = rng.integers(NO_WORD, NEW, (5, LENGTH), dtype=np.int32)
    tokens[rng.random(tokens.shape) < 0.3] = NEW
    tokens[0, 1] = NEW
    _compare_rows(look_up, rng, tokens)


COUNTED = np.array([[0, NEW, 3, -1, -1, -1, -1, -1], [0, 2, 9, 20, 0, NEW, 8, NEW]], np.int32)  # the new word 3 times


def gradient_of_row(look_up):
    """The gradient of the sum of all vectors with respect to the new row; zeros if there is none."""
    table, row = _table(np.random.default_rng(0))
    row = tf.Variable(row)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.convert_to_tensor(run(look_up, table, row, COUNTED)))
    gradient = tape.gradient(total, row)
    return np.zeros(WIDTH, np.float32) if gradient is None else np.array(gradient)


@check_look_up.property("the gradient reaches the new row, once for each time that the word stands in a caption")
def _(look_up, rng):
    gradient = as_numbers(in_student_process(gradient_of_row, look_up), (WIDTH,), "the gradient of the new row")
    require(
        gradient.any(),
        "no gradient reaches `row`, so it could never learn: NumPy keeps no record of what it computes, "
        "use functions of TensorFlow or keras.ops",
    )
    require(
        close(gradient, np.full(WIDTH, 3.0)),
        f"the new word stands 3 times in the captions, so each number of `row` should have the gradient 3, not "
        f"{np.unique(gradient.round(2))[:5].tolist()}",
    )


@check_look_up.property("old captions do not depend on the new row", alone=False)
def _(look_up, rng):
    table, row = _table(rng)
    tokens = rng.integers(NO_WORD, NEW, (4, LENGTH), dtype=np.int32)
    found = [as_numbers(run(look_up, table, factor * row, tokens)) for factor in (1.0, 100.0)]
    require(close(*found), "the vectors of an old caption change with `row`: it may stand in a new row only")
