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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from grading.verdicts import short

HIDDEN = re.compile(r"(^|/)(\.[^./]|__MACOSX/)")  # part of a path that Jupyter, macOS or another program adds
NOT_IN_PLACE = "its path leads upwards or is not STUDENT/NOTEBOOK.ipynb"
# A notebook, whatever a browser or a mail program added to its name.
NOTEBOOK = re.compile(r"(?P<stem>.*)\.ipynb(?P<more>\.txt|\.json)?", re.IGNORECASE | re.DOTALL)
# How platforms name files when they export those of a whole class. No student chooses what stands before `name`.
NAMINGS = {
    "Canvas": re.compile(r"(?P<student>[^_]+)(_LATE)?(?P<id>_\d+)_\d{3,}_(?P<name>.+)", re.DOTALL),
    "Moodle": re.compile(r"(?P<student>.+?_\d+)_assignsubmission_(file|onlinetext)_?(?P<name>.*)", re.DOTALL),
    # ASSIGNMENT_USER_attempt_…: both may contain "_", so together they are the student. A .txt alone is a receipt.
    "Blackboard": re.compile(r"(?P<student>.+?)_attempt_\d{4}(-\d\d){5}(\.txt|_(?P<name>.+))", re.DOTALL),
}
DEPTH = 5  # levels of folders that are read below the top folder
MOST_NAMES, MOST_LETTERS = 3, 60  # of files that are no notebooks


@dataclass(frozen=True)
class Submission:
    """One notebook of one student, or the reason why there is none."""

    student: str  # as sent, for display; use file_name for file names
    name: str  # of the file as sent, without .ipynb; empty if the problem is about the whole folder
    content: bytes | None
    problem: str = ""
    remark: str = ""  # how the path or the name was read, if not as STUDENT/NOTEBOOK.ipynb
    beside: tuple[str, ...] = field(default=(), compare=False)  # names of the student's files that are no notebooks


class _File(NamedTuple):
    """A file, or a folder: the path of a folder ends with a slash. open() returns a binary file."""

    path: str
    open: Callable | None = None
    problem: str = ""


def stream(path, max_bytes=20_000_000, max_notebooks=50):
    """Read submissions one at a time, sorted by student and name, so that they do not fill the memory.

    Args:
        path: folder or zip with the layout ``<student>/…/<notebook>.ipynb``, or with file names of a platform
            (NAMINGS). A zip may have outer folders.
        max_bytes: of one notebook.
        max_notebooks: of one student.

    Yields:
        Submission: at least one for every student.

    Raises:
        ValueError: there is no such folder or zip, or it cannot be opened.
    """
    students = {}
    with contextlib.ExitStack() as stack:
        try:
            is_folder = os.path.isdir(path)
            found = _in_folder(path) if is_folder else _in_zip(stack.enter_context(zipfile.ZipFile(path)))
            for file in found:
                if not HIDDEN.search(file.path):
                    students.setdefault(_place(file.path)[0], []).append(file)
        except Exception as error:  # zipfile raises many types for a damaged file
            raise ValueError(f"{path} is neither a folder nor a zip that can be read: {short(error)}") from error
        for student, files in sorted(students.items()):
            notebooks, others = _sorted(files)
            bad = [file.problem for file in files if file.problem and file.path.endswith("/")]
            if bad or not notebooks and (student or len(students) == 1):
                yield Submission(student, "", None, bad[0] if bad else f"no notebook was sent{listed(others)}")
            if len(notebooks) > max_notebooks:
                yield Submission(student, "", None, f"of {len(notebooks)} notebooks, only {max_notebooks} are read")
            for name, its in sorted(notebooks.items())[:max_notebooks]:
                yield Submission(student, name, *_read(its, max_bytes), _remark(its[0].path), tuple(others))


def listed(names):
    """The first names, and how many there are; empty if there are none."""
    if not names:
        return ""
    first = [name if len(name) <= MOST_LETTERS else f"{name[:MOST_LETTERS]}…" for name in sorted(names)[:MOST_NAMES]]
    return f", but {', '.join(first)}" + (f" ({len(names)} files)" if len(names) > 1 else "")


def file_name(text):
    """A file name for a text: its plain letters, so that a human finds it, and a hash, so that no two are equal."""
    letters = re.sub(r"[^a-z0-9]+", "-", text.lower())[:30].strip("-")
    return f"{letters}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _in_folder(folder):
    folder, errors = os.fspath(folder), []
    for here, folders, files in os.walk(folder, onerror=errors.append):
        above = "" if here == folder else f"{os.path.relpath(here, folder)}/"
        yield from (_File(f"{above}{name}/") for name in folders)
        yield from (_File(f"{above}{name}", partial(_open, os.path.join(here, name))) for name in files)
        folders[:] = [name for name in folders if above.count("/") < DEPTH and not HIDDEN.search(f"{name}/")]
    for error in errors:
        if error.filename == folder:
            raise error
        yield _File(f"{os.path.relpath(error.filename, folder)}/", problem=f"cannot be read: {error.strerror}")


def _open(path):
    """Open an ordinary file, and no link or pipe: opening a pipe could wait forever."""
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    number = os.open(path, os.O_RDONLY | more)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError("it is a link or a device")
    return os.fdopen(number, "rb")


def _in_zip(archive):
    members = archive.infolist()
    paths = [_path(info) for info in members]
    if not any("/" in path for path in paths):  # PowerShell 5 writes backslashes
        paths = [path.replace("\\", "/") for path in paths]
    while outer := _outer([path for path in paths if not HIDDEN.search(path)]):
        paths = [path.removeprefix(outer) for path in paths]
    for path, info in zip(paths, members, strict=True):
        # Zips allow other methods, but one of them may need gigabytes of memory before it gives the first byte.
        usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if path:
            yield _File(path, partial(archive.open, info), "" if usual else "is packed in an unusual way")


def _path(info):
    path = info.orig_filename  # info.filename stops at a NUL, and another file ending may come after it
    if not info.flag_bits & 0x800:  # the name is not marked as UTF-8, but many programs write UTF-8 without the mark
        with contextlib.suppress(UnicodeError):
            return path.encode("cp437").decode("utf-8")
    return path


def _outer(paths):
    """The folder, with a slash, into which a program put everything; "" if the top folders are those of students."""
    parts = [path.partition("/") for path in paths]
    tops = {top for top, slash, _ in parts if slash} - {"", ".."}
    inside = [inner for top, _, inner in parts if top in tops]
    direct = [inner for inner in inside if re.fullmatch(r"(notebooks/)?[^/]+\.ipynb", inner, re.IGNORECASE)]
    of_class = all(_place(inner)[2] for inner in direct) if direct else any("/" in inner for inner in inside)
    return f"{tops.pop()}/" if len(tops) == 1 and of_class else ""


def _place(path):
    """Student, path below the student's folder, and the platform that names files so, or ""."""
    first, slash, rest = path.partition("/")
    first = unicodedata.normalize("NFC", first)  # a Mac stores ü in the names of files as u and two dots
    for platform, naming in NAMINGS.items():
        match = naming.fullmatch(first)
        if match and (not slash or platform == "Moodle"):
            return _shown(match["student"] + match.groupdict().get("id", "")), rest or match["name"] or "", platform
    # Nobody knows whose a file at the top is.
    return (_shown(first), rest, "") if slash and first not in ("", "..") else ("", path, "")


def _sorted(files):
    """The files of one student: dict name of the notebook → list of all files with its path, and names of others."""
    by_path, others = {}, []
    for file in files:
        name = _place(file.path)[1]
        if NOTEBOOK.fullmatch(name):
            by_path.setdefault(file.path, []).append(file)
        elif name and not name.endswith("/"):
            others.append(_shown(name))
    names = {path: _shown(NOTEBOOK.fullmatch(_place(path)[1])["stem"].split("/")[-1]) for path in by_path}
    count = Counter(names.values())
    return {name if count[name] == 1 else _shown(path): by_path[path] for path, name in names.items()}, others


def _shown(name):
    """The name in a form that can be printed and stored. Only escaped names have a backslash, so none collide."""
    return name if name.isprintable() and "\\" not in name else ascii(name)[1:-1]


def _remark(path):
    _, name, platform = _place(path)
    more = NOTEBOOK.fullmatch(name)["more"]
    remarks = [f"read as {platform} names files"] if platform else []
    return "; ".join(remarks + ([f"the file ends in .ipynb{more}"] if more else []))


def _read(files, max_bytes):
    """Content and problem of a notebook."""
    file, *more = files
    if not _place(file.path)[0] or ".." in file.path.split("/"):
        return None, NOT_IN_PLACE
    if more or file.problem:
        return None, file.problem or f"{len(files)} files have this name"
    try:
        with file.open() as opened:
            content = opened.read(max_bytes + 1)
    except Exception as error:  # zipfile and zlib raise many types for a damaged file
        return None, f"cannot be read: {getattr(error, 'strerror', None) or short(error)}"
    if len(content) > max_bytes:
        return None, f"is larger than {max_bytes:,} bytes"
    return content, ""
