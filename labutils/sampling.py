"""From noise to images: walk back from x_{T-1} to x_0, one small step at a time.

Every step has the same form, x ← a·x − b·ε_θ + σ·z, with numbers a, b, σ from a table. A sampler is a function that
makes such a table; the loop below is the same for all of them and runs as one compiled graph over a whole batch.
"""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.progress import progress_bar
from labutils.schedule import at, check_same_shape
from labutils.training import network_time

BATCH = 64  # images in one graph call: more need more memory and are not faster on a CPU


def posterior_mean(schedule, x0, xt, t):
    """Mean of q(x_{t-1} | x_t, x_0), written with x_0 (DDPM eq. 7).

    μ̃ = √ᾱ_{t-1} β_t / (1 - ᾱ_t) · x_0 + √α_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) · x_t

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        x0, xt: shape (B, …). t: integer steps, shape (B,) or one for all.

    Returns:
        Tensor of the shape of ``xt``.
    """
    s = schedule
    check_same_shape("x0", x0, "xt", xt)
    s.check_t(t, batch=xt.shape[0])
    weight_x0 = np.sqrt(s.alpha_bars_previous) * s.betas / (1 - s.alpha_bars)
    weight_xt = np.sqrt(s.alphas) * (1 - s.alpha_bars_previous) / (1 - s.alpha_bars)
    return at(weight_x0, t, xt.ndim) * x0 + at(weight_xt, t, xt.ndim) * xt


def reverse_step(schedule, xt, t, predicted_noise, noise):
    """One step of ancestral sampling, x_t → x_{t-1} (DDPM, algorithm 2, line 4).

    x_{t-1} = √(1/α_t) · (x_t − β_t / √(1 - ᾱ_t) · ε_θ) + √β̃_t · z

    Args:
        schedule: labutils.schedule.NoiseSchedule.
        xt: shape (B, …). t: integer steps, shape (B,) or one for all.
        predicted_noise: ε_θ(x_t, t), shape of ``xt``.
        noise: z, standard normal, shape of ``xt``; without effect at t = 0, where β̃_0 = 0.

    Returns:
        Tensor of the shape of ``xt``.
    """
    check_same_shape("predicted_noise", predicted_noise, "xt", xt)
    check_same_shape("noise", noise, "xt", xt)
    schedule.check_t(t, batch=xt.shape[0])
    a, b, sigma = ancestral_table(schedule, np.arange(schedule.T))
    return at(a, t, xt.ndim) * xt - at(b, t, xt.ndim) * predicted_noise + at(sigma, t, xt.ndim) * noise


def ancestral_table(schedule, steps):
    """The numbers of ancestral sampling (DDPM) for the increasing step indices ``steps``.

    With all T steps this is :func:`reverse_step`. With fewer, each jump from ``steps[i]`` to ``steps[i-1]`` is one
    step of a coarser schedule with the same ᾱ (Nichol & Dhariwal 2021, section 4).

    Returns:
        a, b, σ: NumPy float64 arrays of the length of ``steps``.
    """
    alpha_bars = schedule.alpha_bars[steps]
    previous = np.concatenate([[1.0], alpha_bars[:-1]])
    alphas = alpha_bars / previous
    betas = 1.0 - alphas
    a = np.sqrt(1.0 / alphas)
    b = a * betas / np.sqrt(1.0 - alpha_bars)
    sigma = np.sqrt(betas * (1.0 - previous) / (1.0 - alpha_bars))  # √β̃; 0 at the first index: no noise at the end
    return a, b, sigma


SAMPLERS = {"ddpm": ancestral_table}


def spaced_steps(T, count):
    """``count`` step indices spread evenly over 0 … T - 1, increasing, the last one included.

    Raises:
        ValueError: unless 1 <= count <= T.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 1 <= count <= T:
        raise ValueError(f"steps must be an integer in 1 … {T}, got {count!r}")
    return np.round(np.linspace(T - 1, 0, count)).astype(np.int32)[::-1]


def reverse_process(network, schedule, x, *, seed=0, steps=None, sampler="ddpm", constrain=None, chunk=25,
                    guess=True):  # fmt: skip
    """Run the reverse process from ``x`` and stop now and then to let the caller look.

    Args:
        network: callable of [x_t, t/T (B, 1)] that returns ε_θ; a Keras model or any function of tensors.
        schedule: labutils.schedule.NoiseSchedule.
        x: where to start, shape (B, …), standard normal.
        seed: of the noise added on the way; the result depends on (seed, step) only, not on ``chunk``.
        steps: number of steps, 1 … T; None for all T.
        sampler: a key of SAMPLERS.
        constrain: None, or a function (x̂_0, t) → corrected x̂_0 that is applied at every step.
        chunk: steps between two looks.
        guess: compute x̂_0 for each look, one more call of the network; False yields None in its place.

    Yields:
        (t, x_t, x̂_0): the step about to be undone, the state before it, and the clean image implied there. The last
        item is (-1, x, x), the finished sample.

    Raises:
        ValueError: unknown sampler or number of steps out of range, when the first item is asked for.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}, known: {', '.join(SAMPLERS)}")
    times = spaced_steps(schedule.T, schedule.T if steps is None else steps)
    a, b, sigma = (tf.constant(table, tf.float32) for table in SAMPLERS[sampler](schedule, times))
    times = tf.constant(times)

    def look(x, i):
        t = times[i]
        predicted_noise = network([x, network_time(tf.fill(tf.shape(x)[:1], t), schedule.T)])
        x0 = schedule.predict_x0(x, t, predicted_noise)
        if constrain is None:
            return x0, predicted_noise
        x0 = constrain(x0, t)
        signal = at(np.sqrt(schedule.alpha_bars), t, x.ndim)
        return x0, (x - signal * x0) / at(np.sqrt(1.0 - schedule.alpha_bars), t, x.ndim)  # the ε that leads to x0

    spec = tf.TensorSpec([None, *x.shape[1:]], tf.float32)  # any batch size: traced once

    @tf.function(input_signature=[spec, tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32)])
    def walk(x, first, last):
        for i in tf.range(first, last, -1):
            tf.autograph.experimental.set_loop_options(shape_invariants=[(x, spec.shape)])
            _, predicted_noise = look(x, i)
            z = tf.random.stateless_normal(tf.shape(x), seed=tf.stack([seed, i]))
            x = a[i] * x - b[i] * predicted_noise + sigma[i] * z
        return x

    peek = tf.function(lambda x, i: look(x, i)[0], input_signature=[spec, tf.TensorSpec([], tf.int32)])

    x = tf.convert_to_tensor(x, tf.float32)
    for first in range(len(times) - 1, -1, -chunk):
        yield int(times[first]), x, peek(x, first) if guess else None
        x = walk(x, first, max(first - chunk, -1))
    yield -1, x, x


def sample(network, schedule, count, shape, *, seed=0, steps=None, sampler="ddpm", constrain=None, progress=True):
    """Draw new images from noise.

    Args:
        network, schedule, steps, sampler, constrain: as in :func:`reverse_process`.
        count: number of images.
        shape: of one image, (H, W, C).
        seed: the same seed gives the same images on the same machine.
        progress: show a progress bar.

    Returns:
        float32 array (count, H, W, C). Not clipped: values a little outside [-1, 1] are normal.

    Raises:
        ValueError: ``count`` < 1, or an argument that :func:`reverse_process` refuses.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, got {count!r}")
    chunk = 25
    looks = math.ceil(len(spaced_steps(schedule.T, schedule.T if steps is None else steps)) / chunk)
    finished = []
    with progress_bar(looks * math.ceil(count / BATCH), f"drawing {count} images", disable=not progress) as bar:
        for number, first in enumerate(range(0, count, BATCH)):
            rng = np.random.default_rng([seed, number])  # each batch has noise of its own
            start = rng.standard_normal((min(BATCH, count - first), *shape), dtype=np.float32)
            process = reverse_process(network, schedule, start, seed=int(rng.integers(2**31)), steps=steps,
                                      sampler=sampler, constrain=constrain, chunk=chunk, guess=False)  # fmt: skip
            for t, state, _ in process:  # noqa: B007 (the last state is the result)
                bar.update(t >= 0)
            finished.append(state.numpy())
    return np.concatenate(finished)


def exact_noise_predictor(images, schedule):
    """The best possible noise predictor when the data set is just ``images``: a formula instead of a network.

    Given x_t, image i is the origin with probability w_i ∝ exp(−‖x_t − √ᾱ_t x_i‖² / 2(1 - ᾱ_t)). The best guess is
    x̂_0 = Σ w_i x_i, and ε = (x_t − √ᾱ_t x̂_0) / √(1 - ᾱ_t). A correct sampler with this predictor returns one of the
    images; with a single image it always returns that one.

    Args:
        images: (N, …), small N: cost and memory grow with B · N.
        schedule: labutils.schedule.NoiseSchedule.

    Returns:
        A function with a network's signature, [x_t, t/T (B, 1)] → ε.
    """
    images = ops.convert_to_tensor(images, dtype="float32")
    flat = ops.reshape(images, (images.shape[0], -1))  # (N, D)
    # ‖x − s·x_i‖² = ‖x‖² − 2 s x·x_i + s² ‖x_i‖²; ‖x‖² is the same for all i and drops out of the weights.
    squared = ops.sum(flat**2, axis=-1)

    def predict(inputs):
        xt, time = (ops.cast(value, "float32") for value in inputs)
        t = ops.cast(ops.round(ops.reshape(time, (-1,)) * schedule.T), "int32")
        signal = at(np.sqrt(schedule.alpha_bars), t, 2)  # √ᾱ_t, (B, 1)
        variance = at(1.0 - schedule.alpha_bars, t, 2)  # 1 - ᾱ_t
        x = ops.reshape(xt, (-1, flat.shape[-1]))
        logits = (signal * ops.matmul(x, ops.transpose(flat)) - 0.5 * signal**2 * squared) / variance  # (B, N)
        x0 = ops.matmul(tf.nn.softmax(logits), flat)
        return ops.reshape((x - signal * x0) / ops.sqrt(variance), ops.shape(xt))

    return predict
