"""Write each lesson as one notebook that needs nothing beside it, to upload to Colab.

labutils, the weights and the measurements that a lesson needs (``notebooks/lessons.toml``) travel inside its setup
cell: as tar archives, compressed by xz, as base64 text. The cell unpacks them into the folder ``lab`` and installs
nothing.
"""

import base64
import copy
import functools
import hashlib
import inspect
import io
import json
import lzma
import tarfile
from pathlib import Path

import nbformat
import numpy as np

from lab.lessons import NOTEBOOK_DIR, find_lessons, write_notebook
from lab.stubs import student_copy
from labutils import pretrained
from labutils.results import RESULTS
from labutils.support.files import check_writable

PACKAGE = Path(inspect.getfile(pretrained)).parent
LIMIT = 6_000_000  # bytes of a file: the notebook must open at once, also over a slow line
BITS = {"float32": 12, "float16": 8}  # significant bits that the packed weights keep, of 24 and of 11
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 0, "lp": 2, "pb": 2}]  # for numbers of four bytes; fast
SETUP = """\
# @title Setup: unpacks labutils and the weights of this lesson into the folder lab; installs and upgrades nothing
import base64, io, os, sys, tarfile


def unpack(packed):
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed)), mode="r:xz", ignore_zeros=True) as archive:
        archive.extractall("lab", filter="data")


unpack("{packed}")
if os.path.abspath("lab") not in sys.path:
    sys.path.insert(0, os.path.abspath("lab"))
import labutils  # before TensorFlow: it keeps the start-up messages away"""
BADGES = "This file holds all that the lesson needs, the trained networks included. No account or GPU needed."


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument("--out", default="build/colab", help="folder to write to (default: build/colab)")
    parser.add_argument("--exercises", action="store_true", help="leave the solutions out")


def main(options):
    """Run the command."""
    write_files(options.lessons, options.out, options.exercises)


def write_files(names=(), out="build/colab", exercises=False, say=print):
    """Write one file for each lesson.

    Args:
        names: as in :func:`find_lessons`.
        out: folder, made if missing.
        exercises: leave the solutions out, as ``python -m lab copy`` does.
        say: receives one line for each file.

    Raises:
        ValueError: unknown lesson, ``out`` cannot be written, or a file would be larger than ``LIMIT``.
    """
    lessons = find_lessons(names)
    for lesson in lessons:
        target = Path(out) / f"{lesson}.ipynb"
        check_writable(target)
        notebook = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
        single = single_file(lesson, student_copy(lesson, notebook) if exercises else notebook)
        size = len(nbformat.writes(single))
        if size > LIMIT:
            raise ValueError(f"{lesson} would have {size:,} bytes, more than {LIMIT:,}: it uses too many checkpoints")
        write_notebook(single, target)
        say(f"{target}: {size / 1e6:.1f} MB, with {', '.join(_carried(notebook.metadata.lab)) or 'no weights'}")


def single_file(lesson, notebook):
    """A copy of a lesson's notebook with labutils and its data in the setup cell, without outputs.

    Args:
        lesson: its name, for messages.
        notebook: NotebookNode with one cell tagged ``setup``; ``lab`` in its metadata lists the checkpoints and results
            that it reads, as ``python -m lab build`` writes it.

    Raises:
        ValueError: the notebook has no setup cell.
    """
    single = copy.deepcopy(notebook)
    needs = notebook.metadata.get("lab", {"checkpoints": [], "results": []})
    packed = _package() + b"".join(_checkpoint(name) for name in _carried(needs))
    packed += _tar({f"benchmarks/results/{name}.json": _result(name) for name in needs["results"]})
    setup = [cell for cell in single.cells if "setup" in cell.metadata.get("tags", [])]
    if len(setup) != 1:
        raise ValueError(f"{lesson} must have one cell tagged setup, it has {len(setup)}")
    setup[0].source = SETUP.format(packed=base64.b64encode(packed).decode("ascii"))
    # Colab and JupyterLab show the first line instead of megabytes of text.
    setup[0].metadata.update(cellView="form", jupyter={"source_hidden": True})
    for cell in single.cells:
        if "badges" in cell.metadata.get("tags", []):
            cell.source = BADGES
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return single


def _carried(needs):
    """Names of the checkpoints in a file."""
    return [name for name in needs["checkpoints"] if name not in needs.get("left_out", [])]


@functools.cache
def _package():
    files = sorted(path for path in PACKAGE.rglob("*.py"))
    return _tar({f"labutils/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes() for path in files})


@functools.cache
def _checkpoint(name):
    """A checkpoint as an archive; its weights keep some of their significant bits, and its record says how many."""
    import h5py

    kept = set()
    buffer = io.BytesIO((pretrained.CHECKPOINT_DIR / f"{name}.weights.h5").read_bytes())
    with h5py.File(buffer, "r+") as weights:
        weights.visititems(lambda _, item: kept.add(_round(item)) if isinstance(item, h5py.Dataset) else None)
    data = buffer.getvalue()
    record = pretrained.read_record(name)
    record["weights_sha256"] = hashlib.sha256(data).hexdigest()
    record["rounded"] = f"to {min(kept - {None})} significant bits, to make the file small"
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    folder = f"data/checkpoints/{name}"
    return _tar({f"{folder}.weights.h5": data, f"{folder}.json": text.encode("utf-8")})


def _round(dataset):
    """Round the numbers of a data set, in place: all but the first BITS become zero. Returns BITS, or None if kept."""
    kind = dataset.dtype.name
    if kind not in BITS:
        return None
    lost = np.finfo(kind).nmant + 1 - BITS[kind]
    whole = np.dtype(f"uint{np.finfo(kind).bits}").type
    bits = dataset[()].view(whole)
    rounded = (bits + whole(1 << (lost - 1))) & ~whole((1 << lost) - 1)
    dataset[()] = rounded.view(kind)
    return BITS[kind]


def _result(name):
    return (RESULTS / f"{name}.json").read_bytes()


def _tar(files):
    """Files, a dict name → bytes, as a compressed archive: the same bytes at every call. Archives can be joined."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return lzma.compress(buffer.getvalue(), filters=XZ)
