"""The networks: sizes, any image shape, what the ablations take away, and what reaches the output."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_classes, write_npz

from lab.classifier_training import fit_classifier
from lab.pipelines import CLUSTERED, check_model, train_model
from labutils import data, networks, pretrained, sampling, training
from labutils.diffusion import Diffusion
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
    config = training.TrainingConfig(learning_rate=3e-3, batch_size=16)
    training.train(Diffusion(network, cosine_schedule(), "v"), x, 5, config=config, condition=np.arange(64) % 3)

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
    config = training.TrainingConfig(32, learning_rate=3e-3, warmup_steps=20, decay_epochs=40, average=0.97)
    diffusion = Diffusion(network, cosine_schedule(), "v")
    training.train(diffusion, images, 40, config=config, condition=labels)
    drawn = sampling.sample(diffusion, 20, condition=labels[:20], steps=10, sampler="dpmpp_2m", progress=False)
    nearest = np.abs(drawn[:, None] - data).mean(axis=(2, 3, 4)).argmin(axis=1)
    assert np.mean(nearest == labels[:20]) >= 0.9


def test_every_experiment_has_its_network():
    assert set(training.EXPERIMENTS) == {*networks.DENOISERS, CLUSTERED}
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
    diffusion = pretrained.load_diffusion("fast_conditional", tmp_path)
    assert diffusion.network.label_count == classes
    options = {"steps": 2, "sampler": "ddim", "progress": False}
    sampling.sample(diffusion, 1, condition=[classes - 1], **options)
    with pytest.raises(ValueError, match=f"condition must lie in -1 … {classes - 1}, .* got {classes} … {classes}"):
        sampling.sample(diffusion, 1, condition=[classes], **options)


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
    diffusion = Diffusion(network, cosine_schedule())
    images, found = np.zeros((2, 8, 8, 1), np.float32), f"got {min(bad, 0)} … {max(bad, 0)}"
    known = "must lie in -1 … 9, which the network fast_conditional was built for; "
    parts = {"condition": labels * 0, "validation_images": images, "validation_condition": labels}
    for call in (
        lambda: training.train(diffusion, images, 1, condition=labels),
        lambda: sampling.sample(diffusion, 2, condition=labels, progress=False),
        lambda: sampling.trajectory(diffusion, images, condition=labels),
    ):
        with pytest.raises(ValueError, match="condition " + known + found):
            call()
    with pytest.raises(ValueError, match="validation_condition " + known + found):
        training.train(diffusion, images, 1, **parts)
    with pytest.raises(ValueError, match=r"y must lie in 0 … 9"):
        fit_classifier(networks.build("digit_features", (8, 8, 1)), images, labels, 1, batch_size=1)
