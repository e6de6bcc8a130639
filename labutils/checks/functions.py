"""Checks of lesson 1: the regression network, and all the inverses of sin."""

import numpy as np

from labutils.checks.feedback import as_numbers, passed, require, run
from labutils.inversion import SPAN, inverses


def check_build_mlp(build_mlp):
    """``build_mlp(hidden)`` gives the network 1–hidden–1: ReLU inside, nothing at the end."""
    for hidden in ((3,), (4, 5)):
        network = run(build_mlp, hidden)
        require(hasattr(network, "count_params"), "build_mlp should return a keras.Model: is the `return` missing?")
        sizes = (1, *hidden, 1)
        expected = sum(a * b + b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        y = np.linspace(-3, 3, 601, dtype=np.float32).reshape(-1, 1)
        x = as_numbers(run(network.predict_on_batch, y), what="the network's output")
        require(x.shape == (601, 1), f"601 numbers in should give 601 numbers out, got shape {x.shape}: the last layer "
                "has one unit")  # fmt: skip
        count = network.count_params()
        name = "–".join(map(str, sizes))
        hint = "an extra layer" if count > expected else "a missing layer"
        require(count == expected, f"the network {name} has {expected} parameters, yours has {count}: look for {hint}. "
                f"{len(hidden)} hidden layer(s) means {len(hidden)} Dense before the output")  # fmt: skip
        _require_free_output(network, y)
        _require_relu_inside(network)
    passed("build_mlp")


def _with_random_weights(network, seed):
    rng = np.random.default_rng(seed)
    network.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in network.get_weights()])
    return network


def _require_relu_inside(network):
    # A ReLU network is made of straight pieces: bent somewhere, but straight almost everywhere.
    y = np.linspace(-3, 3, 601, dtype=np.float32).reshape(-1, 1)
    bends = []
    for seed in range(8):
        curve = as_numbers(_with_random_weights(network, seed).predict_on_batch(y))[:, 0]
        second = np.abs(np.diff(curve, 2))
        bends.append(np.mean(second > 1e-5 * max(np.ptp(curve), 1e-6)))
    require(max(bends) > 0, "your network is one straight line: without an activation between them, stacked layers "
            "are a single one. Use activation='relu' in the hidden layers")  # fmt: skip
    require(max(bends) < 0.3, "the curve of your network bends smoothly; a ReLU network is made of straight pieces. "
            "Use activation='relu' in the hidden layers")  # fmt: skip


def _require_free_output(network, y):
    outputs = [as_numbers(_with_random_weights(network, seed).predict_on_batch(y)) for seed in range(12)]
    low, high = min(o.min() for o in outputs), max(o.max() for o in outputs)
    require(low < -0.01, "the output can never be negative, but half of all x are: leave the activation of the last "
            "layer away")  # fmt: skip
    require(high - low > 2.5, "the output is squeezed into a small range: leave the activation of the last layer away")


def check_inverses(all_inverses):
    """``all_inverses(y)`` lists every x in [-2π, 2π] with sin x = y."""
    for y in (0.5, -0.3, 0.9, -0.75):
        found = as_numbers(run(all_inverses, y), what="the list of x")
        found = np.unique(found.ravel().round(5))
        require(found.size > 0, f"for y = {y} you return nothing; there are {len(inverses(y))} solutions")
        if found.size == 1 and np.isclose(found[0], np.sin(y), atol=1e-4):
            require(False, "x and y are swapped: you computed sin y. Look for x with sin x = y")
        require(np.allclose(np.sin(found), y, atol=1e-3), f"for y = {y}, sin x is not y for every x you return: "
                f"{found}. The second branch is π − arcsin y")  # fmt: skip
        require(np.all(np.abs(found) <= SPAN + 1e-4), f"for y = {y} you return x outside [-2π, 2π]: {found}")
        expected = inverses(y)
        missing = [x for x in expected if np.min(np.abs(found - x)) > 1e-2]
        if missing:
            one_branch = len(found) <= 2 and np.allclose((found - np.arcsin(y)) % (2 * np.pi), 0, atol=1e-3)
            reason = "sin repeats every 2π: shift each solution by 2π both ways and keep what is in range"
            if one_branch:
                reason = "you have arcsin y and its shifts; sin also takes the value y at π − arcsin y"
            count = f"there are {len(expected)} solutions, you return {len(expected) - len(missing)} of them"
            require(False, f"for y = {y} {count}; missing: {np.round(missing, 3)}. {reason}")
    passed("all_inverses")
