"""Training: repeatable, resumable after any kill, and a loss that means what it says."""

import dataclasses
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_npz

from lab import cli
from lab.classifier_training import fit_classifier
from labutils import data, networks, pretrained, training
from labutils.diffusion import Diffusion
from labutils.networks import build_fast
from labutils.schedule import linear_schedule

S = linear_schedule()
draw_t = Diffusion(None, S).draw_t
RNG = np.random.default_rng(0)


def fresh(shape=(8, 8, 1)):
    keras.utils.set_random_seed(0)
    return Diffusion(networks.build_classic_unet(shape), S)


def images(count=80):
    return np.random.default_rng(0).uniform(-1, 1, (count, 8, 8, 1)).astype("float32")


LABELS = np.arange(80) % 3


def equal(a, b):
    weights = zip(a.network.get_weights(), b.network.get_weights(), strict=True)
    return all(np.array_equal(x, y) for x, y in weights)


def test_fit_does_the_training_step_of_the_paper_for_every_batch():
    """The compiled run and the plain step, from the same weights over the same batches, end at the same weights."""
    x, config = images(40), training.TrainingConfig(batch_size=16)
    plain, compiled = fresh(), fresh()
    optimizer, losses = config.optimizer(3), []
    batches = training.training_batches(x, draw_t, 16, seed=4)
    for x0, t, noise in itertools.islice(batches, 6):
        losses.append(len(x0) * float(training.training_step(plain, optimizer, x0, t, noise)))
    history = training.train(compiled, x, 2, config=config, seed=4)
    np.testing.assert_allclose(np.reshape(losses, (2, 3)).sum(axis=1) / 40, history["loss"], rtol=1e-4)
    for a, b in zip(plain.network.get_weights(), compiled.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_training_step_is_a_step_of_gradient_descent():
    diffusion, rate = fresh(), 0.05
    network = diffusion.network
    x0 = images(16)
    t, noise = training.draw_noise(x0, S.T, np.random.default_rng(3))
    with tf.GradientTape() as tape:
        expected_loss = diffusion.loss(x0, t, noise)
    gradients = tape.gradient(expected_loss, network.trainable_variables)
    expected = [w - rate * g for w, g in zip(network.trainable_variables, gradients, strict=True)]
    loss = training.training_step(diffusion, keras.optimizers.SGD(rate), x0, t, noise)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-6)
    for after, wanted in zip(network.get_weights(), expected, strict=True):
        assert np.allclose(after, wanted, atol=1e-6)


def test_batches_are_functions_of_seed_epoch_and_step():
    x = images(10)

    def take(count, **options):
        stream = training.training_batches(x, draw_t, batch_size=4, **{"seed": 0, **options})
        return [next(stream) for _ in range(count)]

    six = take(6)
    assert [len(x0) for x0, _, _ in six] == [4, 4, 2, 4, 4, 2]
    for a, b in zip(six[3:], take(3, first_epoch=1), strict=True):
        assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True)), "epoch 1 does not depend on epoch 0"
    shown = np.concatenate([x0 for x0, _, _ in six[:3]])
    assert np.array_equal(np.sort(shown.ravel()), np.sort(x.ravel())), "an epoch shows each image once"
    noises = [noise.ravel()[:8] for _, _, noise in [*six, *take(1, seed=1)]]
    assert len({noise.tobytes() for noise in noises}) == 7, "no two steps share their noise"
    t = np.concatenate([t for _, t, _ in take(400, seed=5)])
    assert t.min() < 20 and t.max() > 980 and abs(t.mean() - 499.5) < 30


MODERN = training.TrainingConfig(learning_rate=3e-3, warmup_steps=3, decay_epochs=4, average=0.9, batch_size=16)


def plain_run(epochs, state_file=None):
    diffusion = fresh()
    return diffusion, training.train(diffusion, images(), epochs, validation_images=images(20), state_file=state_file)


def modern_run(epochs, state_file=None, labels=LABELS):
    """With decay, an average of the weights, and labels."""
    keras.utils.set_random_seed(0)
    diffusion = Diffusion(build_fast((8, 8, 1), classes=3, widths=(8, 8), blocks=(1, 1)), S, "v")
    parts = {"condition": labels, "validation_images": images(20), "validation_condition": labels[:20]}
    return diffusion, training.train(diffusion, images(), epochs, config=MODERN, state_file=state_file, **parts)


@pytest.mark.parametrize("run", [plain_run, modern_run])
def test_a_resumed_run_equals_a_straight_one(run, tmp_path, no_partial_files):
    straight, expected = run(4)
    state_file = tmp_path / "state.npz"
    run(1, state_file)
    resumed, history = run(4, state_file)
    assert equal(straight, resumed)
    for key in ("loss", "val_loss"):
        assert history[key] == expected[key] and len(history[key]) == 4
    assert len(history["seconds"]) == len(history["cpu_seconds"]) == 4
    again, _ = run(2, state_file)  # asked for less than is done: nothing is trained, nothing lost
    assert equal(straight, again)


def test_state_of_another_run_is_refused(tmp_path):
    state_file = tmp_path / "state.npz"
    modern_run(1, tmp_path / "labels.npz")
    with pytest.raises(ValueError, match=r"belongs to another run \(differs in: condition\)"):
        modern_run(2, tmp_path / "labels.npz", labels=LABELS[::-1])
    training.train(fresh(), images(), 1, state_file=state_file)
    with pytest.raises(ValueError, match=r"belongs to another run \(differs in: seed\)"):
        training.train(fresh(), images(), 2, seed=1, state_file=state_file)
    with pytest.raises(ValueError, match="differs in: images"):
        training.train(fresh(), images(70), 2, state_file=state_file)
    with np.load(state_file) as archive:
        state = dict(archive)
    about = json.loads(str(state["about"]))
    del about["run"]["condition"]  # as written by an older version
    np.savez(state_file, **{**state, "about": np.array(json.dumps(about))})
    with pytest.raises(ValueError, match="differs in: condition"):
        training.train(fresh(), images(), 2, state_file=state_file)
    state_file.write_bytes(state_file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is not the state of a training run"):
        training.train(fresh(), images(), 2, state_file=state_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": images() * 3}, r"must lie in \[-1, 1\]"),
        ({"images": images()[..., 0]}, "channel axis"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"state_file": "state"}, "state_file must end in .npz"),
        ({"condition": LABELS, "validation_images": images(20)}, "validation_condition must be given too"),
        ({"validation_condition": LABELS[:20], "validation_images": images(20)}, "validation_condition needs"),
        ({"condition": LABELS, "validation_condition": LABELS[:20]}, "needs condition and validation_images"),
        ({"condition": LABELS[:79]}, r"condition must be 80 integers, one per image.*got int64 \(79,\)"),
        ({"condition": LABELS[:, None]}, r"condition must be 80 integers"),
        ({"condition": LABELS / 1}, r"condition must be 80 integers.*got float64"),
        (
            {"condition": LABELS, "validation_images": images(20), "validation_condition": LABELS[:19]},
            r"validation_condition must be 20 integers",
        ),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        training.train(**{"diffusion": fresh(), "images": images(), "epochs": 1, **change})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0"),
        ({"decay_epochs": 0}, "decay_epochs at least 1"),
        ({"average": 1.0}, "average must lie between 0 and 1"),
        ({"clip_norm": -1.0}, "clip_norm must be positive"),
        ({"condition_dropout": 1.5}, "condition_dropout must lie in 0 … 1"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        training.TrainingConfig(**options)


def test_a_config_is_cut_to_the_run():
    long = training.TrainingConfig(warmup_steps=300, decay_epochs=16, average=0.9995)
    assert long.for_run(100, 938) == dataclasses.replace(long, decay_epochs=100)
    short = long.for_run(2, 100)
    assert (short.decay_epochs, short.warmup_steps, short.average) == (2, 20, 1 - 8 / 200)
    assert 0 < long.for_run(1, 1).average < 1
    assert training.TrainingConfig().for_run(3, 10) == training.TrainingConfig(), (
        "nothing falls, warms up or is averaged"
    )


def test_a_run_learns_and_a_clipped_step_is_bounded():
    config = training.TrainingConfig(16, learning_rate=1e-2, clip_norm=1e-12)
    diffusion = Diffusion(build_fast((8, 8, 1), widths=(8, 8), blocks=(1, 1)), S, "v")
    before = [w.copy() for w in diffusion.network.get_weights()]
    training.train(diffusion, np.clip(RNG.standard_normal((32, 8, 8, 1)), -1, 1), 1, config=config)
    # Gradients far below Adam's ε move nothing.
    after = diffusion.network.get_weights()
    assert max(np.abs(a - b).max() for a, b in zip(before, after, strict=True)) < 1e-5
    free = dataclasses.replace(config, clip_norm=None)
    history = training.train(diffusion, np.full((64, 8, 8, 1), 0.5), 10, config=free)
    assert history["loss"][-1] < 0.8 * history["loss"][0]


def test_a_config_of_numpy_numbers(tmp_path):
    schedule = {"warmup_steps": np.uint8(3), "decay_epochs": np.int32(4)}
    numpy = training.TrainingConfig(np.int64(16), np.float32(0.25), **schedule, average=np.float64(0.5))
    assert numpy == training.TrainingConfig(16, 0.25, 3, 4, 0.5)
    assert {type(value) for value in dataclasses.asdict(numpy).values()} <= {int, float, str, type(None)}
    training.train(fresh(), images(32), np.int64(1), config=numpy, seed=np.int64(1), state_file=tmp_path / "s.npz")
    assert (tmp_path / "s.npz").exists()


def test_the_bar_of_a_resumed_run_starts_where_the_run_does(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "stdout", io.StringIO())

    def run(epochs):
        bar = training.keras_progress(epochs, "training")
        training.train(fresh(), images(32), epochs, state_file=tmp_path / "s.npz", callbacks=[bar])
        shown.append(sys.stdout.getvalue())
        sys.stdout.seek(0)
        sys.stdout.truncate()

    for epochs in (2, 4, 3):
        run(epochs)
    first, resumed, nothing_left = shown
    assert " 0/2 [" in first and " 2/2 [" in first and "loss=" in first
    assert " 2/4 [" in resumed and " 4/4 [" in resumed and " 0/4 [" not in resumed
    assert nothing_left == "", "no bar stays open for a run that is done"


class Recorder:
    """Stands for a network: keeps the batches that ``fit`` is given."""

    def compile(self, *args, **options):
        pass

    def fit(self, batches, steps_per_epoch, epochs, **options):
        self.batches = [next(batches) for _ in range(steps_per_epoch * epochs)]


def test_classifiers_shift_each_batch_as_a_whole():
    """The committed classifiers were trained so: the docstring says it, and the checkpoints depend on it."""
    x = np.full((8, 9, 9, 1), -1.0, np.float32)
    x[:, 4, 4] = 1  # one bright pixel in the middle
    network = Recorder()
    fit_classifier(network, x, np.zeros(8, int), epochs=10, batch_size=4)
    places = [{tuple(place) for place in np.argwhere(batch[..., 0] == 1)[:, 1:]} for batch, _ in network.batches]
    assert all(len(place) == 1 for place in places) and len(set.union(*places)) > 5
    assert "each batch is shifted" in fit_classifier.__doc__.lower()
    with pytest.raises(ValueError, match="need at least batch_size = 4 images.*got 3 images"):
        fit_classifier(network, x[:3], np.zeros(3, int), epochs=1, batch_size=4)


def test_the_rate_rises_and_falls():
    rate = MODERN.optimizer(steps_per_epoch=5)._learning_rate
    rates = [float(rate(step)) for step in (0, 3, 10, 20)]
    assert rates[0] == 0 and rates[1] == pytest.approx(3e-3) and 0 < rates[2] < 3e-3 and rates[3] == pytest.approx(0)
    constant = training.TrainingConfig(warmup_steps=2).optimizer(5)._learning_rate
    assert float(constant(1)) == pytest.approx(1e-4) and float(constant(10_000)) == pytest.approx(2e-4)


def test_labels_are_hidden_as_often_as_asked():
    stream = training.training_batches(images(40), draw_t, 40, seed=0, condition=np.full(40, 7), condition_dropout=0.25)
    shown = np.concatenate([next(stream)[3] for _ in range(50)])
    assert set(shown) == {7, networks.NO_LABEL} and abs(np.mean(shown == networks.NO_LABEL) - 0.25) < 0.03


# A run that kills itself: half of a file is on disk when the signal comes.
DIE_WHILE_WRITING = """
import os, signal, sys
import numpy as np
from lab import cli
writes, save = [0], np.savez
def dying_save(path, **arrays):
    save(path, **arrays)
    writes[0] += 1
    if writes[0] == 2:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
np.savez = dying_save
cli.main(sys.argv[1:])
"""


def command(out, file):
    return ["train", "--model", "classic", "--epochs", "4", "--dataset", str(file), "--out", str(out), "--resume"]


@pytest.mark.slow
def test_sigkill_at_any_moment_loses_nothing_but_the_epoch(tmp_path):
    """Three processes: two that are killed, one that ends; a straight run in this process is what they must equal."""
    file = write_npz(tmp_path / "tiny.npz", count=600)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    module = [sys.executable, "-m", "lab"]
    assert cli.main(command(tmp_path / "straight", file)) in (0, None)

    killed = tmp_path / "killed"
    died = subprocess.run([sys.executable, "-c", DIE_WHILE_WRITING, *command(killed, file)], check=False, **quiet)
    assert died.returncode == -signal.SIGKILL
    with np.load(killed / "state.npz") as state:  # the state of epoch 1 is whole, the half-written one is nowhere
        assert len(json.loads(str(state["about"]))["history"]["loss"]) == 1
    process = subprocess.Popen([*module, *command(killed, file)], **quiet)
    before, deadline = os.stat(killed / "state.npz").st_mtime_ns, time.monotonic() + 120
    while os.stat(killed / "state.npz").st_mtime_ns == before and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)  # until training is under way
    time.sleep(np.random.default_rng().uniform(0, 0.5))  # each time another moment
    process.kill()
    process.wait()
    for partial in killed.glob(".partial-*"):  # a kill may leave one; the next write removes it when it is old
        os.utime(partial, (0, 0))
    subprocess.run([*module, *command(killed, file)], check=True, **quiet)

    straight, resumed = (pretrained.load_diffusion("classic", folder) for folder in (tmp_path / "straight", killed))
    about, about_resumed = (pretrained.read_record("classic", folder) for folder in (tmp_path / "straight", killed))
    assert equal(straight, resumed)
    for key in ("loss", "val_loss"):
        assert about["history"][key] == about_resumed["history"][key] and len(about["history"][key]) == 4
    assert about["test_mse"] == about_resumed["test_mse"]
    assert about["dataset_sha256"] == data.load(str(file)).sha256
    assert not list(killed.glob(".partial-*"))
    assert (killed / "classic_epoch_01.json").exists(), "milestones are kept"
