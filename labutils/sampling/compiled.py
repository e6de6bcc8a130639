"""The reverse process as one compiled graph over a whole batch: :func:`labutils.sampling.plain_sampling`, but fast."""

import math

import numpy as np
import tensorflow as tf

from labutils.samplers import coefficients
from labutils.sampling.inpainting import resampled
from labutils.support.arguments import check_count
from labutils.support.progress import progress_bar
from labutils.support.startup import keep_freed_memory

BATCH = 64  # images in one graph call: more need more memory and are not faster on a CPU
CHUNK = 25  # calls of the network between two states that are yielded


class Sampler:
    """A diffusion model, a sampler, and its loop as one compiled graph, for any number of images.

    Args:
        diffusion: labutils.diffusion.Diffusion.
        shape: of one image, (H, W, C); None for that of the network.
        sampler: a key of labutils.samplers.SAMPLERS, or a function (schedule, steps) → labutils.samplers.Coefficients,
            such as ``partial(samplers.ddim, eta=0.5)``.
        steps: number of steps, 1 … T; None for all T.
        constrain: None, or a function (x̂_0, t) → corrected x̂_0 that is applied at every call.
        resample: run each step so often, see :func:`labutils.sampling.resampled`. It takes as many times the calls. The
            free part of the image then fits what ``constrain`` fixes.

    Attributes:
        t: int32, the step of each call of the network.

    Raises:
        ValueError: unknown sampler, number of steps out of range, no shape for a plain function, or ``resample`` with a
            sampler that does not allow it.
    """

    def __init__(self, diffusion, shape=None, *, sampler="ddpm", steps=None, constrain=None, resample=1):
        keep_freed_memory()
        table = resampled(coefficients(diffusion.schedule, sampler, steps), diffusion.schedule, resample)
        self.diffusion, self.t = diffusion, table.t
        self.shape = tuple(shape or diffusion.shape)
        self._graphs = {}
        t_of = tf.constant(table.t, tf.int32)
        # One number per row, so that the loop contains only multiply-adds.
        a, b, c, sigma = (tf.constant(column, tf.float32) for column in (table.a, table.b, table.c, table.sigma))
        noisy, self._uses_previous = bool(np.any(table.sigma > 0)), table.c != 0
        # The noise of a row depends on the seed and the step. A repeated step gets other noise.
        visits = np.zeros(diffusion.schedule.T, np.int32)
        streams = []
        for t in table.t:
            streams.append(t + diffusion.schedule.T * visits[t])
            visits[t] += 1
        stream = tf.constant(streams, tf.int32)

        def predict_x0(x, row, condition):
            x0 = diffusion.predict_x0(x, t_of[row], *condition)
            return x0 if constrain is None else constrain(x0, t_of[row])

        def run(x, previous_x0, condition, seed, first, last):
            for row in tf.range(first, last):
                tf.autograph.experimental.set_loop_options(shape_invariants=[(x, x.shape), (previous_x0, x.shape)])
                x0 = predict_x0(x, row, condition)
                x = a[row] * x + b[row] * x0 + c[row] * previous_x0
                if noisy:
                    x += sigma[row] * tf.random.stateless_normal(tf.shape(x), seed=tf.stack([seed, stream[row]]))
                previous_x0 = x0
            return x, previous_x0

        self._run, self._predict_x0 = run, predict_x0

    def run(self, x, seed=0, condition=None, chunk=CHUNK, x0=True, start=None):
        """Run the reverse process from ``x`` and yield the state now and then.

        Args:
            x: where to start, shape (B, H, W, C), standard normal.
            seed: of the noise added on the way; the result depends on (seed, step) only, not on ``chunk``.
            condition: for a conditional network: labels (B,), tokens (B, L) or numbers (B, D).
            chunk: number of rows between two states that are yielded.
            x0: compute x̂_0 for each of these states, with one more call of the network; False yields None instead.
            start: begin at the first call with t ≤ ``start``, from an ``x`` with the noise of that step; None for pure
                noise.

        Raises:
            ValueError: not one condition for each item of ``x``, a condition that the network does not know, or one for
                an unconditional network; a ``start`` below the last call.

        Yields:
            (t, x_t, x̂_0): the next step, the state before it, and the clean image that the network predicts there. The
            last item is (-1, x, x), the finished sample.
        """
        self.diffusion.check_condition(condition, len(x))
        x = tf.convert_to_tensor(x, tf.float32)
        previous_x0 = tf.zeros_like(x)
        condition = () if condition is None else (tf.convert_to_tensor(_narrow(condition)),)
        run, predict_x0 = self._compiled(condition)
        if start is not None and start < self.t[-1]:
            raise ValueError(f"start must be at least {self.t[-1]}, the step of the last call, got {start}")
        begin = 0 if start is None else int(np.argmax(self.t <= start))
        if self._uses_previous[begin]:  # there is no estimate before the first: the first step is one of DDIM
            previous_x0 = predict_x0(x, begin, condition)
        for first in range(begin, len(self.t), chunk):
            yield int(self.t[first]), x, predict_x0(x, first, condition) if x0 else None
            x, previous_x0 = run(x, previous_x0, condition, seed, first, min(first + chunk, len(self.t)))
        yield -1, x, x

    def _compiled(self, condition):
        """The two functions as graphs for any batch size, made once for each kind of condition."""
        kinds = tuple(tf.TensorSpec([None, *c.shape[1:]], c.dtype) for c in condition)
        if kinds not in self._graphs:
            image, number = tf.TensorSpec([None, *self.shape], tf.float32), tf.TensorSpec([], tf.int32)
            self._graphs[kinds] = (
                tf.function(self._run, input_signature=[image, image, kinds, number, number, number]),
                tf.function(self._predict_x0, input_signature=[image, number, kinds]),
            )
        return self._graphs[kinds]


def trajectory(diffusion, x, *, seed=0, condition=None, chunk=CHUNK, x0=True, **options):
    """The way from noise to images, once, from ``x``: what :meth:`Sampler.run` yields.

    Args:
        diffusion: labutils.diffusion.Diffusion.
        x: where to start, shape (B, …), standard normal.
        seed, condition, chunk, x0: as in :meth:`Sampler.run`.
        options: further ones of :class:`Sampler`.

    Raises:
        ValueError: as :class:`Sampler` and :meth:`Sampler.run`, at the call.
    """
    diffusion.check_condition(condition, len(x))
    return Sampler(diffusion, x.shape[1:], **options).run(x, seed, condition, chunk, x0)


def sample(diffusion, count, shape=None, *, seed=0, condition=None, progress=True, **options):
    """Draw new images from noise.

    Args:
        diffusion, shape: as in :class:`Sampler`.
        count: number of images.
        seed: the same seed gives the same images on the same machine.
        condition: for a conditional network: labels (count,) or tokens (count, L).
        progress: show a progress bar.
        options: further ones of :class:`Sampler`: ``sampler``, ``steps``, ``constrain``, ``resample``.

    Returns:
        float32 array (count, H, W, C). Not clipped: values a little outside [-1, 1] are normal.

    Raises:
        ValueError: ``count`` < 1, a condition that :meth:`Sampler.run` refuses, or an argument that :class:`Sampler`
            refuses.
    """
    check_count("count", count)
    diffusion.check_condition(condition, count)
    sampler = Sampler(diffusion, shape, **options)
    finished = np.empty((count, *sampler.shape), np.float32)
    batches = math.ceil(count / BATCH)
    with progress_bar(batches * math.ceil(len(sampler.t) / CHUNK), f"drawing {count} images", not progress) as bar:
        for number in range(batches):
            part = slice(number * BATCH, min((number + 1) * BATCH, count))
            rng = np.random.default_rng([seed, number])  # each batch has other noise
            start = rng.standard_normal((part.stop - part.start, *sampler.shape), dtype=np.float32)
            shown = None if condition is None else condition[part]
            for t, state, _ in sampler.run(start, int(rng.integers(2**31)), shown, x0=False):
                finished[part] = state  # overwritten until the last state
                bar.update(t >= 0)
    return finished


def _narrow(condition):
    """Labels and tokens as int32, numbers as float32."""
    condition = np.asarray(condition)
    return condition.astype(np.int32 if np.issubdtype(condition.dtype, np.integer) else np.float32)
