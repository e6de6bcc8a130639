"""Files that are either complete or not there: written under a temporary name, then renamed."""

import contextlib
import hashlib
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np


def write_atomically(path, write):
    """Call ``write(temporary_path)``, then rename the result to ``path``.

    A reader, or a run that starts again after a kill, never sees half a file. The temporary name keeps the ending of
    ``path``, since some writers choose a format by it.

    Args:
        path: where the file shall be; its folder is made if missing.
        write: function of one argument, the path to write to.

    Raises:
        ValueError: if the folder cannot be made or written to; names the path and the reason.
    """
    path = Path(path)
    # One name per file, not per process: what a killed run left is overwritten by the next, and nothing piles up.
    temporary = path.with_name(f".partial-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())  # the content reaches the disk before the name does
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # After a success it is gone; if `write` failed, for whatever reason, nothing half-written stays.
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_npz(path, keys):
    """Read arrays from an ``.npz``; nothing is unpickled.

    Args:
        path: the file.
        keys: names of the arrays it must hold.

    Returns:
        dict name → array.

    Raises:
        ValueError: not such a file: truncated, damaged, of another kind, or without one of the arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    # What NumPy, zipfile and zlib raise for the many ways in which a file can be damaged.
    except (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile,
            zlib.error) as error:  # fmt: skip
        raise ValueError(f"{path} is not an npz with plain arrays {', '.join(keys)}: {error}") from error


def sha256_of_file(path):
    """SHA-256 of a file's content as a hex string."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path):
    """Raise ``ValueError`` now, not after an hour's work, if ``path`` could not be written."""
    if os.path.isdir(path):
        raise ValueError(f"cannot write {path}: it is a folder")
    write_atomically(Path(path).with_name(".writable"), lambda probe: probe.touch())
    Path(path).with_name(".writable").unlink()
