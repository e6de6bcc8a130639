"""Flow matching: the straight path from an image to noise, its velocity, and Euler's method back.

τ grows from 0, the image, to 1, the noise: x_τ = (1−τ) x_0 + τ ε. Its velocity is u = ε − x_0.

Sources: Lipman et al. 2022, https://arxiv.org/abs/2210.02747; Liu et al. 2022, https://arxiv.org/abs/2209.03003. Both
count time the other way.
"""

import itertools

import numpy as np
from keras import ops


def straight_path(x0, noise, tau):
    """A point of the straight path, and the velocity there.

    Args:
        x0: images or points (B, …). noise: ε, shape of ``x0``.
        tau: τ in [0, 1], one number or (B,).

    Returns:
        (x_τ, u): (1−τ) x_0 + τ ε, and ε − x_0, which is what a flow network learns to predict from x_τ and τ.
    """
    tau = np.reshape(tau, (-1,) + (1,) * (np.ndim(x0) - 1))
    return (1 - tau) * x0 + tau * noise, noise - x0


def flow_sampler(network, x, taus):
    """Euler's method along the straight path, with any network that predicts the clean image.

    Args:
        network: callable of [x_τ (B, …), τ (B, 1)] → x̂_0, such as :func:`on_straight_path`.
        x: where to start, (B, …), standard normal.
        taus: decreasing, from 1 to 0; one call of the network for each but the last.

    Returns:
        The state at the last τ.
    """
    for tau, next_tau in itertools.pairwise(taus):
        x0 = network([x, np.full((len(x), 1), tau, np.float32)])
        u = (x - x0) / tau  # because x_τ = x_0 + τ u
        x = x + (next_tau - tau) * u
    return x


def on_straight_path(diffusion, condition=None):
    """A diffusion model, read as a flow.

    x_τ is a noisy image of the diffusion model but for a factor: divided by √((1−τ)² + τ²), it is x_t at the step with
    the same SNR.

    Args:
        diffusion: labutils.diffusion.Diffusion. condition: for each image, as in its ``predict_x0``.

    Returns:
        Function [x_τ (B, …), τ (B, 1)] → x̂_0.
    """

    def predict_x0(inputs):
        x, tau = (ops.convert_to_tensor(value, "float32") for value in inputs)
        tau = np.asarray(tau)[:, 0]
        norm = np.sqrt((1 - tau) ** 2 + tau**2).reshape(-1, *[1] * (len(x.shape) - 1))
        return diffusion.predict_x0(x / norm, diffusion.schedule.t_of(tau), condition)

    return predict_x0


def mean_velocity_target(u, slope, r, tau):
    """What a network of mean velocities should answer: u − (τ − r) dū/dτ (Geng et al. 2025, arXiv:2505.13447, eq. 10).

    The mean velocity ū(x_τ, r, τ) leads from x_τ to x_r in one step: x_r = x_τ − (τ − r) ū. So (τ − r) ū is the
    integral of u from r to τ. Its derivative with respect to τ gives the formula.

    Args:
        u: the velocity at x_τ. slope: dū/dτ along the path, shape of ``u``.
        r, tau: where the step ends and where it begins; numbers, or arrays that multiply ``u``.
    """
    return u - (tau - r) * slope
