"""Reading the cells of a notebook: what is read of it, and no file that takes all of the memory."""

import json
import tracemalloc

import pytest

from grading.cells import Unreadable, read_cells

BOOK = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {%s}, "cells": [%s]}'
CELL = '{"cell_type": "code", "id": "a", "metadata": {%s}, "source": [%s], "execution_count": null, "outputs": [%s]}'


def many(item, size):
    return ",".join([item] * (size // (len(item) + 1)))


SHAPES = {
    "empty outputs": lambda size: BOOK % ("", CELL % ("", "", many("{}", size))),
    "outputs with a text": lambda size: BOOK % ("", CELL % ("", "", many('{"text":""}', size))),
    "empty cells": lambda size: BOOK % ("", many("{}", size)),
    "metadata": lambda size: BOOK % (f'"a": [{many("[{}]", size)}]', ""),
    "metadata of a cell": lambda size: BOOK % ("", CELL % (f'"a": [{many("[[0]]", size)}]', "", "")),
    "lines": lambda size: BOOK % ("", CELL % ("", many('"a"', size), "")),
    "keys": lambda size: BOOK % (",".join(f'"{number:06}":0' for number in range(size // 11)), ""),
    "numbers": lambda size: BOOK % (f'"a": [{many("1.5", size)}]', ""),
    "nested lists": lambda size: BOOK % (f'"a": {"[" * (size // 2)}{"]" * (size // 2)}', ""),
    "a wide letter": lambda size: BOOK % ("", CELL % ("", f'"{"a" * size}\U0001f600"', "")),
}


@pytest.mark.parametrize("outputs", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_memory_for_a_file(shape, outputs):
    """A file of 20 MB must take much less than 1 GB: less than 40 bytes for each of its own."""
    content = shape(1_000_000).encode()
    tracemalloc.start()
    try:
        read_cells(content, outputs)
    except Unreadable:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * len(content)


@pytest.mark.parametrize("shape", ["empty outputs", "nested lists"])
def test_the_largest_files_are_refused_at_once(shape):
    content = SHAPES[shape](20_000_000).encode()
    tracemalloc.start()
    with pytest.raises(Unreadable, match=r"more than 2,000,000 lists and objects"):
        read_cells(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_outputs_are_read_only_if_they_are_needed():
    content = (BOOK % ("", CELL % ("", "", many("{}", 1_000_000)))).encode()
    with pytest.raises(Unreadable, match="more than 200,000 cells or outputs"):
        read_cells(content)
    (cell,) = read_cells(content, outputs=False)
    assert cell.id == "a" and not cell.outputs


def test_outputs():
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
        {"output_type": "error", "ename": "E", "evalue": "why"},
    ]
    cell = {"cell_type": "code", "source": ["x ", "= 1"], "outputs": outputs}
    (found,) = read_cells(json.dumps({"nbformat": 4, "cells": [cell]}).encode())
    assert (found.type, found.source) == ("code", "x = 1")
    assert found.outputs == (
        {"output_type": "stream", "name": "stdout", "text": "a\nb", "ename": "", "evalue": ""},
        {"output_type": "error", "name": "", "text": "", "ename": "E", "evalue": "why"},
    )


@pytest.mark.parametrize("version", [1, 3, 5])
def test_another_format(version):
    with pytest.raises(Unreadable, match=f"its nbformat is {version}, not 4: save it with a newer Jupyter"):
        read_cells(json.dumps({"nbformat": version, "cells": []}).encode())


@pytest.mark.parametrize("content", [b"", b"All tests passed!", bytes(9999), bytes(range(256)) * 99, b"[1]", b"{}"])
def test_what_is_no_notebook(content):
    with pytest.raises(Unreadable, match="cannot be read as a notebook"):
        read_cells(content)
