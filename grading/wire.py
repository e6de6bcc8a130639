"""How values travel between the judge and the process that runs a student's code: JSON, with arrays as bytes beside it.

Neither side trusts what it receives: nothing is unpickled, sizes are bounded, and only numbers become arrays.
"""

import json
import struct

import numpy as np

MOST_BYTES = 64 * 2**20  # of one message; the largest honest one has about 1 MB
HEAD = struct.Struct(">II")  # bytes of JSON, bytes of arrays


class BrokenMessage(Exception):
    """What came is no message."""


def send(stream, message, special=None):
    """Write one message.

    Args:
        stream: binary, open for writing.
        message: what :func:`pack` takes.
        special: as in :func:`pack`.
    """
    arrays = []
    text = json.dumps(pack(message, arrays, special)).encode()
    body = b"".join(array.tobytes() for array in arrays)
    stream.write(HEAD.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream, special=None):
    """Read one message; None at the end of the stream.

    Args:
        stream: binary, open for reading.
        special: as in :func:`unpack`.

    Raises:
        BrokenMessage: cut short, too large, or not what :func:`send` writes.
    """
    head = stream.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size or sum(sizes := HEAD.unpack(head)) > MOST_BYTES:
        raise BrokenMessage("not the head of a message")
    text, body = (stream.read(size) for size in sizes)
    if (len(text), len(body)) != sizes:
        raise BrokenMessage("cut short")
    try:
        return unpack(json.loads(text), body, special)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, MemoryError) as error:
        raise BrokenMessage(f"{type(error).__name__}: {error}") from error


def pack(value, arrays, special=None):
    """A value as JSON: each list, tuple, dict and array becomes a dict with one key that says what it is.

    Args:
        value: anything.
        arrays: list to which the arrays are added.
        special: None, or a function that turns a value into a dict of packable values, or returns None. It is asked
            about what is neither plain nor an array; what it does not know travels as the name of its type.
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
        array = np.array(value)  # a base-class copy: tensors, NumPy's own numbers, subclasses
    except Exception:  # whatever a foreign object raises when it is asked for its numbers
        return None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        return None
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def unpack(packed, body, special=None):
    """The value that :func:`pack` was given.

    Args:
        packed: what came as JSON.
        body: bytes of the arrays, in order.
        special: None, or a function that takes the dict of a special value and returns it; else it is refused.
    """
    rest = memoryview(body)

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
            return type(str(content)[:80], (), {})()
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
