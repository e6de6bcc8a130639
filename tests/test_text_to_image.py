"""The parts of the small Stable Diffusion: autoencoder, text encoder, denoiser, and the way from caption to picture."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from lab import pipelines
from lab.autoencoder_training import kl_divergence, stroke_loss
from lab.pipelines import train_model
from labutils import caption_data, caption_pictures, data, networks, pipeline, pretrained, sampling, training
from labutils.diffusion import Diffusion, guided
from labutils.networks.attention import attention_model
from labutils.networks.autoencoder import moments, normalise_latents
from labutils.networks.text_to_image import CROSS_ATTENTION
from labutils.schedule import cosine_schedule

RNG = np.random.default_rng(0)
TEXTS = ["a red three left of a blue seven", "a white nine"]


def stirred(network, seed=0):
    """The network with random numbers in place of weights that start as 0."""
    rng = np.random.default_rng(seed)
    for weight in network.trainable_variables:
        if not np.any(ops.convert_to_numpy(weight)):
            weight.assign(rng.normal(0, 0.05, weight.shape))
    return network


@pytest.fixture(scope="module")
def denoiser():
    keras.utils.set_random_seed(0)
    return stirred(networks.build_text_to_image())


@pytest.fixture(scope="module")
def coder():
    keras.utils.set_random_seed(0)
    return stirred(networks.build_autoencoder())


@pytest.fixture(scope="module")
def pictures():
    return caption_pictures.make(data.load("digits"), 128, seed=0)


def inputs(count=2):
    latents = RNG.standard_normal((count, 8, 8, 8), np.float32)
    return [latents, np.full((count, 1), 0.5, np.float32), caption_data.tokenize((TEXTS * count)[:count])]


def test_sizes():
    denoiser, coder = networks.build("text_to_image", (8, 8, 8)), networks.build("autoencoder", (32, 32, 3))
    assert denoiser.count_params() + coder.count_params() <= 4_000_000
    latent = coder.get_layer("decoder").input.shape[1:]
    assert 6 * np.prod(latent) <= 32 * 32 * 3
    assert not np.any(denoiser(inputs()))  # zero at the start


def test_attention_by_hand():
    q, k, v = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5, 4), (5, 2)))
    answers, weights = networks.scaled_dot_product_attention(q, k, v)
    scores = np.exp(q @ k.T / 2)
    np.testing.assert_allclose(weights, scores / scores.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(answers, np.array(weights) @ v, rtol=1e-5)
    mask = np.array([True, True, False, True, False])
    hidden, weights = networks.scaled_dot_product_attention(q, k, v, mask)
    assert not np.any(np.array(weights)[:, ~mask])
    np.testing.assert_allclose(hidden, networks.scaled_dot_product_attention(q, k[mask], v[mask])[0], rtol=1e-5)


def test_reparameterised_latents():
    mean, noise = RNG.standard_normal((2, 1000)).astype(np.float32)
    z = ops.convert_to_numpy(networks.reparameterise(mean, np.full(1000, np.log(0.25), np.float32), noise))
    np.testing.assert_allclose(z, mean + 0.5 * noise, rtol=1e-5)
    assert float(kl_divergence(np.zeros(3, np.float32), np.zeros(3, np.float32))) == 0
    assert float(kl_divergence(np.ones(3, np.float32), np.zeros(3, np.float32))) == pytest.approx(0.5)


def test_stroke_loss_cares_for_strokes(pictures):
    x = pictures.images[:4]
    edges = np.array([[0.1, -0.1] * 16] * 32, np.float32)[..., None]  # an error that changes from pixel to pixel
    ink = x.max(axis=-1, keepdims=True) > 0

    def loss(error):
        return float(ops.mean(stroke_loss(x, x + error.astype(np.float32))))

    assert loss(0 * x) == 0
    assert loss(0.1 * ink) / ink.mean() > 2 * loss(0.1 * ~ink) / (~ink).mean()
    assert loss(edges) > 2 * loss(np.abs(edges))


def test_normalising_latents_changes_no_reconstruction(coder, pictures):
    x = pictures.images
    before, (_, log_variance) = networks.decode(coder, networks.encode(coder, x)), moments(coder, x)
    scale = coder.get_layer("encoder").get_layer("latent_scale")
    for _ in range(2):
        normalise_latents(coder, x)
        latents = networks.encode(coder, x)
        np.testing.assert_allclose(latents.mean(axis=(0, 1, 2)), 0, atol=1e-3)
        np.testing.assert_allclose(latents.std(axis=(0, 1, 2)), 1, atol=1e-3)
    np.testing.assert_allclose(networks.decode(coder, latents), before, atol=1e-3)
    np.testing.assert_allclose(coder.predict(x, verbose=0).clip(-1, 1), before, atol=1e-3)
    # σ is measured in the same units as μ.
    deviation = np.exp(moments(coder, x)[1] / 2) * ops.convert_to_numpy(scale.std)
    np.testing.assert_allclose(deviation, np.exp(log_variance / 2), rtol=1e-2)


def test_words_reach_the_picture_and_their_order_matters(denoiser):
    x, time, _ = inputs()

    def answer(network, *texts):
        return ops.convert_to_numpy(network([x, time, caption_data.tokenize(texts)]))

    right, turned = "a red three left of a blue seven", "a blue seven left of a red three"
    assert np.abs(answer(denoiser, right, right) - answer(denoiser, turned, turned)).max() > 1e-3
    # One answer per caption: another caption in the batch has no effect.
    np.testing.assert_allclose(answer(denoiser, right, turned)[0], answer(denoiser, right, right)[0], atol=1e-4)


@pytest.mark.parametrize(("layer", "size"), zip(CROSS_ATTENTION, (8, 4, 8), strict=True))
def test_attention_maps(denoiser, layer, size):
    maps = networks.attention_maps(denoiser, *inputs(), layer=layer)
    assert maps.shape == (2, caption_data.LENGTH, size, size)
    np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=1e-5)
    reader = denoiser.get_layer("text_encoder")
    assert attention_model(reader, "self_attention_0")(caption_data.tokenize(TEXTS)).shape == (2, 4, 8, 8)


@pytest.mark.parametrize("shape", [(4, 16, 8), (8, 16, 8), (6, 6, 8), (2, 10, 4)])
@pytest.mark.parametrize("layer", CROSS_ATTENTION)
def test_latents_of_other_shapes(shape, layer):
    """Rows and columns of a map are those of the latent, or of its half."""
    keras.utils.set_random_seed(0)
    network = stirred(networks.build_text_to_image(shape))
    latent = RNG.standard_normal((1, *shape), np.float32)
    told = [*map(ops.convert_to_tensor, (latent, np.full((1, 1), 0.5, np.float32), caption_data.tokenize(TEXTS[:1])))]
    maps = networks.attention_maps(network, *told, layer=layer)
    shrunk = 2 if layer == "inner_cross_attention" else 1
    assert network(told).shape == (1, *shape)
    assert maps.shape == (1, caption_data.LENGTH, shape[0] // shrunk, shape[1] // shrunk)
    weights = ops.convert_to_numpy(attention_model(network, layer)(told)).mean(axis=1)  # (1, places, LENGTH)
    row, column = maps.shape[2] - 1, maps.shape[3] // 3
    np.testing.assert_array_equal(maps[0, :, row, column], weights[0, row * maps.shape[3] + column])


def test_an_odd_latent_is_refused():
    for shape in [(7, 8, 8), (8, 3, 8), (1, 2, 8)]:
        with pytest.raises(ValueError, match=r"divisible by 2 \(the network halves them once\)"):
            networks.build_text_to_image(shape)


@pytest.mark.parametrize("bad", [caption_data.NO_WORD - 1, len(caption_data.VOCABULARY), 99])
def test_unknown_words_are_refused_at_the_call(bad, denoiser):
    tokens = caption_data.tokenize(TEXTS)
    tokens[1, 2] = bad
    with pytest.raises(ValueError, match=f"condition must lie in -1 … {len(caption_data.VOCABULARY) - 1}"):
        sampling.sample(Diffusion(denoiser, cosine_schedule()), 2, condition=tokens, progress=False)


def test_a_caption_is_dropped_as_a_whole():
    tokens = np.tile(caption_data.tokenize(TEXTS), (32, 1))
    images = np.zeros((64, 4, 4, 1), np.float32)
    batches = training.training_batches(
        images, Diffusion(None, cosine_schedule()).draw_t, 64, seed=0, condition=tokens, condition_dropout=0.5
    )
    told = next(batches)[3]
    dropped = (told == networks.NO_LABEL).all(axis=1)
    assert 10 < dropped.sum() < 54
    assert set(caption_data.detokenize(told[~dropped])) == set(TEXTS)
    assert (tokens[:, 0] != networks.NO_LABEL).all()  # the caller's captions stay


def test_guidance_compares_with_no_caption(denoiser):
    x, time, tokens = map(ops.convert_to_tensor, inputs())
    none = ops.full_like(tokens, networks.NO_LABEL)
    told, untold = (ops.convert_to_numpy(denoiser([x, time, words])) for words in (tokens, none))
    answer = guided(denoiser, x, time, tokens, 2.0)
    np.testing.assert_allclose(answer, 3 * told - 2 * untold, atol=1e-4)


def test_samples_follow_their_captions_and_the_seed(denoiser):
    def draw(tokens, seed=0, guidance=1.0):
        diffusion = Diffusion(denoiser, cosine_schedule(), "v", guidance)
        options = {"sampler": "ddim", "steps": 2, "progress": False, "seed": seed}
        return sampling.sample(diffusion, len(tokens), condition=tokens, **options)

    tokens = caption_data.tokenize(TEXTS)
    first = draw(tokens)
    np.testing.assert_array_equal(first, draw(tokens))
    assert not np.allclose(first, draw(tokens[::-1]), atol=1e-3)
    assert not np.allclose(first, draw(tokens, guidance=0.0), atol=1e-3)
    with pytest.raises(ValueError, match="one condition for each of the 3 images"):
        sampling.sample(Diffusion(denoiser, cosine_schedule()), 3, condition=tokens, progress=False)


@pytest.mark.parametrize("name", ["autoencoder", "text_to_image"])
def test_half_precision_is_half_the_size_and_comes_back(name, coder, denoiser, tmp_path):
    network = {"autoencoder": coder, "text_to_image": denoiser}[name]
    pretrained.save(network, "whole", {}, tmp_path)
    pretrained.save(network, "half", {}, tmp_path, half=True)
    sizes = [(tmp_path / f"{file}.weights.h5").stat().st_size for file in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    for file, tolerance in (("whole", 0), ("half", 1e-3)):
        loaded, _ = pretrained.load(file, tmp_path)
        for weight, expected in zip(loaded.variables, network.variables, strict=True):
            assert weight.dtype == "float32"
            np.testing.assert_allclose(weight, expected, rtol=tolerance, atol=tolerance / 1000)


@pytest.mark.slow
def test_training_of_all_parts_and_drawing_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines, "VALIDATION_IMAGES", 64)
    digits = data.load("digits")
    train_model("autoencoder", digits, tmp_path / "a", epochs=2, images=64)
    record = json.loads((tmp_path / "a" / "autoencoder.json").read_text())
    assert len(record["history"]["loss"]) == 2
    assert record["history"]["loss"][1] < record["history"]["loss"][0]
    again = train_model("autoencoder", digits, tmp_path / "a", epochs=2, images=64)  # already done
    assert json.loads(again.read_text())["history"] == record["history"]

    folder = tmp_path / "b"
    folder.mkdir()
    for file in ("autoencoder.json", "autoencoder.weights.h5"):
        (folder / file).write_bytes((tmp_path / "a" / file).read_bytes())
    train_model("text_to_image", digits, folder, epochs=2, images=64, milestones=(1,))
    about = pretrained.read_record("text_to_image", folder)
    assert len(about["history"]["val_loss"]) == 2
    assert (about["prediction"], about["guidance"]) == ("v", 4.0)
    assert (folder / "text_to_image_epoch_01.json").is_file()
    drawer = pipeline.TextToImage(folder=folder)
    drawn = drawer.draw(TEXTS, steps=2)
    assert drawn.shape == (2, 32, 32, 3)
    assert np.abs(drawn).max() <= 1
    np.testing.assert_array_equal(drawn, drawer.draw(caption_data.tokenize(TEXTS), steps=2))
    with pytest.raises(ValueError, match="unknown word 'purple'"):
        drawer.draw(["a purple two"])
