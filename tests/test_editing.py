"""Changing pictures with words: each method leaves alone what it should, and equals the plain model where it must."""

import numpy as np
import pytest
import tensorflow as tf

from labutils import editing, networks, pipeline, textual_inversion
from labutils.caption_data import NO_WORD, NUMBERS, tokenize
from labutils.diffusion import guided
from labutils.networks import Attention
from labutils.sampling import Sampler

BEFORE = ["a red three left of a blue seven", "a white nine above a pink two"]
AFTER = ["a red two left of a blue seven", "a white four above a pink two"]
NOISE = np.random.default_rng(0).standard_normal((2, 8, 8, 8), dtype=np.float32)
TIME = tf.fill((2, 1), 0.5)


@pytest.fixture(scope="module")
def model():
    return pipeline.TextToImage()


@pytest.fixture(scope="module")
def parts(model):
    return editing.split(model.diffusion.network)


@pytest.fixture(scope="module")
def images(model):
    """Two pictures that the autoencoder can make."""
    return networks.decode(model.autoencoder, NOISE)


def test_the_two_parts_are_the_whole_network(model, parts):
    encoder, denoiser = parts
    tokens = tf.constant(tokenize(BEFORE))
    whole = model.diffusion.network([tf.constant(NOISE), TIME, tokens])
    np.testing.assert_array_equal(denoiser([tf.constant(NOISE), TIME, encoder(tokens)]), whole)


def test_a_network_without_captions_is_refused():
    with pytest.raises(ValueError, match="network must have a text encoder"):
        editing.split(networks.build("fast", (28, 28, 1)))


def test_a_swapped_word_is_the_only_change():
    words, other = np.random.default_rng(0).standard_normal((2, 2, 8, 128))
    kept = words.copy()
    swapped = editing.swap_word(words, other, [1, 2])
    np.testing.assert_array_equal(words, kept)
    np.testing.assert_array_equal(swapped[:, [1, 2]], other[:, [1, 2]])
    np.testing.assert_array_equal(np.delete(swapped, [1, 2], axis=1), np.delete(words, [1, 2], axis=1))
    np.testing.assert_array_equal(editing.swap_word(words, other, []), words)


@pytest.mark.parametrize(
    ("other", "place", "name"), [((1, 8, 4), 0, "other"), ((2, 8, 4), 8, "place"), ((2, 8, 4), -1, "place")]
)
def test_a_bad_swap_is_refused(other, place, name):
    with pytest.raises(ValueError, match=f"{name} must"):
        editing.swap_word(np.zeros((2, 8, 4)), np.zeros(other), place)


def test_avoiding_the_empty_caption_is_ordinary_guidance(model):
    network = model.diffusion.network
    inputs = [tf.constant(NOISE), TIME, tf.constant(editing.negative_pairs(BEFORE))]
    expected = guided(network, NOISE, TIME, tokenize(BEFORE), 3.0)
    np.testing.assert_array_equal(editing.two_captions(network, 3.0)(inputs), expected)
    with pytest.raises(ValueError, match="weight must be at least 0"):
        editing.two_captions(network, -1.0)


def test_avoiding_the_wanted_caption_cancels_guidance(model):
    network = model.diffusion.network
    inputs = [tf.constant(NOISE), TIME, tf.constant(editing.negative_pairs(BEFORE, BEFORE))]
    plain = network([tf.constant(NOISE), TIME, tf.constant(tokenize(BEFORE))])
    np.testing.assert_allclose(editing.two_captions(network, 3.0)(inputs), plain, atol=1e-4)


def test_attention_with_its_own_weights_answers_the_same():
    layer, x = Attention(8), tf.constant(NOISE.reshape(2, -1, 8))
    answers, weights = layer(x, x)
    layer.out.kernel.assign(np.random.default_rng(0).standard_normal((8, 8)))
    answers, weights = layer(x, x)
    np.testing.assert_array_equal(layer(x, x, weights=weights)[0], answers)
    assert np.abs(layer(x, x, weights=tf.ones_like(weights) / weights.shape[-1])[0] - answers).max() > 0.01


def test_kept_attention(parts):
    """The first half is as it was. So is the second with the same caption, too late, or with all words free."""
    encoder, denoiser = parts
    x, time = tf.concat([NOISE, NOISE], 0), tf.concat([TIME, TIME], 0)
    same, edited = (encoder(tokenize([*BEFORE, *texts])) for texts in (BEFORE, AFTER))
    plain = denoiser([x, time, edited]).numpy()
    kept = editing.keep_attention(denoiser, 0.5)([x, time, edited]).numpy()
    np.testing.assert_allclose(kept[:2], plain[:2], atol=1e-5)
    assert np.abs(kept[2:] - plain[2:]).max() > 0.01
    for until, options, words in ((0.5, {}, same), (0.6, {}, edited), (0.5, {"free": tuple(range(8))}, edited)):
        found = editing.keep_attention(denoiser, until, **options)([x, time, words])
        np.testing.assert_allclose(found, denoiser([x, time, words]), atol=1e-5)


def test_an_edit_to_the_same_caption_draws_the_same_picture(model):
    first, second = editing.draw_edited(model, NOISE, BEFORE, BEFORE, keep=12)
    np.testing.assert_allclose(first, second, atol=1e-4)
    sampler = Sampler(model.diffusion, sampler="dpmpp_2m", steps=12)
    *_, (_, _, latents) = sampler.run(NOISE, condition=tokenize(BEFORE), x0=False)
    np.testing.assert_allclose(first, networks.decode(model.autoencoder, latents), atol=1e-3)
    with pytest.raises(ValueError, match="keep must be an integer in 0 … 12"):
        editing.draw_edited(model, NOISE, BEFORE, BEFORE, keep=13)


def test_a_picture_with_little_noise_is_hardly_redrawn(model, images):
    decoded = networks.decode(model.autoencoder, networks.encode(model.autoencoder, images))
    little, much = (editing.redraw(model, images, BEFORE, t, NOISE) - decoded for t in (82, 999))
    assert np.sqrt((little**2).mean()) < 0.5 * np.sqrt((much**2).mean())
    with pytest.raises(ValueError, match=r"t must be one of \[999, .* got 500"):
        editing.redraw(model, images, BEFORE, 500, NOISE)


def test_a_picture_of_which_all_is_kept_is_not_filled(model, images):
    decoded = networks.decode(model.autoencoder, networks.encode(model.autoencoder, images))
    filled = editing.fill(model, images, np.ones((8, 8, 1)), BEFORE, NOISE)
    np.testing.assert_allclose(filled, decoded, atol=1e-5)


def test_a_new_word_with_the_numbers_of_an_old_one_means_the_same(parts):
    encoder, _ = parts
    tokens = tokenize(BEFORE)
    red = np.asarray(encoder.get_layer("word_embedding").embeddings)[NUMBERS["red"] - NO_WORD]
    taught = np.where(tokens == NUMBERS["red"], textual_inversion.NEW_WORD, tokens)
    np.testing.assert_allclose(textual_inversion.encode_with(encoder, red, taught), encoder(tokens), atol=1e-6)


def test_learning_a_word_changes_its_row_alone(model, parts, images):
    encoder, _ = parts
    weights, start = model.diffusion.network.get_weights(), np.zeros(128, np.float32)
    tokens = tokenize(BEFORE)
    with pytest.raises(ValueError, match="tokens must hold the new word"):
        textual_inversion.learn_word(model, images, tokens, start)
    taught = tokens.copy()
    taught[:, 1] = textual_inversion.NEW_WORD
    row = textual_inversion.learn_word(model, images, taught, start, steps=2, batch=2)
    assert row.shape == (128,) and np.all(row != start)
    for old, new in zip(weights, model.diffusion.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(textual_inversion.encode_with(encoder, row, tokens), encoder(tokens))
