"""Checks of lesson 9: the straight path, Euler's method with a network that predicts x_0, and mean velocities."""

import numpy as np
import tensorflow as tf

from labutils.checks.feedback import Check, CheckFailed, require, run
from labutils.checks.values import StubNetwork, as_array, as_numbers, close, compare

check_straight_path = Check(
    "9.1",
    "straight_path",
    "``straight_path(x0, noise, tau)`` is (x_τ, u): the point of the straight path at τ, and the velocity there.",
)
check_flow_sampler = Check(
    "9.2",
    "flow_sampler",
    "``flow_sampler(network, x, taus)`` walks from noise to images; ``network([x_τ, τ])`` gives x̂_0.",
)
check_mean_velocity_target = Check(
    "9.3",
    "mean_velocity_target",
    "``mean_velocity_target(u, slope, r, tau)``: the mean velocity from r to τ, from u and dū/dτ.",
)


def _pair(answer):
    """Place and velocity, as the student returned them."""
    two = "return two things: the place x_τ, then the velocity u"
    try:
        place, velocity = answer
    except (TypeError, ValueError) as error:
        raise CheckFailed(two) from error
    return place, velocity


@check_straight_path.property("x_τ is the image at τ = 0, the noise at τ = 1, and between them a straight line")
def _(straight_path, rng):
    x0, noise = rng.standard_normal((2, 4, 3, 3, 1)).astype(np.float32)
    for tau in (0.0, 1.0, 0.25):
        place, _ = _pair(run(straight_path, x0, noise, tau))
        mistakes = {
            "the path is upside down: τ = 0 is the image, τ = 1 the noise": tau * x0 + (1 - tau) * noise,
            "that is the path of diffusion, with roots: √(1−τ) and √τ": np.sqrt(1 - tau) * x0 + np.sqrt(tau) * noise,
            "the factor of the image is missing: it should fall to 0": x0 + tau * noise,
            "the factor of the noise is missing: it should grow from 0": (1 - tau) * x0 + noise,
            "you return the velocity first: the place x_τ comes first": noise - x0,
        }
        compare(place, (1 - tau) * x0 + tau * noise, mistakes, "x_τ should be (1−τ)·x_0 + τ·ε", what="x_τ")


@check_straight_path.property("x moves with u: x_τ + h·u is the point at τ + h")
def _(straight_path, rng):
    x0, noise = rng.standard_normal((2, 4, 3, 3, 1)).astype(np.float32)
    place, velocity = _pair(run(straight_path, x0, noise, 0.375))
    place = as_numbers(place, x0.shape, "x_τ")
    mistakes = {
        "u points to the image; x moves to the noise as τ grows": x0 - noise,
        "u is the change of x for one unit of τ: it does not depend on τ": 0.375 * (noise - x0),
        "u is not the noise: x also loses the image on its way": noise,
        "u should be a velocity; you return the place": place,
        "u is not v of lesson 7: that belongs to the path with roots": np.sqrt(0.625) * noise - np.sqrt(0.375) * x0,
    }
    compare(velocity, noise - x0, mistakes, "x_τ + h·u is not the point at τ + h", what="u")


def _oracle(images, calls=None):
    """A network that knows the images of a batch: it answers them, whatever it is given."""

    def look(x, tau):
        if calls is not None:
            calls.append((as_array(x), as_array(tau)))

    shapes = [(None, *images.shape[1:]), (None, 1)]
    return StubNetwork(lambda x, tau: tf.constant(images), shapes, look)


@check_flow_sampler.property("with a network that knows the image, any number of steps ends at this image")
def _(flow_sampler, rng):
    images, x = rng.standard_normal((2, 3, 4, 4, 1)).astype(np.float32)
    for taus in (np.array([1.0, 0.0]), np.linspace(1, 0, 5), np.array([1.0, 0.9, 0.3, 0.0])):
        found = run(flow_sampler, _oracle(images), x, taus)
        whole = len(taus) == 2
        mistakes = {
            "x is still the noise: nothing moved": x,
            "you walk away from the image: τ falls, so the step τ' − τ is negative": x + (x - images) if whole else x,
        }
        compare(found, images, mistakes, _where_it_ends(found, x, images, taus), what="the result")


def _where_it_ends(found, x, images, taus):
    """The sentence for a walk that does not end at the image."""
    answer = as_numbers(found, x.shape)
    ways = {
        "u = x_τ − x̂_0 is the way that is left, not the velocity: it takes τ to go there": lambda x, x0, a, b: (
            x + (b - a) * (x - x0)
        ),
        "you divide the way x_τ − x̂_0 by another number than the time that is left": lambda x, x0, a, b: (
            x + (b - a) * (x - x0) / max(1 - a, 1e-3)
        ),
        "you divide by the next τ: the velocity belongs to the τ where the step begins": lambda x, x0, a, b: (
            x + (b - a) * (x - x0) / max(b, 1e-3)
        ),
        "the step has the wrong sign: τ falls, so it is τ' − τ": lambda x, x0, a, b: x + (a - b) * (x - x0) / a,
        "you step by τ, not by the difference of two τ": lambda x, x0, a, b: x - a * (x - x0) / a,
    }
    for sentence, way in ways.items():
        state = x
        for tau, following in zip(taus[:-1], taus[1:], strict=True):
            state = way(state, images, tau, following)
        if len(taus) > 2 and close(answer, state):
            return sentence
    state = x
    for tau, following in zip(taus[:-2], taus[1:-1], strict=True):
        state = state + (following - tau) * (state - images) / tau
    if len(taus) > 2 and close(answer, state):
        return "the last step is missing: it ends at τ = 0"
    return "the walk should end at the image that the network knows: how far is x_τ from x̂_0, and how much time is left"


@check_flow_sampler.property("the network is called once a step, at x_τ and at its τ")
def _(flow_sampler, rng):
    images, x = rng.standard_normal((2, 3, 4, 4, 1)).astype(np.float32)
    taus, calls = np.array([1.0, 0.7, 0.2, 0.0]), []
    run(flow_sampler, _oracle(images, calls), x, taus)
    require(len(calls) > 0, "your function never calls the network")
    given = [float(np.mean(tau)) for _, tau in calls]
    require(not np.isclose(given[-1], 0), "the network is called at τ = 0, where the walk has ended")
    require(len(calls) == 3, f"three steps need three calls of the network, you call it {len(calls)} times")
    reverse = np.allclose(given, 1 - taus[:-1], atol=1e-4)
    require(not reverse, "the network gets 1 − τ: it should get τ itself, 1 at the noise")
    require(np.allclose(given, taus[:-1], atol=1e-4), "the network should get the τ at which the step begins")
    for tau, (state, _) in zip(taus, calls, strict=False):
        right = (1 - tau) * images + tau * x
        require(close(state, right, 1e-2), f"at τ = {tau:g} the network does not get the state x_τ of your walk")


@check_flow_sampler.property("a network that changes its mind bends the path")
def _(flow_sampler, rng):
    x = rng.standard_normal((3, 4, 4, 1)).astype(np.float32)
    network = StubNetwork(lambda x, tau: 0.5 * x + tau[:, :, None, None], [(None, 4, 4, 1), (None, 1)])
    taus, state = np.array([1.0, 0.6, 0.5, 0.1, 0.0]), x.astype(np.float64)
    for tau, following in zip(taus[:-1], taus[1:], strict=True):
        state = state + (following - tau) * (state - 0.5 * state - tau) / tau
    compare(run(flow_sampler, network, x, taus), state, {}, "the steps should use the new x̂_0 of each call")


def _gaussian(rng):
    """Data N(0, s²), where all is known: u, dū/dτ, r, τ and ū at some states, float64 (50, 1)."""
    s, x = 0.5, rng.standard_normal((50, 1))
    r, tau = np.sort(rng.uniform(0.1, 0.95, (2, 50, 1)), axis=0)

    def width(tau):
        return np.sqrt(((1 - tau) * s) ** 2 + tau**2)  # x_τ is N(0, width²), and the flow only rescales it

    def mean(x, tau):
        return x * (1 - width(r) / width(tau)) / (tau - r)

    def velocity(x, tau):
        return x * (tau - (1 - tau) * s**2) / width(tau) ** 2

    u, h = velocity(x, tau), 1e-4
    slope = (mean(x + h * u, tau + h) - mean(x - h * u, tau - h)) / (2 * h)
    return *(part.astype(np.float32) for part in (u, slope, r, tau)), mean(x, tau)


@check_mean_velocity_target.property("for normally distributed data it is the mean velocity, which is known there")
def _(mean_velocity_target, rng):
    u, slope, r, tau, right = _gaussian(rng)
    mistakes = {
        "the sign of the slope is wrong: differentiate (τ − r)·ū, and bring the slope to the other side": (
            u + (tau - r) * slope
        ),
        "the factor τ − r is missing": u - slope,
        "the factor is the length of the step, τ − r, not τ": u - tau * slope,
        "the factor is the length of the step, τ − r, not r": u - r * slope,
        "that divides by τ − r; the product rule gives a factor": u - slope / (tau - r),
        "that is the velocity at τ, not the mean over the step": u,
        "that is the slope alone": slope,
        "u and the slope have changed places": slope - (tau - r) * u,
        "½ is the rule for a constant slope of u; the slope here is that of ū": u - 0.5 * (tau - r) * slope,
    }
    otherwise = "x_τ − (τ − r)·ū should be x_r. Differentiate (τ − r)·ū = ∫ u with respect to τ"
    compare(run(mean_velocity_target, u, slope, r, tau), right, mistakes, otherwise)


@check_mean_velocity_target.property("for a step of no length it is the velocity", alone=False)
def _(mean_velocity_target, rng):
    u, slope = rng.standard_normal((2, 20, 1), np.float32)
    tau = rng.uniform(0.1, 0.9, (20, 1)).astype(np.float32)
    compare(run(mean_velocity_target, u, slope, tau, tau), u, {}, "with r = τ the mean velocity is the velocity u")
