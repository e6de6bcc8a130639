"""The networks that predict the noise: ε_θ(x_t, t).

The classic network is a small U-Net (Ronneberger, Fischer, Brox 2015, https://arxiv.org/abs/1505.04597): down to a
quarter of the size, up again, and at each size a *skip connection* that hands the fine detail across. Only Keras
layers are used, so the weights load under any Keras backend.
"""

import keras
import numpy as np
from keras import layers, ops

# A filter of 3 taps over doubled pixels, seen from the pixels themselves: 4 taps, set down at every second place.
DOUBLED = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)


class ClassicUNet(keras.Model):
    """The classic network with the same layers, weights and answers as its graph of layers, and less arithmetic.

    On the way up a 3×3 convolution runs over a map that was only just doubled, so that it multiplies each number four
    times by weights that could have been added first; and over a concatenation, whose two halves can as well be
    convolved apart and added. See :func:`grow_and_convolve`.
    """

    def call(self, inputs, training=None, mask=None):
        """Predicted noise for [images, t/T], as :func:`build_classic_unet` says."""
        noisy, time = inputs
        layer = self.get_layer
        time_image = layer("time_image")(layer("time_map")(layer("time_hidden")(time)))
        down1 = layer("down_1")(layer("image_and_time")([noisy, time_image]))
        down2 = layer("down_2")(layer("pool_1")(down1))
        x = layer("middle")(layer("pool_2")(down2))
        for up, skip in ((layer("up_2"), down2), (layer("up_1"), down1)):
            from_below, from_skip = ops.split(up.kernel, [x.shape[-1]], axis=2)
            x = ops.relu(ops.conv(skip, from_skip, padding="same") + up.bias + grow_and_convolve(x, from_below))
        return layer("predicted_noise")(x)


def grow_and_convolve(x, kernel):
    """What a 3×3 convolution (padding "same") makes of ``UpSampling2D()(x)``, with 4/9 of its multiply-adds.

    Args:
        x: (B, H, W, C_in). kernel: (3, 3, C_in, C_out).

    Returns:
        (B, 2H, 2W, C_out).
    """
    return ops.conv_transpose(x, ops.einsum("ip,jq,pqcf->ijfc", DOUBLED, DOUBLED, kernel), strides=2, padding="same")


def build_classic_unet(input_shape=(28, 28, 1), time_input=True, skip_connections=True):
    """The lab's reference network: 257,265 parameters at 28×28×1.

    Time enters as the number t/T: two dense layers turn it into one extra image channel.

    Args:
        input_shape: (H, W, C) of the images; H and W divisible by 4, any C ≥ 1.
        time_input: False takes the time map away, the network no longer knows t (an ablation; the input stays).
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

    x = layers.UpSampling2D(name="grow_2")(middle)  # (B, H/2, W/2, 128)
    if skip_connections:
        x = layers.Concatenate(name="skip_2")([x, down2])
    x = conv(64, "up_2")(x)
    x = layers.UpSampling2D(name="grow_1")(x)  # (B, H, W, 64)
    if skip_connections:
        x = layers.Concatenate(name="skip_1")([x, down1])
    x = conv(32, "up_1")(x)
    # No activation here: noise is positive and negative and has no bound.
    predicted_noise = layers.Conv2D(C, 1, name="predicted_noise")(x)
    build = ClassicUNet if time_input and skip_connections else keras.Model
    return build([noisy, time], predicted_noise, name="classic")


def sinusoidal_embedding(t, dim=32, max_period=10_000.0):
    """Describe a step by sines and cosines of many frequencies (Vaswani et al. 2017, section 3.5; DDPM appendix B).

    Args:
        t: shape (B,), step index (0 … T - 1) or any real number.
        dim: size of the embedding, even.
        max_period: the longest period is ``2π · max_period``, the shortest 2π.

    Returns:
        float32 tensor (B, dim): first dim/2 sines, then dim/2 cosines, all in [-1, 1].

    Raises:
        ValueError: if ``dim`` is odd or smaller than 2.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be even and at least 2, got {dim}")
    half = dim // 2
    frequencies = ops.exp(-ops.log(max_period) * ops.arange(half, dtype="float32") / half)  # 1 … 1/max_period
    angles = ops.reshape(ops.cast(t, "float32"), (-1, 1)) * frequencies  # (B, dim/2)
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


def layer_costs(network):
    """Count what each layer with weights costs for one image.

    Returns:
        list of dicts with ``name``, ``output_shape`` (without batch), ``parameters`` and ``multiply_adds``.
    """
    rows = []
    for layer in network.layers:
        if not layer.weights:
            continue
        kernel, shape = layer.kernel, layer.output.shape[1:]
        positions = 1 if isinstance(layer, layers.Dense) else shape[0] * shape[1]  # a conv repeats its kernel
        rows.append(
            {
                "name": layer.name,
                "output_shape": tuple(shape),
                "parameters": layer.count_params(),
                "multiply_adds": int(positions * kernel.shape[0] * kernel.shape[-1] * _kernel_area(kernel)),
            }
        )
    return rows


def check_image_shape(input_shape):
    """Return (H, W, C) as integers, or raise ``ValueError`` if a network of two poolings cannot take it."""
    try:
        H, W, C = (int(n) for n in input_shape)
    except (TypeError, ValueError):
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape!r}") from None
    if H < 4 or W < 4 or H % 4 or W % 4 or C < 1:
        raise ValueError(
            f"input_shape must have a height and a width divisible by 4 (the network halves them twice) "
            f"and at least one channel, got {(H, W, C)}"
        )
    return H, W, C


def _kernel_area(kernel):
    # Dense kernels are (in, out); Conv2D kernels (k, k, in, out): the product of what stands between first and last.
    area = 1
    for n in kernel.shape[1:-1]:
        area *= n
    return area
