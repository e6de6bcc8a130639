"""The report on a set of images: what it says of good, bad, copied and useless ones, and the committed judges."""

import hashlib
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import is_here

from lab import cli
from lab.classifier_training import fit_classifier
from labutils import data, evaluation, metrics, networks, pretrained, results
from labutils.caption_reader import read_pictures
from labutils.networks import classifiers

DIGITS = data.load("digits")


@pytest.fixture(scope="module")
def judges():
    return evaluation.load_judges()


def measure(images, judges, dataset=DIGITS, **options):
    return evaluation.evaluate(images, dataset, judges, resamples=10, progress=False, **options)


def assert_sound(measures):
    """The interval holds its value and stays inside the range of the measure."""
    for name, m in measures.items():
        highest = np.inf if name in ("frechet", "kid", "density", "memorisation") else 1.0
        lowest = -np.inf if name == "kid" else 0.0
        assert lowest <= m.low <= m.value <= m.high <= highest, (name, m)


def test_real_images_score_like_the_floor(judges):
    real = DIGITS.x_test[:200]
    found = measure(real, judges)
    names = "frechet kid precision recall density coverage recognised class_entropy memorisation"
    assert set(found) == set(names.split())
    assert found["frechet"].value < 2 * found["frechet"].floor
    assert found["precision"].value > 0.6 and found["class_entropy"].value > 0.95
    assert_sound(found)


def test_noise_one_class_and_copies(judges):
    noise = measure(np.random.default_rng(0).uniform(-1, 1, (200, 28, 28, 1)), judges)
    assert noise["frechet"].value > 10 * noise["frechet"].floor and noise["precision"].value < 0.1
    zeros = DIGITS.x_train[DIGITS.y_train == 0]
    one_class = measure(np.concatenate([zeros] * 2)[:200], judges)
    assert one_class["class_entropy"].value < 0.3 and one_class["recall"].value < 0.5
    copies = measure(DIGITS.x_train[:200], judges)
    assert copies["memorisation"].value < 1e-3
    for found in (noise, one_class, copies):
        assert_sound(found)


def test_equally_many_of_each_digit(judges):
    """The entropy is 1 then, and so is the upper end of its interval."""
    chosen = np.concatenate([np.flatnonzero(DIGITS.y_train == digit)[:20] for digit in range(10)])
    found = measure(DIGITS.x_train[chosen], judges, labels=DIGITS.y_train[chosen])
    assert found["class_entropy"].value > 0.99 and found["class_entropy"].high == 1.0
    assert_sound(found)


def test_as_asked_is_more_than_recognised(judges):
    """Right labels: about the floor. Labels of other digits: nothing is as asked, and the rest does not change."""
    real, labels = DIGITS.x_test[:200], DIGITS.y_test[:200]
    without, right, wrong = (measure(real, judges, labels=x) for x in (None, labels, (labels + 1) % 10))
    assert "as_asked" not in without and list(right)[6:8] == ["recognised", "as_asked"]
    assert right["recognised"] == wrong["recognised"] == without["recognised"]
    assert 0.9 * right["recognised"].value < right["as_asked"].value <= right["recognised"].value
    assert wrong["as_asked"].value < 0.05 and wrong["as_asked"].floor == right["as_asked"].floor
    assert right["as_asked"].floor > 0.9 * right["recognised"].floor
    assert without["frechet"].value == right["frechet"].value and without["frechet"].floor == right["frechet"].floor
    assert_sound(wrong)


def test_an_unsure_answer_is_not_as_asked(judges):
    """A classifier that answers right and is never sure."""
    features, classifier = judges
    unsure = keras.Model(classifier.input, keras.layers.Rescaling(1e-3)(classifier.output))
    found = measure(DIGITS.x_test[:150], (features, unsure), labels=DIGITS.y_test[:150])
    assert found["as_asked"].value == found["recognised"].value == 0 and found["as_asked"].floor == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(199, int), r"labels must be 200 integers, one per image, got int64 of shape \(199,\)"),
        (np.zeros((200, 10), int), r"shape \(200, 10\)"),
        (np.zeros(200), "got float64"),
        (np.full(200, 10), r"labels must lie in 0 … 9, got 10 … 10"),
        (np.full(200, -1), r"labels must lie in 0 … 9, got -1 … -1"),
    ],
)
def test_bad_labels(labels, message, judges):
    with pytest.raises(ValueError, match=message):
        measure(DIGITS.x_test[:200], judges, labels=labels)


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


@pytest.mark.parametrize(
    "images",
    [(127.5 * (DIGITS.x_test[:200] + 1)).astype(np.uint8), (DIGITS.x_test[:200] + 0.7) / 0.3],
    ids=["pixels", "in units of the standard deviation"],
)
def test_images_out_of_range_are_refused(images, judges, tmp_path, capsys):
    refused = r"images must lie in \[-1, 1\], got .* scale pixels with x / 127.5 - 1"
    with pytest.raises(ValueError, match=refused):
        measure(images, judges)
    with pytest.raises(ValueError, match=refused):
        metrics.nearest_images(images, DIGITS.x_train)
    with pytest.raises(ValueError, match=refused):
        classifiers.predict(judges[1], images)
    with pytest.raises(ValueError, match=refused):
        read_pictures(np.tile(images, 3), judges[1])
    with pytest.raises(ValueError, match=refused):
        networks.encode(networks.build("autoencoder", (28, 28, 1)), images)
    with pytest.raises(ValueError, match=refused.replace("images", "x")):
        fit_classifier(judges[1], images, DIGITS.y_test[:200], 1)
    np.savez(tmp_path / "a.npz", images=images)
    assert cli.main(["evaluate", str(tmp_path / "a.npz"), "--dataset", "digits"]) == 2
    assert "scale pixels" in capsys.readouterr().err


def test_samples_may_leave_the_range_a_little(judges):
    real = DIGITS.x_test[:200]
    assert measure(1.2 * real, judges)["kid"] == measure(np.clip(1.2 * real, -1, 1), judges)["kid"]


def test_a_single_grey_image_has_defined_values(judges):
    """All images equal: singular covariance, one class, every neighbour at distance 0."""
    found = measure(np.zeros((150, 28, 28, 1)), judges)
    assert all(np.isfinite(m.value) for m in found.values())
    assert found["class_entropy"].value == 0 and found["recall"].value < 0.1
    assert_sound(found)


def test_the_command(tmp_path, capsys):
    file, out = tmp_path / "images.npz", tmp_path / "numbers.json"
    np.savez(file, images=DIGITS.x_test[:150])
    assert cli.main(["evaluate", str(file), "--dataset", "digits", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    numbers = json.loads(out.read_text(encoding="utf-8"))
    assert "frechet" in printed and "150 images" in printed
    assert numbers["images"] == 150 and set(numbers["kid"]) == {"value", "low", "high", "floor"}


def test_the_table():
    m = evaluation.Measure(0.5, 0.25, 0.75, 0.9)
    plain = evaluation.table({"kid": evaluation.Measure(-0.01, -0.02, 0.03, 0.0), "recognised": m}, 150)
    assert "-0.0200 to    0.0300" in plain and "as_asked" not in plain
    told = evaluation.table({"recognised": m, "as_asked": m}, 2000).splitlines()
    assert told[0].startswith("2000 images") and "the digit that was asked for" in told[-2]
    ends = [line.split()[1:] for line in told[1:3]]
    assert ends == [["0.5000", "0.2500", "to", "0.7500", "0.9000"]] * 2
    assert len({len(line) for line in told[:3]}) == 1, "the columns stand under their heads"


def test_labels_in_a_file(tmp_path):
    plain, told, other = (tmp_path / f"{name}.npz" for name in ("plain", "told", "other"))
    np.savez(plain, images=DIGITS.x_test[:3])
    np.savez(told, images=DIGITS.x_test[:3], labels=DIGITS.y_test[:3])
    np.savez(other, labels=DIGITS.y_test[:3])
    assert evaluation.read_labels(plain) is None
    assert np.array_equal(evaluation.read_labels(told), DIGITS.y_test[:3])
    assert evaluation.read_images(told).shape == (3, 28, 28, 1)
    with pytest.raises(ValueError, match="images"):
        evaluation.read_labels(other)
    with pytest.raises(FileNotFoundError, match="missing.npz"):
        evaluation.read_labels(tmp_path / "missing.npz")


def test_recorded_numbers_that_are_not_there(tmp_path, monkeypatch, capsys):
    """A lesson goes on, after one line."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert results.recorded("quality") is None
    line = "benchmarks/results/quality.json is not here, so the recorded figures are left out\n"
    assert capsys.readouterr().out == line
    (tmp_path / "quality.json").write_text('{"rows": []}', encoding="utf-8")
    assert results.recorded("quality") == results.read("quality") == {"rows": []}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", classifiers.CLASSIFIERS)
def test_judges_know_digits(name):
    about = pretrained.read_record(name)
    assert about["test_accuracy"] >= 0.993 and about["train_images"] == 50_000
    network, _ = pretrained.load(name)
    if is_here("MNIST"):
        mnist = data.load("mnist")
        assert len(mnist.x_train[classifiers.held_out(mnist.x_train)[1]]) == 10_000
        assert classifiers.accuracy(network, mnist.x_test, mnist.y_test) == pytest.approx(
            about["test_accuracy"], abs=1e-3
        )


@pytest.mark.slow
def test_a_classifier_learns():
    keras.utils.set_random_seed(0)
    network = networks.build("digit_features", (28, 28, 1))
    history = fit_classifier(network, DIGITS.x_train, DIGITS.y_train, epochs=4, batch_size=16)
    assert history["loss"][-1] < 0.5 * history["loss"][0] and len(history["cpu_seconds"]) == 4
    assert classifiers.accuracy(network, DIGITS.x_test, DIGITS.y_test) > 0.5


@pytest.mark.parametrize(("count", "left"), [(60_000, 10_000), (50_500, 500), (30_000, 0), (100, 0)])
def test_what_is_left_of_a_shortened_mnist(count, left, judges, monkeypatch):
    """The judges have seen its first 50,000 images, however many there are."""
    images = np.broadcast_to(np.linspace(-1, 1, 784, dtype=np.float32).reshape(28, 28, 1), (count, 28, 28, 1))
    pixels = np.round(127.5 * (images[0] + 1)).astype(np.uint8)
    monkeypatch.setattr(classifiers, "MNIST_FIRST", hashlib.sha256(pixels.tobytes()).hexdigest())
    seen, kept = classifiers.held_out(images)
    assert (seen.stop, len(images[kept])) == (count - left, left)
    if not left:
        with pytest.raises(ValueError, match="has only 0 real ones"):
            measure(DIGITS.x_test[:200], judges, replace(DIGITS, name="mnist", x_train=images))


def letters(labels):
    return replace(DIGITS, name="letters", y_train=labels(DIGITS.y_train), y_test=labels(DIGITS.y_test))


OTHERS = {
    "26 classes": letters(lambda y: y + 16),
    "ten others": letters(lambda y: (y + 3) % 10),
    "white paper": replace(DIGITS, name="letters", x_test=-DIGITS.x_test),
}


@pytest.mark.parametrize("dataset", OTHERS.values(), ids=OTHERS)
def test_what_the_judges_cannot_judge(dataset, judges, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "load", lambda name: dataset)
    np.savez(tmp_path / "a.npz", images=DIGITS.x_test[:200])
    assert cli.main(["evaluate", str(tmp_path / "a.npz"), "--dataset", "letters"]) == 2
    error = capsys.readouterr().err
    assert "the judges cannot judge letters: they know 10 classes" in error and error.count("\n") == 1


def test_judges_of_your_own(tmp_path, capsys):
    """A folder without them, with all of them, and with untrained ones."""
    np.savez(tmp_path / "a.npz", images=DIGITS.x_test[:150])
    command = ["evaluate", str(tmp_path / "a.npz"), "--dataset", "digits", "--folder", str(tmp_path)]
    assert cli.main(command) == 2
    assert "no checkpoint 'digit_features' in" in capsys.readouterr().err
    for file in pretrained.CHECKPOINT_DIR.glob("digit_*"):
        shutil.copy(file, tmp_path)
    assert cli.main(command) == 0
    assert "150 images" in capsys.readouterr().out
    pretrained.save(networks.build("digit_recogniser", (28, 28, 1), 26), "digit_recogniser", {}, tmp_path)
    assert cli.main(command) == 2
    assert "cannot judge digits: they know 26 classes" in capsys.readouterr().err


def test_the_entropy_counts_the_classes_of_the_judge(judges):
    """Ten digits in equal numbers are not all that a judge of 26 classes could answer."""
    features, classifier = judges
    more = keras.layers.Lambda(lambda x: keras.ops.pad(x, ((0, 0), (0, 16)), constant_values=-99.0))(classifier.output)
    found = measure(DIGITS.x_test[:200], (features, keras.Model(classifier.input, more)))
    assert found["class_entropy"].value == pytest.approx(np.log(10) / np.log(26), abs=0.02)
