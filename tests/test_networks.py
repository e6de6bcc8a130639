"""The networks: sizes, any image shape, what the ablations take away, and what reaches the output."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_classes, write_npz

from lab.classifier_training import fit_classifier
from lab.train import check_model, train_model
from labutils import data, networks, pretrained, sampling, training
from labutils.schedule import cosine_schedule

RNG = np.random.default_rng(0)


def test_the_classic_network_layer_by_layer():
    network = networks.build_classic_unet()
    assert network.count_params() == 257_265
    costs = networks.layer_costs(network)
    assert [row["parameters"] for row in costs] == [64, 25_872, 608, 18_496, 73_856, 110_656, 27_680, 33]
    # Multiply-adds by hand: kernel area × channels in × channels out × output pixels.
    convolved = [9 * 2 * 32 * 784, 9 * 32 * 64 * 196, 9 * 64 * 128 * 49, 9 * 192 * 64 * 196, 9 * 96 * 32 * 784]
    by_hand = [32, 32 * 784, *convolved, 32 * 784]
    assert [row["multiply_adds"] for row in costs] == by_hand
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [c.activation.__name__ for c in convolutions] == ["relu"] * 5 + ["linear"]
    assert [c.kernel_size for c in convolutions] == [(3, 3)] * 5 + [(1, 1)]


@pytest.mark.parametrize("shape", [(30, 28, 1), (28, 27, 1), (0, 28, 1), (28, 28, 0), (28, 28), "abc", None])
def test_other_shapes_are_refused(shape):
    for build in (networks.build_classic_unet, networks.build_fast):
        with pytest.raises(ValueError, match="input_shape must"):
            build(shape)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 12, 2), (4, 4, 1)])
def test_the_fused_network_answers_as_the_layers_do(shape):
    """The same weights, and the same output and gradients to 1e-5."""
    keras.utils.set_random_seed(0)
    network = networks.build_classic_unet(shape)
    fused = networks.fuse_upsampling(network)
    assert all(a is b for a, b in zip(network.weights, fused.weights, strict=True))
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((5, *shape)).astype("float32"), rng.random((5, 1)).astype("float32")]
    gradients = []
    for model in (network, fused):
        with tf.GradientTape() as tape:
            output = model(inputs)
            loss = tf.reduce_sum(output**2)
        assert output.shape == (5, *shape)
        gradients.append([output, *tape.gradient(loss, network.trainable_variables)])
    for plain, other in zip(*gradients, strict=True):
        assert np.abs(plain - other).max() < 1e-5 * max(1.0, np.abs(plain).max())


def test_only_the_whole_classic_network_is_fused():
    for network in (
        networks.build_classic_unet(skip_connections=False),
        networks.build_classic_unet(time_input=False),
        networks.build_fast(),
    ):
        with pytest.raises(ValueError, match="fuse_upsampling takes the classic network with all its parts"):
            networks.fuse_upsampling(network)


def test_growing_and_convolving_in_one():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 3, 5, 4)).astype("float32"), rng.standard_normal((3, 3, 4, 6)).astype("float32")
    grown = keras.ops.conv(keras.layers.UpSampling2D()(x), kernel, padding="same")
    assert np.allclose(networks.upsample_and_convolve(x, kernel), grown, atol=1e-5)


def test_unknown_network():
    with pytest.raises(ValueError, match="unknown network 'modern', known: classic"):
        networks.build("modern", (28, 28, 1))


def test_time_matters_unless_ablated():
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 1)).astype("float32")
    for time_input, differs in ((True, True), (False, False)):
        keras.utils.set_random_seed(0)
        network = networks.build_classic_unet((8, 8, 1), time_input=time_input)
        early, late = (np.asarray(network([x, np.array([[t]], np.float32)])) for t in (0.0, 0.9))
        assert (np.abs(early - late).max() > 1e-6) == differs


def test_skip_connections_can_be_taken_away():
    names = {layer.name for layer in networks.build_classic_unet(skip_connections=False).layers}
    assert not names & {"skip_1", "skip_2"}


def test_sinusoidal_embedding():
    e = np.asarray(networks.sinusoidal_embedding(np.arange(1000), 32))
    assert e.shape == (1000, 32) and np.abs(e).max() <= 1
    assert np.allclose(e[0], [0] * 16 + [1] * 16)
    assert np.allclose(e[7, 0], np.sin(7), atol=1e-5) and np.allclose(e[7, 16], np.cos(7), atol=1e-5)
    assert len(np.unique(e.round(4), axis=0)) == 1000, "every step looks different"
    for dim in (3, 0, 1):
        with pytest.raises(ValueError, match="dim must be even"):
            networks.sinusoidal_embedding(np.arange(3), dim)


def test_space_to_depth_and_back():
    x = RNG.standard_normal((2, 8, 12, 3)).astype("float32")
    folded = networks.space_to_depth(x)
    assert folded.shape == (2, 4, 6, 12)
    assert np.allclose(folded[0, 1, 2], x[0, 2:4, 4:6].reshape(-1)), "a 2×2 block, row by row, becomes the channels"
    assert np.array_equal(networks.depth_to_space(folded), x)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 12, 2)])
@pytest.mark.parametrize("classes", [0, 10])
def test_any_shape_and_zero_at_the_start(shape, classes):
    network = networks.build_fast(shape, classes=classes)
    inputs = [RNG.standard_normal((3, *shape)).astype("float32"), np.full((3, 1), 0.3, np.float32)]
    inputs += [np.array([-1, 0, 9])] * bool(classes)
    assert np.array_equal(network(inputs), np.zeros((3, *shape))), "the first output is 0"


def test_time_and_label_reach_the_output_after_a_few_steps():
    keras.utils.set_random_seed(0)
    network = networks.build_fast((8, 8, 1), classes=3, widths=(8, 8))
    x = RNG.uniform(-1, 1, (64, 8, 8, 1)).astype("float32")
    recipe = training.Recipe(learning_rate=3e-3, target="v", batch_size=16)
    training.train(network, cosine_schedule(), x, 5, recipe=recipe, labels=np.arange(64) % 3)

    def answer(time, label):
        return np.asarray(network([x[:1], np.full((1, 1), time, np.float32), np.array([label])]))

    assert not np.allclose(answer(0.2, 0), answer(0.8, 0)) and not np.allclose(answer(0.2, 0), answer(0.2, 1))
    assert not np.allclose(answer(0.2, 0), answer(0.2, networks.NO_LABEL))


def test_a_short_run_follows_the_label():
    """A black and a white image, two labels: soon each sample is nearest to the image that was asked for."""
    keras.utils.set_random_seed(0)
    data = np.stack([np.full((8, 8, 1), -1.0, np.float32), np.full((8, 8, 1), 1.0, np.float32)])
    images, labels = np.tile(data, (64, 1, 1, 1)), np.tile([0, 1], 64)
    network = networks.build_fast((8, 8, 1), classes=2, widths=(16, 24), blocks=(1, 1))
    recipe = training.Recipe(32, learning_rate=3e-3, warmup_steps=20, decay_epochs=40, average=0.97, target="v")
    schedule = cosine_schedule()
    training.train(network, schedule, images, 40, recipe=recipe, labels=labels)
    options = {"steps": 10, "sampler": "dpmpp_2m", "guidance": 0, "labels": labels[:20], "progress": False}
    drawn = sampling.sample(network, schedule, 20, (8, 8, 1), **options)
    nearest = np.abs(drawn[:, None] - data).mean(axis=(2, 3, 4)).argmin(axis=1)
    assert np.mean(nearest == labels[:20]) >= 0.9


def test_every_plan_has_its_network():
    assert set(training.PLANS) == set(networks.DENOISERS)
    with pytest.raises(ValueError, match="unknown network 'modern', known: classic, fast"):
        check_model("modern")


def test_unknown_labels_are_refused(tmp_path):
    file = write_npz(tmp_path / "many.npz", count=40)
    with np.load(file) as arrays:
        changed = {key: arrays[key] + (90 if key.startswith("y") else 0) for key in arrays}
    np.savez(file, **changed)
    with pytest.raises(ValueError, match="many.npz: labels must be 0 … n - 1, .* got 10 different ones in 90 … 99"):
        train_model("fast_conditional", data.load(str(file)), tmp_path / "out", epochs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("classes", [2, 26, 47])
def test_a_network_is_built_for_the_classes_of_the_data(classes, tmp_path):
    dataset = data.load(str(write_classes(tmp_path / "own.npz", classes)))
    train_model("fast_conditional", dataset, tmp_path, epochs=1)
    assert pretrained.read_record("fast_conditional", tmp_path)["classes"] == classes
    network, schedule, shape, options = pretrained.load_for_sampling("fast_conditional", tmp_path)
    assert network.label_count == classes
    options |= {"steps": 2, "sampler": "ddim", "progress": False}
    sampling.sample(network, schedule, 1, shape, labels=[classes - 1], **options)
    with pytest.raises(ValueError, match=f"labels must lie in -1 … {classes - 1}, .* got {classes} … {classes}"):
        sampling.sample(network, schedule, 1, shape, labels=[classes], **options)


@pytest.mark.parametrize("model", ["fast_conditional", "digit_features"])
@pytest.mark.parametrize(("classes", "first"), [(26, 1), (3, -1), (2, 5)])
def test_labels_that_do_not_count_from_0_are_refused(model, classes, first, tmp_path):
    dataset = data.load(str(write_classes(tmp_path / "own.npz", classes, first)))
    found = f"got {classes} different ones in {first} … {first + classes - 1}"
    with pytest.raises(ValueError, match=f"own.npz: labels must be 0 … n - 1, each of them at least once; {found}"):
        train_model(model, dataset, tmp_path / "out", epochs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [10, 25, -2])
def test_a_label_that_the_network_does_not_have_is_refused_at_the_call(bad):
    network, labels = networks.build("fast_conditional", (8, 8, 1)), np.array([0, bad])
    images, found = np.zeros((2, 8, 8, 1), np.float32), f"got {min(bad, 0)} … {max(bad, 0)}"
    known = "must lie in -1 … 9, which the network fast_conditional was built for; "
    with pytest.raises(ValueError, match="labels " + known + found):
        training.train(network, cosine_schedule(), images, 1, labels=labels)
    with pytest.raises(ValueError, match="validation_labels " + known + found):
        parts = {"labels": labels * 0, "validation_images": images, "validation_labels": labels}
        training.train(network, cosine_schedule(), images, 1, **parts)
    with pytest.raises(ValueError, match="labels " + known + found):
        sampling.sample(network, cosine_schedule(), 2, (8, 8, 1), labels=labels, guidance=0.5, progress=False)
    with pytest.raises(ValueError, match="labels " + known + found):
        sampling.reverse_process(network, cosine_schedule(), images, labels=labels, guidance=0.5)
    with pytest.raises(ValueError, match=r"y must lie in 0 … 9"):
        fit_classifier(networks.build("digit_features", (8, 8, 1)), images, labels, 1, batch_size=1)


def test_labels_are_integers_and_a_network_built_for_them_needs_them():
    network, schedule = networks.build("fast_conditional", (8, 8, 1)), cosine_schedule()
    with pytest.raises(ValueError, match="labels must be integers, got float64"):
        sampling.sample(network, schedule, 2, (8, 8, 1), labels=[0.5, 1], guidance=0.5, progress=False)
    with pytest.raises(ValueError, match="needs guidance and one label for each of the 2 images"):
        sampling.sample(network, schedule, 2, (8, 8, 1), progress=False)
