"""Messages between the judge and the process that runs a student's code: JSON, then the bytes of the arrays.

No side trusts the other: nothing is unpickled, sizes are limited, and only numbers become arrays.
"""

import json
import struct

import numpy as np

MOST_BYTES = 64 * 2**20  # of one message; the largest honest message has about 1 MB
# Bytes of its JSON. Parsed JSON needs forty times as much memory. An honest array, sent as lists, has a few MB.
MOST_TEXT = 16 * 2**20
MOST_KINDS = 100  # types of objects that cannot be sent; the receiver makes a Python type for each
HEAD = struct.Struct(">II")  # number of bytes of the JSON, and of the arrays


class BrokenMessage(Exception):
    """The received bytes are not a message."""


def send(stream, message, special=None):
    """Write one message.

    Args:
        stream: binary, open for writing.
        message: value for :func:`pack`.
        special: as in :func:`pack`.
    """
    arrays = []
    text = json.dumps(pack(message, arrays, special)).encode()
    body = b"".join(array.tobytes() for array in arrays)
    stream.write(HEAD.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream, special=None):
    """Read one message. Returns None at the end of the stream.

    Args:
        stream: binary, open for reading.
        special: as in :func:`unpack`.

    Raises:
        BrokenMessage: it is cut short, too large, or not in the format of :func:`send`.
    """
    head = stream.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size or sum(sizes := HEAD.unpack(head)) > MOST_BYTES or sizes[0] > MOST_TEXT:
        raise BrokenMessage("not the head of a message")
    text, body = (stream.read(size) for size in sizes)
    if (len(text), len(body)) != sizes:
        raise BrokenMessage("cut short")
    try:
        return unpack(json.loads(text), body, special)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, MemoryError) as error:
        raise BrokenMessage(f"{type(error).__name__}: {error}") from error


def pack(value, arrays, special=None):
    """Make a value that JSON can store: a list, tuple, dict or array becomes a dict with one key, its kind.

    Args:
        value: anything.
        arrays: list to which the arrays are added.
        special: None, or a function that turns an object into a dict of packable values, or returns None. It is not
            called for plain values, lists, tuples and dicts. If it returns None and the value is not an array, only
            the name of the type is sent.
    """
    if value is None or isinstance(value, bool | str) or type(value) in (int, float):
        return value
    if isinstance(value, list | tuple):
        return {
            type(value).__name__ if type(value) in (list, tuple) else "list": [pack(v, arrays, special) for v in value]
        }
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(v, arrays, special) for key, v in value.items()}}
    if special is not None and (known := special(value)) is not None:
        return {"special": {key: pack(v, arrays, special) for key, v in known.items()}}
    array = _as_array(value)
    if array is None:
        return {"other": type(value).__name__}
    arrays.append(array)
    return {"array": {"dtype": array.dtype.str, "shape": array.shape}}


def _as_array(value):
    """A plain array of numbers in little-endian order, or None."""
    try:
        array = np.array(value)  # a copy as plain ndarray, also of tensors, NumPy scalars and subclasses
    except Exception:  # a foreign object may raise anything here
        return None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return None
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def unpack(packed, body, special=None):
    """The value that :func:`pack` was given.

    Args:
        packed: the parsed JSON.
        body: bytes of the arrays, in order.
        special: None, or a function that turns the dict of a special value into the value. With None, special values
            are refused.

    Raises:
        ValueError, KeyError, TypeError, …: ``packed`` is not what :func:`pack` makes; see :func:`receive`.
    """
    rest, strangers = memoryview(body), {}

    def value_of(packed):
        nonlocal rest
        if not isinstance(packed, dict):
            if packed is not None and not isinstance(packed, bool | str | int | float):
                raise ValueError("a list outside a dict")
            return packed
        ((kind, content),) = packed.items()
        if kind in ("list", "tuple"):
            return {"list": list, "tuple": tuple}[kind](value_of(item) for item in content)
        if kind == "dict":
            return {key: value_of(item) for key, item in content.items()}
        if kind == "other":
            name = str(content)[:80]
            if name not in strangers:
                if len(strangers) == MOST_KINDS:
                    raise ValueError("objects of too many kinds")
                strangers[name] = type(name, (), {})()
            return strangers[name]
        if kind == "special" and special is not None:
            return special({key: value_of(item) for key, item in content.items()})
        if kind != "array":
            raise ValueError(f"unknown kind {kind}")
        dtype, shape = np.dtype(content["dtype"]), tuple(content["shape"])
        if dtype.kind not in "biuf" or not all(isinstance(n, int) and n >= 0 for n in shape) or len(shape) > 16:
            raise ValueError("not an array of numbers")
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if size > len(rest):
            raise ValueError("an array is longer than its bytes")
        part, rest = rest[:size], rest[size:]
        return np.frombuffer(part, dtype).reshape(shape).copy()

    return value_of(packed)
