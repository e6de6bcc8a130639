"""The classic network with less arithmetic: each upsampling and the convolution after it become one operation.

On the way up a 3×3 convolution runs over a map that was just doubled in size. Every number occurs there 2×2 times, so
several weights of the filter are multiplied with the same number. These weights can be added first.
"""

import keras
import numpy as np
from keras import ops

# Upsampling ×2 and then a 3-tap filter equals one stride-2 transposed convolution with these 4 taps.
# Row: tap of the transposed convolution. Column: tap of the filter.
TAPS = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)


def fuse_upsampling(network):
    """A network that shares all weights of a classic network, gives the same answers, and costs less.

    The skip connection, the other half of each convolution's input, is convolved alone, and the two results are added.

    Args:
        network: from :func:`labutils.networks.build_classic_unet`, with time input and skip connections.

    Returns:
        keras.Model with the inputs, outputs, layers and weights of ``network``. Outputs agree up to rounding (1e-5).
        Training one of them also trains the other.

    Raises:
        ValueError: another network.
    """
    names = {layer.name for layer in network.layers}
    if not {"time_image", "skip_1", "skip_2", "up_1", "up_2"} <= names:
        raise ValueError(f"fuse_upsampling takes the classic network with all its parts, got {network.name!r}")
    return FusedUNet(network.inputs, network.outputs[0], name=network.name)


class FusedUNet(keras.Model):
    """What :func:`fuse_upsampling` returns: a graph of layers with another order of the arithmetic on the way up."""

    def part_left(self, name):
        """The part of a layer's multiply-adds that is left: 4/9 for its channels from below, 1 for all others."""
        if name not in ("up_1", "up_2"):
            return 1.0
        from_below, from_skip = (part.shape[-1] for part in self.get_layer(name.replace("up", "skip")).input)
        return (4 / 9 * from_below + from_skip) / (from_below + from_skip)

    def call(self, inputs, training=None, mask=None):
        """Predicted noise for [images, t/T], as the graph of layers gives it."""
        noisy, time = inputs
        layer = self.get_layer
        time_image = layer("time_image")(layer("time_map")(layer("time_hidden")(time)))
        down1 = layer("down_1")(layer("image_and_time")([noisy, time_image]))
        down2 = layer("down_2")(layer("pool_1")(down1))
        x = layer("middle")(layer("pool_2")(down2))
        for up, skip in ((layer("up_2"), down2), (layer("up_1"), down1)):
            from_below, from_skip = ops.split(up.kernel, [x.shape[-1]], axis=2)
            x = ops.relu(upsample_and_convolve(x, from_below) + ops.conv(skip, from_skip, padding="same") + up.bias)
        return layer("predicted_noise")(x)


def split_taps(w):
    """Two filters of two taps that do over values what a filter does over the doubled values, in one dimension.

    Args:
        w: three taps.

    Returns:
        (2, 2): for even positions the weights of the value before and of the value itself; for odd positions those of
        the value itself and of the value after.
    """
    after, even, odd, before = TAPS @ w
    return np.array([[before, even], [odd, after]])


def upsample_and_convolve(x, kernel):
    """A 3×3 convolution (padding "same") of ``UpSampling2D()(x)``, with 4/9 of its multiply-adds.

    Args:
        x: (B, H, W, C_in). kernel: (3, 3, C_in, C_out).

    Returns:
        (B, 2H, 2W, C_out).
    """
    return ops.conv_transpose(x, ops.einsum("ip,jq,pqcf->ijfc", TAPS, TAPS, kernel), strides=2, padding="same")
