"""The switch of every lesson: its sizes, and a SEED that all of a lesson can use."""

import numpy as np
import pytest

from labutils import presets


@pytest.mark.parametrize("seed", [-1, 2**32, 2**31, 1.5, 3.0, "0", None, True, np.int64(3)])
def test_a_bad_seed_is_refused_in_a_sentence(seed):
    with pytest.raises(ValueError, match=r"^SEED must be an integer from 0 to 2147483647, got "):
        presets.get("smoke", seed)


@pytest.mark.parametrize("seed", [0, 20261128, 2**31 - 1])
def test_a_good_seed_is_taken(seed):
    assert presets.get("smoke", seed) is presets.get("smoke")


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'fast', known: smoke, quick, full"):
        presets.get("fast")
