"""Checks of arguments that many functions share."""

import numpy as np


def check_count(name, value, low=1, high=None):
    """Return ``value``, or raise ``ValueError`` unless it is an integer from ``low`` to ``high``; True is none.

    Args:
        name: of the argument, for the message.
        value: what was passed.
        low, high: the smallest and the largest allowed value; ``high`` None for no limit.
    """
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not integer or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"in {low} … {high}"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}")
    return value
