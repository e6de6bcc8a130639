"""Reads the notebooks that students sent, from a folder or a zip, into memory.

A bad file of one student never stops the reading of other files: it becomes a :class:`Submission` with a ``problem``.
"""

import hashlib
import itertools
import re
import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from grading.listing import in_folder, in_zip, is_junk, shown

# zipfile, zlib and the system raise these if a file is damaged or cannot be read.
DAMAGE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    struct.error,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)
# Names that Windows reserves for devices, with or without a file ending: con, nul.txt, com1.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)\d)(\..*)?")


@dataclass(frozen=True)
class Submission:
    """One notebook of one student, or the reason why there is none."""

    student: str  # as sent, for display; use safe_name for file names
    name: str  # of the file as sent, without .ipynb; empty if the problem is about the whole folder
    content: bytes | None
    problem: str = ""


def collect(path, **limits):
    """All submissions as a sorted list. Arguments and errors are those of :func:`stream`."""
    return list(stream(path, **limits))


def stream(path, max_bytes=20_000_000, max_total=200_000_000, max_notebooks=50, max_ratio=200):
    """Read submissions one at a time, sorted by student and name, so that they do not fill the memory.

    Every limit is for one student: large files of one student do not affect the others.

    Args:
        path: folder or zip with the layout ``<student>/<notebook>.ipynb``. A zip may have one outer folder.
        max_bytes: of one notebook.
        max_total: bytes of all notebooks of a student.
        max_notebooks: number of notebooks of a student.
        max_ratio: a notebook may be this many times larger than in the zip.

    Yields:
        Submission: at least one for every student.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: it is not a folder or zip, or it cannot be opened.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no folder or zip {path}")
    if path.is_dir():
        yield from _by_student(in_folder(path), max_bytes, max_total, max_notebooks)
        return
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise ValueError(f"{path} is neither a folder nor a zip that can be read: {error}") from error
    with archive:
        yield from _by_student(in_zip(archive, max_ratio), max_bytes, max_total, max_notebooks)


def safe_name(student):
    """A file name for a student. Two students never get the same name, on any file system.

    An id of lower-case letters, digits and ``._-`` does not change. Any other id gets a ``~`` and a hash, because file
    systems differ in which letters they treat as equal. The digits of the hash are safe. Unchanged ids have no ``~``.
    """
    if re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?", student) and not DEVICE.fullmatch(student):
        return student
    letters = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode().lower()
    start = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:30] or "student"
    return f"{start}~{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _by_student(found, max_bytes, max_total, max_notebooks):
    found = sorted((file for file in found if not is_junk(file)), key=lambda file: (file.student, file.parts))
    for student, group in itertools.groupby(found, key=lambda file: file.student):
        notebooks, others = {}, []  # name → files: a zip may have a name twice, a folder x.ipynb and x.IPYNB
        for file in group:
            if file.name is not None:
                notebooks.setdefault(file.name, []).append(file)
            elif len(file.parts) > 1:
                others.append("/".join(shown(part) for part in file.parts[1:]))
        if problem := _whole_problem(student, notebooks, others, max_notebooks):
            yield Submission(student, "", None, problem)
        left = max_total
        for name, files in sorted(notebooks.items())[:max_notebooks]:
            content, problem = _read(files, max_bytes, left)
            left -= len(content or b"")
            yield Submission(student, name, content, problem)


def _whole_problem(student, notebooks, others, most):
    if len(notebooks) > most:
        return f"{len(notebooks)} notebooks were sent; only the first {most} are read"
    if notebooks or not student:  # files outside the students' folders belong to nobody
        return ""
    return "no notebook was sent" + (f"; there is {', '.join(others[:3])}{' …' * (len(others) > 3)}" if others else "")


def _read(files, max_bytes, left):
    """Content and problem of a notebook. ``files`` are all files with its name; there should be one."""
    if len(files) > 1:
        return None, f"{len(files)} files have this name"
    if files[0].fault:
        return None, files[0].fault
    limit = min(max_bytes, left)
    try:
        content = files[0].read(limit)
    except DAMAGE as error:
        return None, f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if len(content) <= limit:
        return content, ""
    if limit < max_bytes:
        return None, "all notebooks of this student together are too large"
    return None, f"is larger than {max_bytes:,} bytes"
