"""What students sent: notebooks out of a folder or a zip, read into memory and nothing else.

What one student sent never stops the reading of another's: what cannot be read becomes a :class:`Submission` with a
``problem``.
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

# What zipfile, zlib and the system raise for the many ways in which a file can be damaged or out of reach.
DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, struct.error, OverflowError,
          zipfile.BadZipFile, zlib.error)  # fmt: skip
# Names that Windows keeps for devices, also with an ending: con, nul.txt, com1.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)\d)(\..*)?")


@dataclass(frozen=True)
class Submission:
    """One notebook of one student, or the reason why there is none."""

    student: str  # as sent, for display; in file names use safe_name
    name: str  # of the file without .ipynb, as sent; empty if the problem concerns the whole folder
    content: bytes | None
    problem: str = ""


def collect(path, **limits):
    """All submissions as a sorted list; for arguments and errors see :func:`stream`."""
    return list(stream(path, **limits))


def stream(path, max_bytes=20_000_000, max_total=200_000_000, max_notebooks=50, max_ratio=200):
    """Read submissions one after the other, sorted by student and name, so that memory stays flat.

    Every limit concerns one student, so that what one sends costs nobody else.

    Args:
        path: folder or zip with the layout ``<student>/<notebook>.ipynb``; a zip may have one more folder around it.
        max_bytes: of one notebook.
        max_total: bytes of all notebooks of a student.
        max_notebooks: of a student.
        max_ratio: how many times larger than in the zip a notebook may be.

    Yields:
        Submission: at least one for every student.

    Raises:
        FileNotFoundError: no such path.
        ValueError: neither a folder nor a zip, or one that cannot be opened.
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
    """A file name for a student: no two students share one, on no file system.

    Ids of small letters, digits and ``._-`` stay what they are. All others get a hash of the id behind a ``~``, which
    the former cannot have: file systems differ in which letters they hold to be the same, hexadecimal digits are safe.
    """
    if re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?", student) and not DEVICE.fullmatch(student):
        return student
    letters = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode().lower()
    start = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:30] or "student"
    return f"{start}~{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _by_student(found, max_bytes, max_total, max_notebooks):
    found = sorted((file for file in found if not is_junk(file)), key=lambda file: (file.student, file.parts))
    for student, group in itertools.groupby(found, key=lambda file: file.student):
        notebooks, others = {}, []  # name → files: a zip may hold two of a name, a folder x.ipynb and x.IPYNB
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
    if notebooks or not student:  # files beside the folders of the students belong to nobody
        return ""
    return "no notebook was sent" + (f"; there is {', '.join(others[:3])}{' …' * (len(others) > 3)}" if others else "")


def _read(files, max_bytes, left):
    """Content and problem of the files of one name, of which there should be one."""
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
