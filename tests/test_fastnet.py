"""The fast network: shapes, what it starts as, what reaches it, and a short run that learns."""

import keras
import numpy as np
import pytest
from conftest import write_npz

from labutils import data, fastnet, networks, plans, sampling, training
from labutils.schedule import cosine_schedule

RNG = np.random.default_rng(0)


def test_space_to_depth_and_back():
    x = RNG.standard_normal((2, 8, 12, 3)).astype("float32")
    folded = fastnet.space_to_depth(x)
    assert folded.shape == (2, 4, 6, 12)
    assert np.allclose(folded[0, 1, 2], x[0, 2:4, 4:6].reshape(-1)), "a 2×2 block, row by row, becomes the channels"
    assert np.array_equal(fastnet.depth_to_space(folded), x)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 12, 2)])
@pytest.mark.parametrize("classes", [0, 10])
def test_any_shape_and_zero_at_the_start(shape, classes):
    network = fastnet.build_fast(shape, classes=classes)
    inputs = [RNG.standard_normal((3, *shape)).astype("float32"), np.full((3, 1), 0.3, np.float32)]
    inputs += [np.array([-1, 0, 9])] * bool(classes)
    assert np.array_equal(network(inputs), np.zeros((3, *shape))), "the first guess is v = 0"


def test_shapes_not_divisible_by_four_are_refused():
    with pytest.raises(ValueError, match="divisible by 4"):
        fastnet.build_fast((30, 28, 1))


def test_time_and_label_reach_the_output_after_a_few_steps():
    keras.utils.set_random_seed(0)
    network = fastnet.build_fast((8, 8, 1), classes=3, widths=(8, 8), embedding=16)
    x = RNG.uniform(-1, 1, (64, 8, 8, 1)).astype("float32")
    recipe = training.Recipe(learning_rate=3e-3, target="v", batch_size=16)
    training.train(network, cosine_schedule(), x, 5, recipe=recipe, labels=np.arange(64) % 3)

    def answer(time, label):
        return np.asarray(network([x[:1], np.full((1, 1), time, np.float32), np.array([label])]))

    assert not np.allclose(answer(0.2, 0), answer(0.8, 0)) and not np.allclose(answer(0.2, 0), answer(0.2, 1))
    assert not np.allclose(answer(0.2, 0), answer(0.2, training.NO_LABEL))


def test_a_short_run_follows_the_label():
    """A black and a white image, two labels: soon each sample is nearest to the image that was asked for."""
    keras.utils.set_random_seed(0)
    data = np.stack([np.full((8, 8, 1), -1.0, np.float32), np.full((8, 8, 1), 1.0, np.float32)])
    images, labels = np.tile(data, (64, 1, 1, 1)), np.tile([0, 1], 64)
    network = fastnet.build_fast((8, 8, 1), classes=2, widths=(16, 24), blocks=(1, 1), embedding=32)
    recipe = training.Recipe(32, learning_rate=3e-3, warmup_steps=20, decay_epochs=40, average=0.97, target="v")
    schedule = cosine_schedule()
    training.train(network, schedule, images, 40, recipe=recipe, labels=labels)
    drawn = sampling.sample(network, schedule, 20, (8, 8, 1), steps=10, sampler="dpmpp_2m", target="v", guidance=0,
                            labels=labels[:20], progress=False)  # fmt: skip
    nearest = np.abs(drawn[:, None] - data).mean(axis=(2, 3, 4)).argmin(axis=1)
    assert np.mean(nearest == labels[:20]) >= 0.9


def test_every_plan_has_its_network():
    assert set(plans.PLANS) == set(networks.DENOISERS)
    with pytest.raises(ValueError, match="unknown network 'modern', known: classic, fast"):
        plans.check_model("modern")


def test_unknown_labels_are_refused(tmp_path):
    file = write_npz(tmp_path / "many.npz", count=40)
    with np.load(file) as arrays:
        changed = {key: arrays[key] + (90 if key.startswith("y") else 0) for key in arrays}
    np.savez(file, **changed)
    with pytest.raises(ValueError, match="fast_conditional knows labels 0 … 9, many"):
        plans.train_model("fast_conditional", data.load(str(file)), tmp_path / "out", epochs=1)
    assert not (tmp_path / "out").exists()
