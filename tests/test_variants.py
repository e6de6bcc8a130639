"""What the benchmarks compare with: the weights of Min-SNR, the starts, and two networks that are told too little."""

import keras
import numpy as np
import pytest

from benchmarks import ablation, variants
from labutils import caption_data, networks, training
from labutils.diffusion import Diffusion
from labutils.schedule import PREDICTIONS, cosine_schedule, linear_schedule

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_the_error_of_x0(prediction):
    """Whatever the network predicts, the loss is the mean of min(SNR, γ) times the squared error of x̂_0."""
    schedule, t = linear_schedule(), np.array([3, 200, 700])
    x0, noise, output = RNG.uniform(-1, 1, (3, 3, 4, 4, 1)).astype("float32")
    model = variants.ErrorOfX0(lambda inputs: output, schedule, prediction, gamma=5.0)
    implied = np.asarray(schedule.predict_x0(schedule.add_noise(x0, t, noise), t, output, prediction))
    weights = np.minimum(schedule.snr[t], 5.0)
    assert weights[0] == 5.0 > weights[1] > weights[2]
    expected = np.mean(weights * ((implied - x0) ** 2).mean(axis=(1, 2, 3)))
    np.testing.assert_allclose(model.loss(x0, t, noise), expected, rtol=1e-3)


def test_a_weighted_run_learns():
    keras.utils.set_random_seed(0)
    network = networks.build_fast((8, 8, 1), widths=(8, 8), blocks=(1, 1))
    model = variants.ErrorOfX0(network, cosine_schedule(), "v")
    config = training.TrainingConfig(16, learning_rate=1e-2)
    loss = training.train(model, np.full((64, 8, 8, 1), 0.5), 8, config=config)["loss"]
    assert loss[-1] < 0.5 * loss[0]


def test_a_random_start_has_no_kernel_of_zeros():
    def zeros(network):
        return [w.path for w in network.weights if w.name == "kernel" and not np.any(w)]

    assert len(zeros(networks.build_fast())) == 5 and zeros(variants.random_start()) == []


def test_the_time_scales_and_shifts_every_block():
    keras.utils.set_random_seed(0)
    network = variants.scale_and_shift((8, 8, 1), (8, 8))
    x = RNG.uniform(-1, 1, (16, 8, 8, 1)).astype("float32")
    assert not np.any(network([x, np.full((16, 1), 0.3)])), "the first output is 0"
    training.train(Diffusion(network, cosine_schedule(), "v"), x, 3, config=training.TrainingConfig(8, 3e-3))
    early, late = (network([x[:1], np.full((1, 1), time, "float32")]) for time in (0.2, 0.8))
    assert not np.allclose(early, late)


def test_the_variants_of_the_ablation_are_what_they_say():
    assert isinstance(ablation.VARIANTS["Min-SNR weighting"].diffusion(), variants.ErrorOfX0)
    assert ablation.VARIANTS["told the digit"].diffusion().guidance > 0


def test_a_bag_of_words_loses_their_order():
    scenes = caption_data.parse(["a red three left of a blue seven", "a blue three left of a red seven"])
    spread = []
    for network in (networks.build_text_to_image(), variants.bag()):
        words = np.asarray(network.get_layer("text_encoder")(variants.encode_words(scenes)))
        one, other = (np.sort(vectors.round(4), axis=0) for vectors in words)
        spread.append(np.abs(one - other).max())
    assert spread[0] > 0.1 > 1e-3 > spread[1]


def test_matched_captions_have_words_of_pairs():
    scenes = caption_data.all_scenes()
    words, tokens = variants.encode_words(scenes), variants.encode_matched(scenes)
    assert len(np.unique(tokens, axis=0)) == len(scenes) and tokens.max() < variants.matched().label_count == 142
    named = (words >= 2) & (words < 18)  # colours and digits; every other place keeps its word
    assert np.array_equal(tokens >= 22, named) and np.array_equal(tokens[~named], words[~named])
    pairs = {(w, other): set() for w in range(2, 8) for other in range(8, 18)}
    for row, new in zip(words, tokens, strict=True):
        for i in np.flatnonzero((row >= 2) & (row < 8)):
            pairs[row[i], row[i + 1]] |= {new[i], new[i + 1]}
    assert sorted(word for found in pairs.values() for word in found) == list(range(22, 142))
