"""Checkpoints: verified at load, whole or not there, and the committed ones as good as they claim."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import needs

from lab.train import train_model
from labutils import data, networks, pretrained, training
from labutils.schedule import NoiseSchedule, cosine_schedule, linear_schedule


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
    assert {"dataset_sha256", "recipe", "seed", "versions", "seconds", "history"} <= about.keys()
    assert len(about["history"]["loss"]) == about["epochs"]
    assert (
        len(about["history"].get("val_loss", [])) == about["epochs"] or {"test_accuracy", "test_error"} & about.keys()
    )


@needs("MNIST")
def test_the_recorded_error_can_be_measured_again():
    network, about = pretrained.load("classic")
    mnist = data.load("mnist")
    assert mnist.sha256 == about["dataset_sha256"]
    measured = training.noise_mse(network, linear_schedule(), mnist.x_test[:2000], seed=1)
    assert abs(measured - about["test_mse"]["mean"]) < 0.004


# Drawing from a checkpoint follows its record, whatever today's plans say.


def test_a_checkpoint_stays_right_when_its_plan_changes(monkeypatch):
    plan = training.PLANS["fast_conditional"]
    changed = replace(plan, schedule=linear_schedule(500), recipe=replace(plan.recipe, target="v"))
    monkeypatch.setitem(training.PLANS, "fast_conditional", changed)
    _, schedule, shape, options = pretrained.load_for_sampling("fast_conditional")
    assert np.array_equal(schedule.betas, cosine_schedule().betas) and shape == (28, 28, 1)
    assert options == {"target": "x0", "guidance": training.PLANS["fast_conditional"].guidance}
    assert pretrained.load_for_sampling("classic")[3] == {"target": "noise"}


@pytest.mark.parametrize("schedule", [linear_schedule(300, 1.23456e-4, 0.03), cosine_schedule(50)], ids=repr)
def test_a_recorded_schedule_is_built_again(schedule):
    about = {"schedule": repr(schedule), "betas": [schedule.betas[0], schedule.betas[-1]]}
    assert np.array_equal(pretrained.recorded_schedule("x", about).betas, schedule.betas)


def test_a_network_trained_with_another_schedule_is_drawn_from_with_it(tmp_path, tiny_npz, monkeypatch):
    schedule = cosine_schedule(100, s=0.02, max_beta=0.9)
    monkeypatch.setitem(training.PLANS, "fast", replace(training.PLANS["fast"], schedule=schedule))
    train_model("fast", data.load(str(tiny_npz)), tmp_path, epochs=1)
    assert np.array_equal(pretrained.load_for_sampling("fast", tmp_path)[1].betas, schedule.betas)


@pytest.mark.parametrize("s", [0.00801, 0.007999, 0.02])
def test_an_old_record_of_another_cosine_is_refused(s):
    """Two of these have the text of the usual schedule."""
    schedule = cosine_schedule(s=s)
    about = {"schedule": repr(schedule), "betas": [schedule.betas[0], schedule.betas[-1]]}
    with pytest.raises(ValueError, match="a schedule that this version cannot build"):
        pretrained.recorded_schedule("x", about)


def test_old_records_have_ten_classes_and_keep_their_weights():
    network, about = pretrained.load("fast_conditional")
    assert "classes" not in about and network.label_count == 10 and network.target == "x0"
    assert network.count_params() == about["parameters"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NoiseSchedule('custom', T=3, betas 0.1 … 0.3)",
        "NoiseSchedule('cosine', T=1000, betas 0.1 … 0.999)",
        repr(NoiseSchedule([0.1, 0.2, 0.9])),
    ],
)
def test_a_schedule_that_cannot_be_built_is_refused(text):
    with pytest.raises(ValueError, match="checkpoint x was trained with a schedule that this version cannot build"):
        pretrained.recorded_schedule("x", {"schedule": text})
