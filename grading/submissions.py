"""Reads the notebooks that students sent, from a folder or a zip, into memory.

Nothing is unpacked to the disk, and no link is followed. A bad file of one student never stops the reading of other
files: it becomes a :class:`Submission` with a ``problem``.
"""

import contextlib
import hashlib
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from grading.verdicts import short

HIDDEN = re.compile(r"(^|/)(\.[^./]|__MACOSX/)")  # part of a path that Jupyter, macOS or another program adds
# In a name: backslashes, control characters, characters that change the direction of text, and broken Unicode.
ODD = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# Names that Windows reserves for devices, with or without a file ending: con, nul.txt, com1.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)\d)(\..*)?")
NO_FILE = "is a link or a device"


@dataclass(frozen=True)
class Submission:
    """One notebook of one student, or the reason why there is none."""

    student: str  # as sent, for display; use safe_name for file names
    name: str  # of the file as sent, without .ipynb; empty if the problem is about the whole folder
    content: bytes | None
    problem: str = ""


def stream(path, max_bytes=20_000_000, max_notebooks=50):
    """Read submissions one at a time, sorted by student and name, so that they do not fill the memory.

    Args:
        path: folder or zip with the layout ``<student>/<notebook>.ipynb``. A zip may have one outer folder.
        max_bytes: of one notebook.
        max_notebooks: of one student.

    Yields:
        Submission: at least one for every student.

    Raises:
        ValueError: there is no such folder or zip, or it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            is_folder = os.path.isdir(path)
            found = _in_folder(path) if is_folder else _in_zip(stack.enter_context(zipfile.ZipFile(path)))
            students = _by_student(found)
        except Exception as error:  # zipfile raises many types for a damaged file
            raise ValueError(f"{path} is neither a folder nor a zip that can be read: {short(error)}") from error
        for student, notebooks in sorted(students.items()):
            if student and not notebooks:
                yield Submission(student, "", None, "no notebook was sent")
            if len(notebooks) > max_notebooks:
                yield Submission(student, "", None, f"of {len(notebooks)} notebooks, only {max_notebooks} are read")
            for name, files in sorted(notebooks.items())[:max_notebooks]:
                yield Submission(student, name, *_read(files, max_bytes))


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


@dataclass(frozen=True)
class _Found:
    """A file or folder below the top folder."""

    path: str  # with slashes; ends with a slash if this is not an ordinary file
    open: Callable | None = None  # open() returns a binary file
    problem: str = ""


def _in_folder(folder, path=""):
    """List the folders of the students, and one level below: a notebook there must be reported."""
    for entry in os.scandir(folder):
        inner = f"{path}{entry.name}"
        if entry.is_file(follow_symlinks=False):
            yield _Found(inner, partial(open, entry.path, "rb", opener=_opener))
        elif not entry.is_dir(follow_symlinks=False):
            yield _Found(f"{inner}/", problem=NO_FILE)
        else:
            yield _Found(f"{inner}/")
            try:
                yield from _in_folder(entry.path, f"{inner}/") if path.count("/") < 2 else ()
            except OSError as error:
                yield _Found(f"{inner}/", problem=f"cannot be read: {error.strerror}")


def _opener(path, flags):
    # After the listing, a link or a pipe could have replaced the file. Opening a pipe could wait forever.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _in_zip(archive):
    """List an open zip. Many programs put everything into one outer folder; it is removed from the paths."""
    found = [file for file in (_member(archive, info) for info in archive.infolist()) if not HIDDEN.search(file.path)]
    paths = [file.path.partition("/") for file in found]
    tops = {top for top, slash, _ in paths if slash} - {"", ".."}
    inside = [inner for top, _, inner in paths if top in tops]
    has_notebook = any(re.fullmatch(r"[^/]+\.ipynb/?", inner, re.IGNORECASE) for inner in inside)
    if len(tops) != 1 or has_notebook or not any("/" in inner for inner in inside):
        return found  # the top folders are those of the students
    outer = f"{tops.pop()}/"
    return [replace(file, path=file.path.removeprefix(outer)) for file in found]


def _member(archive, info):
    path = info.orig_filename  # info.filename stops at a NUL, and another file ending may come after it
    if not info.flag_bits & 0x800:  # the name is not marked as UTF-8, but many programs write UTF-8 without the mark
        with contextlib.suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    if path.endswith("/"):
        return _Found(path)
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return _Found(f"{path}/", problem=NO_FILE)
    problem = ""
    # Zips allow other methods, but one of them may need gigabytes of memory before it gives the first byte.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = "is packed in an unusual way"
    elif info.file_size > max(1_000_000, 200 * info.compress_size):
        problem = "would grow to more than 200 times its size in the zip"
    return _Found(path, partial(archive.open, info), problem)


def _by_student(found):
    """Dict student → dict name of the notebook → list of all files with this name. There should be one."""
    students = {}
    for file in found:
        student, slash, name = file.path.partition("/")
        if not slash or student == "..":
            student, name = "", file.path  # nobody knows whose it is
        name = name.removesuffix("/")
        if not HIDDEN.search(file.path):
            notebooks = students.setdefault(_shown(student), {})
            if name.lower().endswith(".ipynb") or (file.problem and not name):
                notebooks.setdefault(_shown(name)[: -len(".ipynb")], []).append(file)
    return students


def _shown(name):
    """The name in a form that can be printed and stored. Only escaped names have a backslash, so none collide."""
    return ascii(name)[1:-1] if ODD.search(name) else name


def _read(files, max_bytes):
    """Content and problem of a notebook."""
    problem = f"{len(files)} files have this name" if len(files) > 1 else files[0].problem
    if not problem and ODD.search(files[0].path):
        problem = "its path has control characters or backslashes, or is not Unicode"
    if not problem and not re.fullmatch(r"(?!\.\./)[^/]+/[^/]+", files[0].path):
        problem = "is a folder, or its path leads upwards or is not STUDENT/NOTEBOOK.ipynb"
    if problem:
        return None, problem
    try:
        with files[0].open() as file:
            content = file.read(max_bytes + 1)
    except Exception as error:  # zipfile and zlib raise many types for a damaged file
        return None, f"cannot be read: {getattr(error, 'strerror', None) or short(error)}"
    if len(content) > max_bytes:
        return None, f"is larger than {max_bytes:,} bytes"
    return content, ""
