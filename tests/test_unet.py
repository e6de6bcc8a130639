"""The networks: exactly the published sizes, any image shape, and what the ablations take away."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from labutils import networks, unet


def test_the_classic_network_layer_by_layer():
    network = unet.build_classic_unet()
    assert network.count_params() == 257_265
    costs = unet.layer_costs(network)
    assert [row["parameters"] for row in costs] == [64, 25_872, 608, 18_496, 73_856, 110_656, 27_680, 33]
    # Multiply-adds by hand: kernel area × channels in × channels out × output pixels.
    by_hand = [32, 32 * 784, 9 * 2 * 32 * 784, 9 * 32 * 64 * 196, 9 * 64 * 128 * 49, 9 * 192 * 64 * 196,
               9 * 96 * 32 * 784, 32 * 784]  # fmt: skip
    assert [row["multiply_adds"] for row in costs] == by_hand
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [c.activation.__name__ for c in convolutions] == ["relu"] * 5 + ["linear"]
    assert [c.kernel_size for c in convolutions] == [(3, 3)] * 5 + [(1, 1)]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 12, 2), (4, 4, 1)])
def test_any_shape_divisible_by_four(shape):
    network = unet.build_classic_unet(shape)
    x = np.zeros((2, *shape), np.float32)
    assert network([x, np.zeros((2, 1), np.float32)]).shape == (2, *shape)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (8, 12, 2), (4, 4, 1)])
def test_the_short_cut_answers_as_the_layers_do(shape):
    """Same output and same gradients as the graph of layers that the drawing shows, to 1e-5."""
    keras.utils.set_random_seed(0)
    network = unet.build_classic_unet(shape)
    layer_by_layer = keras.Model(network.inputs, network.outputs[0])
    assert isinstance(network, unet.ClassicUNet) and not isinstance(layer_by_layer, unet.ClassicUNet)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((5, *shape)).astype("float32"), rng.random((5, 1)).astype("float32")]
    gradients = []
    for model in (network, layer_by_layer):
        with tf.GradientTape() as tape:
            output = model(inputs)
            loss = tf.reduce_sum(output**2)
        gradients.append([output, *tape.gradient(loss, network.trainable_variables)])
    for short, long in zip(*gradients, strict=True):
        assert np.abs(short - long).max() < 1e-5 * max(1.0, np.abs(long).max())


def test_growing_and_convolving_in_one():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 3, 5, 4)).astype("float32"), rng.standard_normal((3, 3, 4, 6)).astype("float32")
    grown = keras.ops.conv(keras.layers.UpSampling2D()(x), kernel, padding="same")
    assert np.allclose(unet.grow_and_convolve(x, kernel), grown, atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 28, 1), (28, 27, 1), (0, 28, 1), (28, 28, 0), (28, 28), "abc", None])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="input_shape must"):
        unet.build_classic_unet(shape)


def test_unknown_network():
    with pytest.raises(ValueError, match="unknown network 'modern', known: classic"):
        networks.build("modern", (28, 28, 1))


def test_time_matters_unless_ablated():
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 1)).astype("float32")
    for time_input, differs in ((True, True), (False, False)):
        keras.utils.set_random_seed(0)
        network = unet.build_classic_unet((8, 8, 1), time_input=time_input)
        early, late = (np.asarray(network([x, np.array([[t]], np.float32)])) for t in (0.0, 0.9))
        assert (np.abs(early - late).max() > 1e-6) == differs


def test_skip_connections_can_be_taken_away():
    names = {layer.name for layer in unet.build_classic_unet(skip_connections=False).layers}
    assert not names & {"skip_1", "skip_2"}


def test_sinusoidal_embedding():
    e = np.asarray(unet.sinusoidal_embedding(np.arange(1000), 32))
    assert e.shape == (1000, 32) and np.abs(e).max() <= 1
    assert np.allclose(e[0], [0] * 16 + [1] * 16)
    assert np.allclose(e[7, 0], np.sin(7), atol=1e-5) and np.allclose(e[7, 16], np.cos(7), atol=1e-5)
    assert len(np.unique(e.round(4), axis=0)) == 1000, "every step looks different"
    for dim in (3, 0, 1):
        with pytest.raises(ValueError, match="dim must be even"):
            unet.sinusoidal_embedding(np.arange(3), dim)
