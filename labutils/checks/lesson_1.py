"""Checks of lesson 1: the regression network, and all the inverses of sin."""

import numpy as np

from labutils.checks.feedback import Check, in_student_process, require, run
from labutils.checks.values import as_numbers, layer_names, layers_beyond
from labutils.toys.inversion import SPAN, inverses

check_build_mlp = Check(
    "1.1", "build_mlp", "``build_mlp(hidden)`` gives the network 1–hidden–1: ReLU inside, nothing at the end."
)
check_inverses = Check("1.2", "all_inverses", "``all_inverses(y)`` lists every x in [-2π, 2π] with sin x = y.")
GRID = np.linspace(-3, 3, 601, dtype=np.float32).reshape(-1, 1)


def layers_of_mlp(build_mlp):
    """The names of the layers of the student's network."""
    return layer_names(run(build_mlp, (4, 5)))


def _refuse_other_layers(build_mlp):
    name = layers_beyond(in_student_process(layers_of_mlp, build_mlp))
    require(name is None, f"your network contains {name}; the exercise asks for Dense and ReLU, and nothing else")


@check_build_mlp.property("the sizes of all layers are right")
def _(build_mlp, rng):
    _refuse_other_layers(build_mlp)
    for hidden, network in _networks(build_mlp):
        sizes = (1, *hidden, 1)
        expected = sum(a * b + b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        count = sum(np.size(w) for w in network.get_weights())
        name = "–".join(map(str, sizes))
        hint = "an extra layer" if count > expected else "a missing layer"
        require(
            count == expected,
            f"the network {name} has {expected} parameters, yours has {count}: look for {hint}. "
            f"{len(hidden)} hidden layer(s) means {len(hidden)} Dense before the output",
        )


@check_build_mlp.property("the output can be any number")
def _(build_mlp, rng):
    for _, network in _networks(build_mlp):
        outputs = [_curve(network, rng) for _ in range(12)]
        low, high = min(o.min() for o in outputs), max(o.max() for o in outputs)
        require(
            low < -0.01,
            "the output can never be negative, but half of all x are negative: remove the activation of the last layer",
        )
        require(high - low > 2.5, "the output is squeezed into a small range: remove the activation of the last layer")


@check_build_mlp.property("ReLU inside: straight pieces with bends")
def _(build_mlp, rng):
    _refuse_other_layers(build_mlp)
    for _, network in _networks(build_mlp):
        bends = []
        for _ in range(8):
            curve = _curve(network, rng)
            second = np.abs(np.diff(curve, 2))
            bends.append(np.mean(second > 1e-5 * max(np.abs(curve).max(), 1e-6)))
        require(
            max(bends) > 0,
            "your network is one straight line: without an activation between them, stacked layers "
            "are a single one. Use activation='relu' in the hidden layers",
        )
        require(
            max(bends) < 0.3,
            "the curve of your network bends smoothly; a ReLU network is made of straight "
            "pieces. Use activation='relu' in the hidden layers",
        )
        ends = np.ptp([_curve(network, rng, hidden_bias=-1000) for _ in range(3)])
        require(
            ends < 1e-3,
            "your hidden layers let something through where their input is negative, as LeakyReLU and ELU do; ReLU "
            "gives exactly 0 there. Use activation='relu' in the hidden layers",
        )
        slopes = np.ptp([_curve(network, rng, hidden_bias=1000) for _ in range(3)], axis=1)
        require(
            slopes.max() > 1e-2,
            "your hidden layers stop growing where their input is large, as ReLU6 does; ReLU has no upper limit. Use "
            "activation='relu' in the hidden layers",
        )


def _networks(build_mlp):
    """Yield the sizes of the hidden layers and the student's network, for one and for two layers."""
    for hidden in ((3,), (4, 5)):
        network = run(build_mlp, hidden)
        require(network is not None, "build_mlp returned None: is the `return` missing?")
        kind = type(network).__name__
        require(hasattr(network, "get_weights"), f"build_mlp should return only a keras.Model, got {kind}")
        x = as_numbers(run(network.predict_on_batch, GRID), what="the network's output")
        require(
            x.shape == GRID.shape,
            f"601 numbers in should give 601 numbers out, got shape {x.shape}: the last layer has one unit",
        )
        yield hidden, network


def _curve(network, rng, hidden_bias=None):
    """The outputs of the network for GRID, with new random weights.

    All vectors of weights are positive, because a variance of BatchNormalization must be. With a ``hidden_bias`` all
    hidden units have this bias, and the output has none.
    """
    weights = [rng.normal(size=w.shape).astype(np.float32) for w in network.get_weights()]
    for w in weights:
        if w.ndim == 1:
            w[:] = np.abs(w) if hidden_bias is None else hidden_bias * (w.size > 1)
    network.set_weights(weights)
    return as_numbers(run(network.predict_on_batch, GRID))[:, 0]


@check_inverses.property("every x returned is a solution in range")
def _(all_inverses, rng):
    for y in _heights(rng):
        _solutions(all_inverses, y)


@check_inverses.property("no solution is missing")
def _(all_inverses, rng):
    for y in _heights(rng):
        found, expected = _solutions(all_inverses, y), inverses(y)
        missing = [x for x in expected if np.min(np.abs(found - x)) > 1e-2]
        if missing:
            turns = (found - np.arcsin(y)) / (2 * np.pi)
            one_branch = len(found) <= 2 and np.allclose(turns, turns.round(), atol=1e-3)
            reason = "sin repeats every 2π: shift each solution by 2π both ways and keep what is in range"
            if one_branch:
                reason = "you have arcsin y and its shifts; sin also takes the value y at π − arcsin y"
            count = f"there are {len(expected)} solutions, you return {len(expected) - len(missing)} of them"
            require(False, f"for y = {y} {count}; missing: {np.round(missing, 3)}. {reason}")


def _heights(rng):
    return (rng.uniform(0.2, 0.95, 4) * (1, -1, 1, -1)).round(2).tolist()


def _solutions(all_inverses, y):
    found = as_numbers(run(all_inverses, y), what="the list of x")
    found = np.unique(found.ravel().round(5))
    require(found.size > 0, f"for y = {y} you return nothing; there are {len(inverses(y))} solutions")
    if found.size == 1 and np.isclose(found[0], np.sin(y), atol=1e-4):
        require(False, "x and y are swapped: you computed sin y. Look for x with sin x = y")
    require(
        np.allclose(np.sin(found), y, atol=1e-3),
        f"for y = {y}, sin x is not y for every x you return: {found}. The second branch is π − arcsin y",
    )
    require(np.all(np.abs(found) <= SPAN + 1e-4), f"for y = {y} you return x outside [-2π, 2π]: {found}")
    return found
