"""Messages between the judge and the process that runs a student's code, packed by msgpack.

No side trusts the other: nothing is unpickled, sizes and counts are limited, and only numbers become arrays.
"""

import re
import struct

import msgpack
import numpy as np

MOST_BYTES = 4 * 2**20  # of one message; the largest honest message has about 1 MB
MOST_ITEMS = 200_000  # in all its lists and dicts together: each needs far more memory than its bytes
STRANGE = 1000  # items that a value of an unknown type counts for: it needs much memory
HEAD = struct.Struct(">I")  # number of bytes that follow
ARRAY, TUPLE, SPECIAL, OTHER = range(4)  # kinds of values that msgpack does not know


class BrokenMessage(Exception):
    """The received bytes are not a message."""


class TooLarge(ValueError):
    """A value that is too large to be sent."""


def send(stream, message, special=None):
    """Write one message.

    Args:
        stream: binary, open for writing.
        message: value of plain Python types and arrays.
        special: None, or a function that turns another object into a dict that can be sent, or returns None. Without a
            dict only the name of its type is sent.

    Raises:
        TooLarge: it has more than MOST_BYTES.
        ValueError, RecursionError: it contains itself.
    """
    text = _pack(message, special)
    if len(text) > MOST_BYTES:
        raise TooLarge(f"the answer has {len(text):,} bytes; {MOST_BYTES:,} can be sent")
    stream.write(HEAD.pack(len(text)) + text)
    stream.flush()


def receive(stream, special=None):
    """Read one message. Returns None at the end of the stream.

    Args:
        stream: binary, open for reading.
        special: None, or a function that turns the dict of a special value into the value. None refuses such values.

    Raises:
        BrokenMessage: it is cut short, too large, or not in the format of :func:`send`.
    """
    head = stream.read(HEAD.size)
    if not head:
        return None
    if len(head) < HEAD.size or HEAD.unpack(head)[0] > MOST_BYTES:
        raise BrokenMessage("not the head of a message")
    text = stream.read(HEAD.unpack(head)[0])
    if len(text) < HEAD.unpack(head)[0]:
        raise BrokenMessage("cut short")
    try:
        return _unpack(text, special, [0])
    except Exception as error:  # msgpack, NumPy and the code below raise many types for bytes that are no message
        raise BrokenMessage(f"{type(error).__name__}: {error}"[:200]) from error


def _pack(value, special):
    def other(value):
        """What msgpack cannot pack: all but plain values, and integers of more than 64 bits."""
        if isinstance(value, list | dict):
            return list(value) if isinstance(value, list) else dict(value)
        if isinstance(value, tuple):
            return msgpack.ExtType(TUPLE, _pack(list(value), special))
        if special is not None and (known := special(value)) is not None:
            return msgpack.ExtType(SPECIAL, _pack(known, special))
        if (array := _as_array(value)) is not None:
            about = _pack([array.dtype.str, list(array.shape)], None)
            return msgpack.ExtType(ARRAY, HEAD.pack(len(about)) + about + array.tobytes())
        return msgpack.ExtType(OTHER, type(value).__name__[:80].encode())

    return msgpack.packb(value, default=other, strict_types=True, unicode_errors="surrogatepass")


def _as_array(value):
    """A plain array of numbers in little-endian order, or None."""
    from labutils.checks.values import as_array

    try:
        array = as_array(value)
    except TypeError:
        return None
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _unpack(text, special, count):
    def counted(items):
        count[0] += len(items)
        if count[0] > MOST_ITEMS:
            raise ValueError("too many values")
        return items

    def known(kind, content):
        counted([content])
        if kind == TUPLE:
            return tuple(_unpack(content, special, count))
        if kind == SPECIAL and special is not None:
            return special(_unpack(content, special, count))
        if kind == OTHER:
            counted(range(STRANGE))
            return type(re.sub(r"\W+", "_", content.decode())[:40], (), {})()  # one word: no sentence of its own
        if kind != ARRAY:
            raise ValueError(f"unknown kind {kind}")
        size = HEAD.unpack_from(content)[0] + HEAD.size
        dtype, shape = _unpack(content[HEAD.size : size], None, count)
        if np.dtype(dtype).kind not in "biuf" or len(shape) > 16:
            raise ValueError("not an array of numbers")
        return np.frombuffer(content[size:], dtype).reshape([int(n) for n in shape if n >= 0]).copy()

    return msgpack.unpackb(
        text,
        ext_hook=known,
        list_hook=counted,
        object_pairs_hook=lambda pairs: dict(counted(pairs)),
        max_array_len=MOST_ITEMS,
        max_map_len=MOST_ITEMS,
        unicode_errors="surrogatepass",
    )
