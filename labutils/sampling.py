"""From noise to images: walk back from x_{T-1} to x_0, a network call at a time.

Which numbers each step uses is said in ``samplers``; here is the loop, one for all of them, which runs as one compiled
graph over a whole batch.
"""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from labutils.progress import progress_bar
from labutils.samplers import SAMPLERS, spaced_steps
from labutils.schedule import at, check_same_shape, check_target
from labutils.training import NO_LABEL, network_time

BATCH = 64  # images in one graph call: more need more memory and are not faster on a CPU
CHUNK = 25  # calls of the network between two looks


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
    a = np.sqrt(1.0 / schedule.alphas)
    b = a * schedule.betas / np.sqrt(1.0 - schedule.alpha_bars)
    sigma = np.sqrt(schedule.posterior_variances)  # 0 at t = 0: no noise at the end
    return at(a, t, xt.ndim) * xt - at(b, t, xt.ndim) * predicted_noise + at(sigma, t, xt.ndim) * noise


class Sampler:
    """A network, a table, and the loop over its rows as one compiled graph, for any number of rows and images.

    Args:
        network: callable of [x_t, t/T (B, 1)], and labels (B,) if ``guidance`` is given; a Keras model or any function
            of tensors.
        schedule: labutils.schedule.NoiseSchedule.
        shape: of one image, (H, W, C).
        sampler: a key of SAMPLERS, or a function (schedule, steps) → labutils.samplers.Table, such as
            ``partial(samplers.ddim, eta=0.5)``.
        steps: number of steps, 1 … T; None for all T.
        target: what the network predicts, see :meth:`labutils.schedule.NoiseSchedule.guess_x0`.
        guidance: None for a network without labels, else the weight w of classifier-free guidance, see :func:`guided`.
        constrain: None, or a function (x̂_0, t) → corrected x̂_0 that is applied at every call.

    Raises:
        ValueError: unknown sampler or target, number of steps out of range, or negative guidance.
    """

    def __init__(self, network, schedule, shape, *, sampler="ddpm", steps=None, target="noise", guidance=None,
                 constrain=None):  # fmt: skip
        if not callable(sampler) and sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}, known: {', '.join(SAMPLERS)}")
        check_target(target)
        if guidance is not None and not guidance >= 0:
            raise ValueError(f"guidance must be at least 0, got {guidance}")
        steps = spaced_steps(schedule.T, schedule.T if steps is None else steps)
        table = (sampler if callable(sampler) else SAMPLERS[sampler])(schedule, steps)
        self.t = table.t
        # x̂_0 = p·x + q·output, whatever the target: p and q are the guesses for (1, 0) and (0, 1).
        unit = np.eye(2, dtype=np.float32)[:, None].repeat(len(table.t), axis=1)  # (2, rows, 2)
        p, q = (np.ravel(schedule.guess_x0(x[:, :1], table.t, x[:, 1:], target)) for x in unit)
        # One number per row, so that nothing but multiply-adds is left in the loop.
        t_of = tf.constant(table.t, tf.int32)
        columns = (p, q, table.a, table.b, table.c, table.sigma)
        p, q, a, b, c, sigma = (tf.constant(column, tf.float32) for column in columns)
        noisy = bool(np.any(table.sigma > 0))

        def guess(x, row, labels):
            time = network_time(tf.fill(tf.shape(x)[:1], t_of[row]), schedule.T)
            output = network([x, time]) if guidance is None else guided(network, x, time, labels, guidance)
            x0 = p[row] * x + q[row] * output
            return x0 if constrain is None else constrain(x0, t_of[row])

        image, label = tf.TensorSpec([None, *shape], tf.float32), tf.TensorSpec([None], tf.int32)  # any batch size
        number = tf.TensorSpec([], tf.int32)

        @tf.function(input_signature=[image, image, label, number, number, number])
        def walk(x, before, labels, seed, first, last):
            for row in tf.range(first, last):
                tf.autograph.experimental.set_loop_options(shape_invariants=[(x, image.shape), (before, image.shape)])
                x0 = guess(x, row, labels)
                x = a[row] * x + b[row] * x0 + c[row] * before
                if noisy:
                    x += sigma[row] * tf.random.stateless_normal(tf.shape(x), seed=tf.stack([seed, t_of[row]]))
                before = x0
            return x, before

        self._walk = walk
        self._guess = tf.function(guess, input_signature=[image, number, label])

    def run(self, x, seed=0, labels=None, chunk=CHUNK, guess=True):
        """Run the reverse process from ``x`` and stop now and then to let the caller look.

        Args:
            x: where to start, shape (B, H, W, C), standard normal.
            seed: of the noise added on the way; the result depends on (seed, step) only, not on ``chunk``.
            labels: (B,) integers, for a network that is told what to draw.
            chunk: rows between two looks.
            guess: compute x̂_0 for each look, one more call of the network; False yields None in its place.

        Yields:
            (t, x_t, x̂_0): the step about to be undone, the state before it, and the clean image implied there. The
            last item is (-1, x, x), the finished sample.
        """
        x = tf.convert_to_tensor(x, tf.float32)
        before = tf.zeros_like(x)
        labels = tf.zeros(len(x), tf.int32) if labels is None else tf.convert_to_tensor(labels, tf.int32)
        for first in range(0, len(self.t), chunk):
            yield int(self.t[first]), x, self._guess(x, first, labels) if guess else None
            x, before = self._walk(x, before, labels, seed, first, min(first + chunk, len(self.t)))
        yield -1, x, x


def guided(network, x, time, labels, weight):
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6).

    (1 + w) · f(x, label) − w · f(x, no label)

    Args:
        network: callable of [x, t/T, labels]; label NO_LABEL stands for "not told".
        x: (B, H, W, C). time: (B, 1). labels: (B,) integers.
        weight: w ≥ 0; 0 follows the label without exaggeration, and needs one call of the network instead of two.
    """
    told = network([x, time, labels])
    if weight == 0:
        return told
    return (1 + weight) * told - weight * network([x, time, tf.fill(tf.shape(labels), NO_LABEL)])


def reverse_process(network, schedule, x, *, seed=0, chunk=CHUNK, guess=True, **options):
    """Run the reverse process once from ``x``: what :meth:`Sampler.run` yields.

    Args:
        network, schedule: as in :class:`Sampler`.
        x: where to start, shape (B, …), standard normal.
        seed, chunk, guess: as in :meth:`Sampler.run`.
        options: further ones of :class:`Sampler`.
    """
    yield from Sampler(network, schedule, x.shape[1:], **options).run(x, seed, chunk=chunk, guess=guess)


def sample(network, schedule, count, shape, *, seed=0, labels=None, progress=True, **options):
    """Draw new images from noise.

    Args:
        network, schedule, shape: as in :class:`Sampler`.
        count: number of images.
        seed: the same seed gives the same images on the same machine.
        labels: (count,) integers, for a network that is told what to draw.
        progress: show a progress bar.
        options: further ones of :class:`Sampler`: ``sampler``, ``steps``, ``target``, ``guidance``, ``constrain``.

    Returns:
        float32 array (count, H, W, C). Not clipped: values a little outside [-1, 1] are normal.

    Raises:
        ValueError: ``count`` < 1, labels without guidance or guidance without labels, or an argument that
            :class:`Sampler` refuses.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, got {count!r}")
    if (labels is None) != (options.get("guidance") is None) or (labels is not None and len(labels) != count):
        raise ValueError(f"a network with labels needs guidance and one label for each of the {count} images, another "
                         f"network neither; got guidance={options.get('guidance')} and "
                         f"{'no' if labels is None else len(labels)} labels")  # fmt: skip
    process = Sampler(network, schedule, shape, **options)
    finished = np.empty((count, *shape), np.float32)
    batches = math.ceil(count / BATCH)
    with progress_bar(batches * math.ceil(len(process.t) / CHUNK), f"drawing {count} images", not progress) as bar:
        for number in range(batches):
            part = slice(number * BATCH, min((number + 1) * BATCH, count))
            rng = np.random.default_rng([seed, number])  # each batch has noise of its own
            start = rng.standard_normal((part.stop - part.start, *shape), dtype=np.float32)
            told = None if labels is None else labels[part]
            for t, state, _ in process.run(start, int(rng.integers(2**31)), told, guess=False):
                finished[part] = state  # the last state is the one that stays
                bar.update(t >= 0)
    return finished


def inpaint(x0, known, mask):
    """x̂_0 with the known pixels put in, those where ``mask`` is 1: what ``constrain`` does to fill in a picture."""
    return mask * known + (1 - mask) * x0


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
