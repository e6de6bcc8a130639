"""Files are complete or absent: each is written under a temporary name, then renamed."""

import contextlib
import hashlib
import os
import secrets
import tempfile
import time
from pathlib import Path

import numpy as np

LEFTOVER_SECONDS = 3600  # far longer than any write here takes


def write_atomically(path, write):
    """Call ``write(temporary_path)``, then rename the result to ``path``.

    A reader never sees half a file, and neither does a run that starts again after a kill. Two processes may write the
    same file: each uses another temporary name, and the last one to finish wins. The temporary name starts with
    ``.partial-`` and ends as ``path`` does, since some writers choose the format by the ending.

    A killed process may leave its temporary file behind. A later write into the same folder removes such a file once it
    is older than an hour.

    Args:
        path: the file to write; its folder is made if missing.
        write: function of one argument, the path to write to.

    Raises:
        ValueError: if the folder cannot be made or written to; names the path and the reason.
    """
    path = Path(path)
    # A random name, not one by tempfile.mkstemp: `write` makes the file, so it gets the usual permissions (umask).
    temporary = path.with_name(f".partial-{secrets.token_hex(8)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())  # the content reaches the disk before the name does
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # After a success it is gone. After a failure this removes what is half written.
        with contextlib.suppress(OSError):
            temporary.unlink()
    _remove_leftovers(path.parent)


def _remove_leftovers(folder):
    """Delete what killed writes left in ``folder``. A younger file may belong to a process that still writes it."""
    for leftover in folder.glob(f".partial-{'[0-9a-f]' * 16}-*"):
        with contextlib.suppress(OSError):  # another process may have deleted it first
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()


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
    except Exception as error:  # a damaged file makes NumPy, zipfile and zlib raise errors of many kinds
        raise ValueError(f"{path} is not an npz with plain arrays {', '.join(keys)}: {error}") from error


def sha256_of_file(path):
    """SHA-256 of a file's content as a hex string."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(path):
    """Raise ``ValueError`` before any work is done if ``path`` cannot be written; makes its folder."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".partial-", dir=path.parent):  # its name is unique
            pass
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
