"""Checkpoints: verified at load, whole or not there, and the committed ones as good as they claim."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import needs

from labutils import data, networks, pretrained, training
from labutils.schedule import NoiseSchedule, cosine_schedule, from_record, linear_schedule


@pytest.fixture
def saved(tmp_path):
    network = networks.build_classic_unet((8, 8, 1))
    pretrained.save(network, "small", {"dataset": "none", "seed": 0}, tmp_path)
    return network, tmp_path


def test_round_trip(saved, no_partial_files):
    network, folder = saved
    loaded, about = pretrained.load("small", folder)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), loaded.get_weights(), strict=True))
    assert about["parameters"] == network.count_params() and about["input_shape"] == [8, 8, 1]
    (folder / ".partial-other.json").write_text("{")  # what a killed write leaves is no checkpoint
    assert pretrained.names(folder) == ["small"]
    (folder / ".partial-other.json").unlink()


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damaged_weights_are_refused(saved, damage):
    _, folder = saved
    path = folder / "small.weights.h5"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not match the SHA-256 in small.json.*git checkout.*train"):
        pretrained.load("small", folder)


def test_missing_and_damaged_records(saved):
    _, folder = saved
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'big' in .* \(there: small\)"):
        pretrained.load("big", folder)
    with pytest.raises(ValueError, match="letters, digits"):
        pretrained.load("../small", folder)
    (folder / "small.json").write_text('{"network": "classic"}')
    with pytest.raises(ValueError, match="it lacks input_shape, parameters, weights_sha256"):
        pretrained.load("small", folder)
    for text in ("{", "[]", "7"):
        (folder / "small.json").write_text(text)
        with pytest.raises(ValueError, match="is damaged"):
            pretrained.load("small", folder)
    (folder / "small.weights.h5").unlink()
    (folder / "small.json").write_text(
        json.dumps({"network": "classic", "input_shape": [8, 8, 1], "parameters": 1, "weights_sha256": "0"})
    )
    with pytest.raises(FileNotFoundError, match="is missing.*git checkout"):
        pretrained.load("small", folder)


def test_a_bad_record_leaves_the_old_checkpoint(saved):
    network, folder = saved
    network.set_weights([w + 1 for w in network.get_weights()])
    with pytest.raises(ValueError, match="about must hold JSON types only"):
        pretrained.save(network, "small", {"seed": np.int64(1)}, folder)
    _, about = pretrained.load("small", folder)
    assert about["seed"] == 0


def test_unwritable_output_leaves_nothing(saved, tmp_path):
    network, _ = saved
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write"):
        pretrained.save(network, "x", {}, blocker / "below")
    assert blocker.read_text() == "not a folder"


@pytest.mark.parametrize("name", pretrained.names())
def test_committed_checkpoints_load_and_say_where_they_come_from(name):
    network, about = pretrained.load(name)
    assert about["name"] == name and network.count_params() == about["parameters"]
    assert {"dataset_sha256", "config", "seed", "versions", "seconds", "history"} <= about.keys()
    assert len(about["history"]["loss"]) == about["epochs"]
    assert (
        len(about["history"].get("val_loss", [])) == about["epochs"] or {"test_accuracy", "test_error"} & about.keys()
    )


@needs("MNIST")
def test_the_recorded_error_can_be_measured_again():
    classic, about = pretrained.load_diffusion("classic"), pretrained.read_record("classic")
    mnist = data.load("mnist")
    assert mnist.sha256 == about["dataset_sha256"]
    measured = training.noise_prediction_loss(classic, mnist.x_test[:2000], seed=1)
    assert abs(measured - about["test_mse"]["mean"]) < 0.004


# Drawing from a checkpoint follows its record, whatever today's experiments say.


def test_a_checkpoint_stays_right_when_its_experiment_changes(monkeypatch):
    experiment = training.EXPERIMENTS["fast_conditional"]
    changed = replace(experiment, schedule=linear_schedule(500), prediction="v", guidance=9.0)
    monkeypatch.setitem(training.EXPERIMENTS, "fast_conditional", changed)
    diffusion = pretrained.load_diffusion("fast_conditional")
    assert np.array_equal(diffusion.schedule.betas, cosine_schedule().betas) and diffusion.shape == (28, 28, 1)
    assert (diffusion.prediction, diffusion.guidance) == ("x0", 0.5)
    assert pretrained.load_diffusion("classic").prediction == "noise"


def test_the_fused_form_is_a_choice():
    plain, fused = (pretrained.load_diffusion("classic", fused=choice) for choice in (False, True))
    x, t = np.random.default_rng(0).standard_normal((2, 28, 28, 1), np.float32), np.array([3, 700])
    assert type(plain.network) is not type(fused.network)
    assert np.allclose(plain.predict(x, t), fused.predict(x, t), atol=1e-4)
    with pytest.raises(ValueError, match="takes the classic network"):
        pretrained.load_diffusion("fast", fused=True)


@pytest.mark.parametrize(
    "built",
    [cosine_schedule(s=0.02), cosine_schedule(100, max_beta=0.9), linear_schedule(70), NoiseSchedule([0.1, 0.2])],
)
def test_a_network_trained_with_another_schedule_is_drawn_from_with_it(built, tmp_path):
    experiment = replace(training.EXPERIMENTS["fast"], schedule=built, prediction="v")
    saved = experiment.diffusion(networks.build("fast", (8, 8, 1)))
    pretrained.save(saved, "other", {}, tmp_path)
    loaded = pretrained.load_diffusion("other", tmp_path)
    assert np.array_equal(loaded.schedule.betas, built.betas) and loaded.schedule.name == built.name
    assert loaded.prediction == "v"


@pytest.mark.parametrize("bad", [{}, {"name": "cubic", "T": 3}, {"name": "cosine", "T": 9, "beta": 1}, "cosine", None])
def test_a_schedule_that_cannot_be_built_is_refused(bad):
    with pytest.raises(ValueError, match="this version cannot build the schedule"):
        from_record(bad)


def test_a_record_of_an_earlier_version_is_one_clear_line(tmp_path):
    pretrained.save(networks.build("fast", (8, 8, 1)), "old", {"schedule": "NoiseSchedule('cosine', …)"}, tmp_path)
    with pytest.raises(ValueError, match="the record of checkpoint old is of an earlier version of the lab"):
        pretrained.load_diffusion("old", tmp_path)
    with pytest.raises(ValueError, match="'digit_features', which does not draw images"):
        pretrained.load_diffusion("digit_features")
