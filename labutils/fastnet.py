"""A network made for two cores: small maps, few large operations, a time signal that reaches every block.

What makes it fast is where it works. A 3×3 convolution costs height × width × channels² multiply-adds, so the picture
is folded to half its size at once (2×2 pixels become four channels: nothing is lost), and most blocks work at a
quarter. What makes it good with few steps is how it is trained: see ``plans``.
"""

import keras
from keras import layers, ops

from labutils.unet import check_image_shape, sinusoidal_embedding

TIME_SCALE = 1000.0  # the network is given t/T; the sinusoidal embedding wants a number of DDPM's range
WAVES = 64  # size of that embedding


def build_fast(input_shape=(28, 28, 1), classes=0, widths=(48, 96), blocks=(1, 2), embedding=128,
               modulate=True, zero_start=True):  # fmt: skip
    """The fast network.

    Args:
        input_shape: (H, W, C) of the images; H and W divisible by 4, any C ≥ 1.
        classes: 0, or the number of labels the network is told; label −1 then means "not told".
        widths: channels at half size and at quarter size.
        blocks: residual blocks at half size (before and after the middle) and at quarter size.
        embedding: size of the signal that carries time and label.
        modulate: False takes that signal away: t/T enters as one more image channel (an ablation, without classes).
        zero_start: False starts blocks and output at random instead of 0 (an ablation).

    Returns:
        keras.Model with inputs [images (B, H, W, C), t/T (B, 1)] and, with ``classes``, labels (B,) int32; output
        (B, H, W, C), which starts as 0 everywhere.

    Raises:
        ValueError: if H or W is not divisible by 4, or the shape is not (H, W, C).
    """
    H, W, C = check_image_shape(input_shape)
    noisy, time = keras.Input((H, W, C), name="noisy_image"), keras.Input((1,), name="time")
    inputs = [noisy, time]
    first = "zeros" if zero_start else "glorot_uniform"
    waves = sinusoidal_embedding(TIME_SCALE * time, WAVES)  # (B, WAVES)
    signal = layers.Dense(embedding, activation="silu", name="time_hidden")(waves)
    if classes:
        label = keras.Input((), dtype="int32", name="label")
        inputs.append(label)
        signal = signal + layers.Embedding(classes + 1, embedding, name="label_vector")(label + 1)
    signal = layers.Dense(embedding, activation="silu", name="signal")(signal)

    def block(x, width, name):
        h = layers.Conv2D(width, 3, padding="same", name=f"{name}_a")(ops.silu(x))
        if modulate:
            scale_shift = layers.Dense(2 * width, kernel_initializer=first, name=f"{name}_signal")(signal)
            scale, shift = ops.split(ops.reshape(scale_shift, (-1, 1, 1, 2 * width)), 2, axis=-1)
            h = h * (1.0 + scale) + shift
        h = ops.silu(h)
        # Zero at the start: every block begins as the identity, which lets a large learning rate begin at once.
        return x + layers.Conv2D(width, 3, padding="same", kernel_initializer=first, name=f"{name}_b")(h)

    half, quarter = widths
    x = noisy if modulate else ops.concatenate([noisy, ops.ones_like(noisy[..., :1]) * time[:, None, None]], axis=-1)
    x = layers.Conv2D(half, 3, padding="same", name="enter")(space_to_depth(x))  # (B, H/2, W/2, half)
    for i in range(blocks[0]):
        x = block(x, half, f"down_{i}")
    skip = x
    x = layers.Conv2D(quarter, 3, strides=2, padding="same", name="shrink")(x)  # (B, H/4, W/4, quarter)
    for i in range(blocks[1]):
        x = block(x, quarter, f"middle_{i}")
    x = depth_to_space(layers.Conv2D(4 * half, 1, name="grow")(x)) + skip
    for i in range(blocks[0]):
        x = block(x, half, f"up_{i}")
    x = layers.Conv2D(4 * C, 3, padding="same", kernel_initializer=first, name="leave")(ops.silu(x))
    return keras.Model(inputs, depth_to_space(x), name="fast_conditional" if classes else "fast")


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
