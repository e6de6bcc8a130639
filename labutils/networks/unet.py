"""The classic U-Net: the reference network of the lab, in plain Keras layers.

A small U-Net (Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597). It goes down to a quarter of the
size and up again. At each size a *skip connection* carries the fine detail across.
"""

import keras
from keras import layers, ops


def build_classic_unet(input_shape=(28, 28, 1), time_input=True, skip_connections=True):
    """The lab's reference network: 257,265 parameters at 28×28×1.

    Time enters as the number t/T: two dense layers turn it into one extra image channel.

    Args:
        input_shape: (H, W, C) of the images; H and W divisible by 4, any C ≥ 1.
        time_input: False takes the time map away; the network is no longer told t (an ablation; the input stays).
        skip_connections: False takes both skip connections away (an ablation).

    Returns:
        keras.Model with inputs [images (B, H, W, C) in about [-1, 1] plus noise, t/T (B, 1) in [0, 1)] and output
        predicted noise (B, H, W, C).

    Raises:
        ValueError: if H or W is not divisible by 4, or the shape is not (H, W, C).
    """
    H, W, C = check_image_shape(input_shape)

    def conv(filters, name):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)

    noisy = keras.Input((H, W, C), name="noisy_image")  # x_t
    time = keras.Input((1,), name="time")  # t/T

    x = noisy
    if time_input:
        time_map = layers.Dense(32, activation="relu", name="time_hidden")(time)
        time_map = layers.Dense(H * W, activation="relu", name="time_map")(time_map)
        x = layers.Concatenate(name="image_and_time")([x, layers.Reshape((H, W, 1), name="time_image")(time_map)])
    else:
        x = x + 0.0 * ops.reshape(time, (-1, 1, 1, 1))  # no effect; older Keras refuses an input that nothing uses

    down1 = conv(32, "down_1")(x)  # (B, H, W, 32)
    down2 = conv(64, "down_2")(layers.MaxPooling2D(name="pool_1")(down1))  # (B, H/2, W/2, 64)
    middle = conv(128, "middle")(layers.MaxPooling2D(name="pool_2")(down2))  # (B, H/4, W/4, 128)

    x = up_block(middle, down2 if skip_connections else None, 64, level=2)  # (B, H/2, W/2, 64)
    x = up_block(x, down1 if skip_connections else None, 32, level=1)  # (B, H, W, 32)
    # No activation here: noise is positive and negative and has no bound.
    predicted_noise = layers.Conv2D(C, 1, name="predicted_noise")(x)
    return keras.Model([noisy, time], predicted_noise, name="classic")


def up_block(x, skip, filters, level=None):
    """One level of the way up: grow by 2, join with the skip connection, convolve 3×3 with ReLU.

    Args:
        x: Keras tensor (B, H, W, ·), the map from below.
        skip: Keras tensor (B, 2H, 2W, ·) from the way down, or None for none (an ablation).
        filters: channels of the result.
        level: number in the names of the layers; None lets Keras choose names.

    Returns:
        Keras tensor (B, 2H, 2W, filters).
    """
    grow, join, up = (f"{part}_{level}" if level else None for part in ("grow", "skip", "up"))
    x = layers.UpSampling2D(name=grow)(x)
    if skip is not None:
        x = layers.Concatenate(name=join)([x, skip])
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=up)(x)


def check_image_shape(input_shape, halvings=2):
    """Return (H, W, C) as integers, or raise ``ValueError`` if a network cannot halve it so many times, at most 2."""
    try:
        H, W, C = (int(n) for n in input_shape)
    except (TypeError, ValueError):
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape!r}") from None
    part = 2**halvings
    if min(H, W) < part or H % part or W % part or C < 1:
        raise ValueError(
            f"input_shape must have a height and a width divisible by {part} "
            f"(the network halves them {'twice' if halvings == 2 else 'once'}) "
            f"and at least one channel, got {(H, W, C)}"
        )
    return H, W, C
