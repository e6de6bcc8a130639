"""What checks do with the values that answers return; test_feedback judges the table of answers."""

from decimal import Decimal
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from labutils import checks
from labutils.checks.feedback import run
from labutils.checks.values import StubNetwork, as_array, gathered
from labutils.schedule import linear_schedule


@pytest.mark.parametrize("name", [n for n in checks.__all__ if n.startswith("check_")])
def test_nonsense_fails(name):
    for answer in (None, "text", np.nan, [], {}):
        with pytest.raises(checks.CheckFailed):
            getattr(checks, name)(lambda *arguments, answer=answer: answer)


class Arraylike:
    """Says of itself that it is an array."""

    def __init__(self, content):
        self.content = content

    def __array__(self, *arguments, **options):
        return self.content()


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2], np.longdouble),
        [Fraction(1), Fraction(2)],
        (Decimal("1"), 2),
        np.array([1, 2], object),
        [np.array(1, object), np.float32(2)],
        tf.Variable([1.0, 2.0]),
        keras.Variable([1.0, 2.0]),
        [tf.constant(1.0), keras.Variable(2.0)],
        tf.constant([1, 2], tf.bfloat16),
        Arraylike(lambda: np.array([1, 2])),
        [True, 2],
    ],
)
def test_all_kinds_of_numbers_are_numbers(value):
    array = as_array(value)
    assert type(array) is np.ndarray and array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
    assert array.tolist() == [1, 2] and not (isinstance(value, np.ndarray) and np.shares_memory(array, value))


def test_integers_of_any_size_are_numbers():
    assert as_array([2**70, 1]).tolist() == [2.0**70, 1] and as_array(10**400) == np.inf


@pytest.mark.parametrize(
    "value",
    [
        "5",
        ["1", "2"],
        np.array(["1"], object),
        b"5",
        None,
        [1.0, None],
        1j,
        np.array([1j], object),
        [[1], [1, 2]],
        {},
        lambda: 1,
        np.zeros(2, [("a", float)]),
        Arraylike(lambda: 1 / 0),
        Arraylike(lambda: "text"),
        Arraylike(lambda: np.array(["1"])),
    ],
)
def test_other_things_are_no_numbers(value):
    with pytest.raises(TypeError, match="is no array of numbers"):
        as_array(value)


def test_a_long_list_is_one_array_and_a_few_things_stay_apart():
    assert gathered([[np.float32(1)] * 1000] * 100).shape == (100, 1000)
    assert gathered([[np.float32(1)] * 1000] * 2)[1].shape == (1000,)
    one, many = gathered((0.5, [1, 2]))
    assert one == 0.5 and many.tolist() == [1, 2]


def test_a_function_gets_copies():
    def write(array, arrays, schedule):
        array[:] = arrays[0][:] = schedule.betas[:] = 7

    given = np.ones(3), [np.ones(3)], linear_schedule(3, 0.1, 0.2)
    run(write, *given)
    assert given[0].tolist() == given[1][0].tolist() == [1, 1, 1] and given[2].betas[0] == 0.1


def test_a_stub_network_has_what_people_read_of_a_network(capsys):
    network = StubNetwork(lambda x, time: x, [(None, 4, 4, 1), (None, 1)])
    assert network.input_shape[0][1:] == (4, 4, 1) and network.trainable_variables == network.trainable_weights == []
    network.summary()
    assert network.name and "(None, 4, 4, 1)" in capsys.readouterr().out


@pytest.mark.parametrize("name", [n for n in checks.__all__ if n.startswith("check_")])
def test_images_and_inputs_of_networks_are_float32(name):
    """As in the lessons. Tables, β and single numbers may be float64."""
    seen = []

    def answer(*arguments):
        seen.extend(a for a in arguments if isinstance(a, np.ndarray) and a.ndim > 1)
        raise ValueError

    for each in getattr(checks, name).properties:
        with pytest.raises(checks.CheckFailed):
            each.test(answer, np.random.default_rng(0))
    assert not [a.dtype for a in seen if a.dtype.kind == "f" and a.dtype != np.float32]
