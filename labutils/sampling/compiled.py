"""The reverse process as one compiled graph over a whole batch: :func:`labutils.sampling.table_sampling`, but fast."""

import math

import numpy as np
import tensorflow as tf

from labutils.networks import network_time, target_of
from labutils.samplers import make_table
from labutils.sampling.guidance import check_labels, guided, label_shape
from labutils.sampling.inpainting import resampled
from labutils.support.progress import progress_bar

BATCH = 64  # images in one graph call: more need more memory and are not faster on a CPU
CHUNK = 25  # calls of the network between two states that are yielded


class Sampler:
    """A network, a table, and the loop over its rows as one compiled graph, for any number of rows and images.

    Args:
        network: callable of [x_t, t/T (B, 1)], and labels (B,) or captions (B, L) if ``guidance`` is given; a Keras
            model or, without captions, any function of tensors.
        schedule: labutils.schedule.NoiseSchedule.
        shape: of one image, (H, W, C).
        sampler: a key of SAMPLERS, or a function (schedule, steps) → labutils.samplers.Table, such as
            ``partial(samplers.ddim, eta=0.5)``.
        steps: number of steps, 1 … T; None for all T.
        target: what the network predicts, see :meth:`labutils.schedule.NoiseSchedule.guess_x0`. None for what a
            trained or loaded network says itself; a network that says nothing predicts the noise.
        guidance: None for a network without labels, else the weight w of classifier-free guidance, see
            labutils.sampling.guided.
        constrain: None, or a function (x̂_0, t) → corrected x̂_0 that is applied at every call.
        resample, jump: run each block of ``jump`` steps ``resample`` times, see :func:`labutils.sampling.resampled`.
            It takes ``resample`` times as many calls. The free part of the image then fits what ``constrain`` fixes.

    Raises:
        ValueError: unknown sampler, unknown target or not the network's own, number of steps out of range, negative
            guidance, or ``resample`` with a sampler that does not allow it.
    """

    def __init__(
        self,
        network,
        schedule,
        shape,
        *,
        sampler="ddpm",
        steps=None,
        target=None,
        guidance=None,
        constrain=None,
        resample=1,
        jump=1,
    ):
        target = target_of(network, target)
        if guidance is not None and not guidance >= 0:
            raise ValueError(f"guidance must be at least 0, got {guidance}")
        table = resampled(make_table(schedule, sampler, steps), schedule, resample, jump)
        self.network, self.t, self.guidance = network, table.t, guidance
        # x̂_0 = p·x + q·output for every target: p and q are the guesses for (x, output) = (1, 0) and (0, 1).
        unit = np.eye(2, dtype=np.float32)[:, None].repeat(len(table.t), axis=1)  # (2, rows, 2)
        p, q = (np.ravel(schedule.guess_x0(x[:, :1], table.t, x[:, 1:], target)) for x in unit)
        # One number per row, so that the loop contains only multiply-adds.
        t_of = tf.constant(table.t, tf.int32)
        columns = (p, q, table.a, table.b, table.c, table.sigma)
        p, q, a, b, c, sigma = (tf.constant(column, tf.float32) for column in columns)
        noisy = bool(np.any(table.sigma > 0))
        # The noise of a row depends on the seed and the step. A repeated step gets other noise.
        visits = np.zeros(schedule.T, np.int32)
        streams = []
        for t in table.t:
            streams.append(t + schedule.T * visits[t])
            visits[t] += 1
        stream = tf.constant(streams, tf.int32)

        def guess(x, row, labels):
            time = network_time(tf.fill(tf.shape(x)[:1], t_of[row]), schedule.T)
            output = network([x, time]) if guidance is None else guided(network, x, time, labels, guidance)
            x0 = p[row] * x + q[row] * output
            return x0 if constrain is None else constrain(x0, t_of[row])

        self.label_shape = label_shape(network)
        image = tf.TensorSpec([None, *shape], tf.float32)  # any batch size
        label, number = tf.TensorSpec([None, *self.label_shape], tf.int32), tf.TensorSpec([], tf.int32)

        @tf.function(input_signature=[image, image, label, number, number, number])
        def run(x, before, labels, seed, first, last):
            for row in tf.range(first, last):
                tf.autograph.experimental.set_loop_options(shape_invariants=[(x, image.shape), (before, image.shape)])
                x0 = guess(x, row, labels)
                x = a[row] * x + b[row] * x0 + c[row] * before
                if noisy:
                    x += sigma[row] * tf.random.stateless_normal(tf.shape(x), seed=tf.stack([seed, stream[row]]))
                before = x0
            return x, before

        self._run = run
        self._guess = tf.function(guess, input_signature=[image, number, label])

    def run(self, x, seed=0, labels=None, chunk=CHUNK, guess=True):
        """Run the reverse process from ``x`` and yield the state now and then.

        Args:
            x: where to start, shape (B, H, W, C), standard normal.
            seed: of the noise added on the way; the result depends on (seed, step) only, not on ``chunk``.
            labels: (B,) integers, or captions (B, L), for a network that is told what to draw.
            chunk: number of rows between two states that are yielded.
            guess: compute x̂_0 for each of these states, with one more call of the network; False yields None instead.

        Raises:
            ValueError: labels without guidance, guidance without labels, not one label for each item of ``x``, or a
                label that the network does not know.

        Yields:
            (t, x_t, x̂_0): the next step, the state before it, and the clean image that the network guesses there. The
            last item is (-1, x, x), the finished sample.
        """
        check_labels(self.network, labels, self.guidance, len(x))
        x = tf.convert_to_tensor(x, tf.float32)
        before = tf.zeros_like(x)
        labels = np.zeros((len(x), *self.label_shape)) if labels is None else labels
        labels = tf.convert_to_tensor(np.asarray(labels, np.int32))
        for first in range(0, len(self.t), chunk):
            yield int(self.t[first]), x, self._guess(x, first, labels) if guess else None
            x, before = self._run(x, before, labels, seed, first, min(first + chunk, len(self.t)))
        yield -1, x, x


def reverse_process(network, schedule, x, *, seed=0, labels=None, chunk=CHUNK, guess=True, **options):
    """Run the reverse process once from ``x``: what :meth:`Sampler.run` yields.

    Args:
        network, schedule: as in :class:`Sampler`.
        x: where to start, shape (B, …), standard normal.
        seed, labels, chunk, guess: as in :meth:`Sampler.run`.
        options: further ones of :class:`Sampler`.

    Raises:
        ValueError: as :class:`Sampler` and :meth:`Sampler.run`, at the call.
    """
    check_labels(network, labels, options.get("guidance"), len(x))
    return Sampler(network, schedule, x.shape[1:], **options).run(x, seed, labels, chunk, guess)


def sample(network, schedule, count, shape, *, seed=0, labels=None, progress=True, **options):
    """Draw new images from noise.

    Args:
        network, schedule, shape: as in :class:`Sampler`.
        count: number of images.
        seed: the same seed gives the same images on the same machine.
        labels: (count,) integers, or captions (count, L), for a network that is told what to draw.
        progress: show a progress bar.
        options: further ones of :class:`Sampler`: ``sampler``, ``steps``, ``target``, ``guidance``, ``constrain``,
            ``resample``, ``jump``.

    Returns:
        float32 array (count, H, W, C). Not clipped: values a little outside [-1, 1] are normal.

    Raises:
        ValueError: ``count`` < 1, labels that :meth:`Sampler.run` refuses, or an argument that :class:`Sampler`
            refuses.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"count must be an integer of at least 1, got {count!r}")
    check_labels(network, labels, options.get("guidance"), count)
    process = Sampler(network, schedule, shape, **options)
    finished = np.empty((count, *shape), np.float32)
    batches = math.ceil(count / BATCH)
    with progress_bar(batches * math.ceil(len(process.t) / CHUNK), f"drawing {count} images", not progress) as bar:
        for number in range(batches):
            part = slice(number * BATCH, min((number + 1) * BATCH, count))
            rng = np.random.default_rng([seed, number])  # each batch has other noise
            start = rng.standard_normal((part.stop - part.start, *shape), dtype=np.float32)
            told = None if labels is None else labels[part]
            for t, state, _ in process.run(start, int(rng.integers(2**31)), told, guess=False):
                finished[part] = state  # overwritten until the last state
                bar.update(t >= 0)
    return finished
