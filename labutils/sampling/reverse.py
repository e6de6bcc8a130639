"""The reverse process, from noise to images, as the papers have it: plain Python, one line for each line.

``compiled`` has the same loop as one graph, which is many times faster.
"""

import numpy as np
from keras import ops

from labutils.networks import network_time, target_of
from labutils.samplers import make_table
from labutils.schedule import at, check_same_shape


def ancestral_sampling(network, schedule, x, rng):
    """Algorithm 2 of the DDPM paper.

    Args:
        network: callable of [x_t (B, …), t/T (B, 1)] that predicts the noise.
        schedule: labutils.schedule.NoiseSchedule.
        x: x_T, standard normal, (B, …).
        rng: NumPy generator for the noise z.

    Returns:
        x_0, a tensor of the shape of ``x``.

    Raises:
        ValueError: the network was trained to predict something else than the noise.
    """
    target_of(network, "noise")
    x = ops.convert_to_tensor(x, "float32")
    for t in reversed(range(schedule.T)):
        z = rng.standard_normal(x.shape, dtype=np.float32)
        predicted_noise = network([x, network_time(np.full(len(x), t), schedule.T)])
        x = reverse_step(schedule, x, t, predicted_noise, z)
    return x


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


def table_sampling(network, schedule, x, rng, *, sampler="ddim", steps=None, target=None):
    """The loop that all samplers share: x ← a·x + b·x̂_0 + c·x̂_0' + σ·z, see :class:`labutils.samplers.Table`.

    Args:
        network, schedule, x, rng: as in :func:`ancestral_sampling`.
        sampler: a key of SAMPLERS.
        steps: number of steps, 1 … T; None for all T.
        target: what the network predicts, as in :class:`labutils.sampling.Sampler`.

    Returns:
        x_0, a tensor of the shape of ``x``.

    Raises:
        ValueError: unknown sampler, a bad number of steps, or another target than the network's own.
    """
    table, target = make_table(schedule, sampler, steps), target_of(network, target)
    x, previous = ops.convert_to_tensor(x, "float32"), 0.0
    for t, a, b, c, sigma in table.rows():
        z = rng.standard_normal(x.shape, dtype=np.float32)
        output = network([x, network_time(np.full(len(x), t), schedule.T)])
        x0 = schedule.guess_x0(x, t, output, target)
        x = a * x + b * x0 + c * previous + sigma * z
        previous = x0
    return x


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
