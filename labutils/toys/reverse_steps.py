"""Lesson 2: the exact reverse steps of a diffusion model whose clean values are a few known numbers."""

import itertools

import numpy as np


def gaussian(x, mean, variance):
    """The density of a Gaussian at x; the arguments broadcast."""
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def reverse_density(grid, x_t, t, s, clean, alpha_bars):
    """q(x_s | x_t), s < t, at the values of a grid, if the clean value is one of a few equally probable numbers.

    Args:
        grid: values of x_s. x_t: one number. t, s: steps.
        clean: the clean values, shape (K,). alpha_bars: the table ᾱ.

    Returns:
        float64 array like ``grid``: the density, a mixture of K Gaussians.
    """
    weights, means, variance = reverse_mixture(x_t, t, s, clean, alpha_bars)
    return gaussian(np.asarray(grid)[..., None], means, variance) @ weights


def reverse_mixture(x_t, t, s, clean, alpha_bars):
    """The K Gaussians of :func:`reverse_density`, one for each clean value: what q(x_s | x_t, x_0) is (DDPM eq. 6, 7).

    Args:
        x_t: a number, or an array of any shape. t, s, clean, alpha_bars: as in :func:`reverse_density`.

    Returns:
        (weights, means, variance): the probability of each clean value, given x_t, and the mean of its Gaussian, both
        of the shape of x_t and K behind it; and their common variance.
    """
    kept = alpha_bars[t] / alpha_bars[s]  # of the variance of x_s, by the steps s + 1 … t
    x_t = np.asarray(x_t, np.float64)[..., None]
    logits = -((x_t - np.sqrt(alpha_bars[t]) * clean) ** 2) / (2 * (1 - alpha_bars[t]))
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    means = np.sqrt(kept) * (1 - alpha_bars[s]) * x_t + np.sqrt(alpha_bars[s]) * (1 - kept) * clean
    variance = (1 - alpha_bars[s]) * (1 - kept) / (1 - alpha_bars[t])
    return weights / weights.sum(axis=-1, keepdims=True), means / (1 - alpha_bars[t]), variance


def nearest_gaussian(grid, density):
    """The Gaussian with the mean and the variance of a density on an equally spaced grid, and how far it is from it.

    Returns:
        (values, distance): the Gaussian on the grid; half the area between the two curves (their total variation
        distance), from 0 (equal) to 1 (nothing in common).
    """
    grid, density = np.asarray(grid, np.float64), np.asarray(density, np.float64)
    width = grid[1] - grid[0]
    mean = np.sum(grid * density) * width
    values = gaussian(grid, mean, np.sum((grid - mean) ** 2 * density) * width)
    return values, 0.5 * np.sum(np.abs(values - density)) * width


def sample_by_gaussians(clean, alpha_bars, steps, count, seed=0):
    """Draw from noise back to s = 0, in a few steps. Each draws from one Gaussian, of the right mean and variance.

    Args:
        clean, alpha_bars: as in :func:`reverse_density`.
        steps: number of steps, equally long; at most T - 1.
        count: number of values. seed: of the noise.

    Returns:
        float64 array (count,).
    """
    rng = np.random.default_rng(seed)
    visited = np.linspace(len(alpha_bars) - 1, 0, steps + 1).round().astype(int)
    x = rng.standard_normal(count)
    for t, s in itertools.pairwise(visited):
        weights, means, variance = reverse_mixture(x, t, s, clean, alpha_bars)
        mean = np.sum(weights * means, axis=-1)
        spread = np.sum(weights * (means - mean[:, None]) ** 2, axis=-1)
        x = mean + np.sqrt(variance + spread) * rng.standard_normal(count)
    return x
