"""A network for two cores: small maps, and few large operations.

A 3×3 convolution costs 9 × height × width × channels in × channels out multiply-adds. So the image is folded to half
its size at once (space-to-depth: 2×2 pixels become four channels, and nothing is lost), and most residual blocks work
at a quarter of the size. Time and label enter as channels that are the same at every pixel. ``training.config`` says
how it is trained.
"""

import keras
from keras import layers, ops

from labutils.networks.unet import check_image_shape


def build_fast(input_shape=(28, 28, 1), classes=0, widths=(48, 96), blocks=(1, 2)):
    """The fast network.

    Args:
        input_shape: (H, W, C) of the images; H and W divisible by 4, any C ≥ 1.
        classes: 0, or the number of classes of a class-conditional network; label −1 then means "no label".
        widths: channels at half size and at quarter size.
        blocks: residual blocks at half size (before and after the middle) and at quarter size.

    Returns:
        keras.Model with inputs [images (B, H, W, C), t/T (B, 1)] and, with ``classes``, labels (B,) int32; output
        (B, H, W, C), which starts as 0 everywhere. With ``classes``, this is its attribute ``label_count``.

    Raises:
        ValueError: if H or W is not divisible by 4, or the shape is not (H, W, C).
    """
    H, W, C = check_image_shape(input_shape)
    inputs = [keras.Input((H, W, C), name="noisy_image"), keras.Input((1,), name="time")]
    conditions = [inputs[1]]  # the inputs beside the image: (B, 1), and (B, classes + 1) with a 1 at the label
    if classes:
        inputs.append(keras.Input((), dtype="int32", name="label"))
        conditions.append(ops.one_hot(inputs[2] + 1, classes + 1))

    def block(x, width, name):
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(x))
        # Zero at the start: every block begins as the identity. This allows a large learning rate from the beginning.
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer="zeros", name=f"{name}_b")(ops.silu(h))

    half, quarter = widths
    x = space_to_depth(inputs[0])  # (B, H/2, W/2, 4C)
    channels = ops.concatenate(conditions, axis=-1)[:, None, None]
    x = ops.concatenate([x, ops.ones_like(x[..., :1]) * channels], axis=-1)
    x = layers.Conv2D(half, 3, padding="same", name="conv_in")(x)  # (B, H/2, W/2, half)
    for i in range(blocks[0]):
        x = block(x, half, f"down_{i}")
    skip = x
    x = layers.Conv2D(quarter, 3, strides=2, padding="same", name="downsample")(x)  # (B, H/4, W/4, quarter)
    for i in range(blocks[1]):
        x = block(x, quarter, f"middle_{i}")
    x = depth_to_space(layers.Conv2D(4 * half, 1, name="upsample")(x)) + skip
    for i in range(blocks[0]):
        x = block(x, half, f"up_{i}")
    x = layers.Conv2D(4 * C, 3, padding="same", kernel_initializer="zeros", name="conv_out")(ops.silu(x))
    network = keras.Model(inputs, depth_to_space(x), name="fast_conditional" if classes else "fast")
    if classes:
        network.label_count = classes
    return network


def space_to_depth(x):
    """(B, H, W, C) → (B, H/2, W/2, 4C): each 2×2 block of pixels becomes one pixel with four times the channels."""
    H, W, C = x.shape[1:]
    x = ops.reshape(x, (-1, H // 2, 2, W // 2, 2, C))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, H // 2, W // 2, 4 * C))


def depth_to_space(x):
    """(B, H, W, 4C) → (B, 2H, 2W, C): the inverse of :func:`space_to_depth`."""
    H, W, C = x.shape[1:]
    x = ops.reshape(x, (-1, H, W, 2, 2, C // 4))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 2 * H, 2 * W, C // 4))
