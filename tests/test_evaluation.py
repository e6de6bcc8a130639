"""The report on a set of images: what it says of good, bad, copied and useless ones, and the committed judges."""

import json

import keras
import numpy as np
import pytest
from conftest import mnist_here

from labutils import checkpoints, cli, data, evaluation, networks, recognisers

DIGITS = data.load("digits")


@pytest.fixture(scope="module")
def judges():
    return evaluation.load_judges()


def measure(images, judges, dataset=DIGITS):
    return evaluation.evaluate(images, dataset, judges, resamples=10, progress=False)


def test_real_images_score_like_the_floor(judges):
    real = DIGITS.x_test[:200]
    found = measure(real, judges)
    assert set(found) == {"frechet", "kid", "precision", "recall", "density", "coverage", "recognised", "class_entropy",
                          "memorisation"}  # fmt: skip
    assert found["frechet"].value < 2 * found["frechet"].floor
    assert found["precision"].value > 0.6 and found["class_entropy"].value > 0.95
    assert all(m.low <= m.high for m in found.values())


def test_noise_one_class_and_copies(judges):
    noise = measure(np.random.default_rng(0).uniform(-1, 1, (200, 28, 28, 1)), judges)
    assert noise["frechet"].value > 10 * noise["frechet"].floor and noise["precision"].value < 0.1
    zeros = DIGITS.x_train[DIGITS.y_train == 0]
    one_class = measure(np.concatenate([zeros] * 2)[:200], judges)
    assert one_class["class_entropy"].value < 0.3 and one_class["recall"].value < 0.5
    copies = measure(DIGITS.x_train[:200], judges)
    assert copies["memorisation"].value < 1e-3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((200, 28, 28)), r"images must have shape \(N, 28, 28, 1\), got \(200, 28, 28\)"),
        (np.zeros((200, 32, 32, 3)), "images must have shape"),
        (np.full((200, 28, 28, 1), np.nan), "NaN or infinity"),
        (np.zeros((5000, 28, 28, 1)), "5000 images, but digits has only"),
        (np.zeros((100, 28, 28, 1)), "needs more than 128 items, a has 100"),
    ],
)
def test_bad_images(images, message, judges):
    with pytest.raises(ValueError, match=message):
        measure(images, judges)


def test_a_single_grey_image_has_defined_values(judges):
    """All images equal: singular covariance, one class, every neighbour at distance 0."""
    found = measure(np.zeros((150, 28, 28, 1)), judges)
    assert all(np.isfinite(m.value) for m in found.values())
    assert found["class_entropy"].value == 0 and found["recall"].value < 0.1


def test_the_command(tmp_path, capsys):
    file, out = tmp_path / "images.npz", tmp_path / "numbers.json"
    np.savez(file, images=DIGITS.x_test[:150])
    assert cli.main(["evaluate", str(file), "--dataset", "digits", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    numbers = json.loads(out.read_text(encoding="utf-8"))
    assert "frechet" in printed and "150 images" in printed
    assert numbers["images"] == 150 and set(numbers["kid"]) == {"value", "low", "high", "floor"}


@pytest.mark.parametrize("name", recognisers.NETWORKS)
def test_judges_know_digits(name):
    about = checkpoints.read_record(name)
    assert about["test_accuracy"] >= 0.993 and about["train_images"] == 50_000
    network, _ = checkpoints.load(name)
    if mnist_here():
        mnist = data.load("mnist")
        assert recognisers.accuracy(network, mnist.x_test, mnist.y_test) == pytest.approx(
            about["test_accuracy"], abs=1e-3
        )


def test_a_recogniser_learns():
    keras.utils.set_random_seed(0)
    network = networks.build("digit_features", (28, 28, 1))
    history = recognisers.fit(network, DIGITS.x_train, DIGITS.y_train, epochs=4, batch_size=16)
    assert history["loss"][-1] < 0.5 * history["loss"][0] and len(history["cpu_seconds"]) == 4
    assert recognisers.accuracy(network, DIGITS.x_test, DIGITS.y_test) > 0.5


def test_what_the_judges_may_see():
    seen, kept = recognisers.held_out(np.zeros(60_000))
    assert (seen.stop, kept.start) == (50_000, 50_000)
