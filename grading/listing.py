"""Lists the files in a folder or zip of students' work: names, faults, and a way to read each file into memory.

Nothing is unpacked to the disk, and no link is followed.
"""

import contextlib
import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace

ENDING = ".ipynb"
# Characters that change the direction of text. They can make a name look like another name.
REVERSING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zips allow other methods, but one of them may need gigabytes of memory before it gives the first byte.
PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
SMALL = 1_000_000  # bytes; for smaller files the compression ratio does not matter


@dataclass(frozen=True)
class Found:
    """A file or folder below the top folder."""

    parts: tuple[str, ...]  # of the path
    read: Callable | None = None  # read(limit) returns at most limit + 1 bytes; None for a folder
    problem: str = ""
    path: str = ""  # only if it differs from the parts joined by slashes; such a path is always a problem

    @property
    def student(self):
        """Name of the student, as displayed. Empty if the path does not say it."""
        known = len(self.parts) > 1 or self.read is None
        return shown(self.parts[0]) if known and self.parts[0] != ".." else ""

    @property
    def name(self):
        """Name of the notebook, as displayed, with folders if it is too deep. None if this is not a notebook."""
        if self.problem and len(self.parts) == 1 and self.read is None:
            return ""  # a student's folder that cannot be entered
        inner = "/".join(shown(part) for part in self.parts[len(self.parts) > 1 :])
        return (shown(self.path) or inner)[: -len(ENDING)] if self.parts[-1].lower().endswith(ENDING) else None

    @property
    def fault(self):
        """Why it cannot be accepted, in words. Empty if it can."""
        if self.problem:
            return self.problem
        if any(_is_odd(part) for part in self.parts):
            return "its name has control characters or a backslash, or is not Unicode"
        if len(self.parts) == 1:
            return "lies beside the folders of the students, so that nobody knows whose it is"
        if self.read is None:
            return "is a folder"
        return "lies in a folder within the student's folder" if len(self.parts) > 2 else ""


def is_junk(file):
    """Whether this is a hidden file, or a file that macOS or Jupyter adds. A path with ".." is not junk."""
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in file.parts)


def _is_odd(part):
    return any(
        char == "\\" or char in REVERSING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part
    )


def shown(name):
    """The name in a form that can be printed and stored. Only escaped names have a backslash, so none collide."""
    return ascii(name)[1:-1] if _is_odd(name) else name


def in_folder(root):
    """List the folders of the students, and one level below: a notebook there is a mistake that must be reported.

    Returns:
        list of :class:`Found`.

    Raises:
        ValueError: the top folder cannot be read.
    """
    found, waiting = [], [(root, ())]
    while waiting:
        folder, parts = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listing = list(entries)
        except OSError as error:
            if not parts:
                raise ValueError(f"cannot read the folder {root}: {error.strerror or error}") from error
            found.append(Found(parts, problem=f"cannot be read: {error.strerror or error}"))
            continue
        for entry in listing:
            inner = (*parts, entry.name)
            if entry.is_symlink():
                found.append(Found(inner, problem="is a link"))
            elif not entry.is_dir(follow_symlinks=False):
                found.append(Found(inner, read=lambda limit, path=entry.path: _read_file(path, limit)))
            elif len(inner) < 3:
                waiting.append((entry.path, inner))
                found.append(Found(inner))
    return found


def in_zip(archive, max_ratio):
    """List an open zip. If one folder contains everything, it is removed from the paths.

    Args:
        archive: a ``zipfile.ZipFile``.
        max_ratio: an unpacked file may be this many times larger than the packed file.

    Returns:
        list of :class:`Found`.
    """
    return _unwrapped([_member(archive, info, max_ratio) for info in archive.infolist()])


def _read_file(path, limit):
    # The type is read from the open file: before the opening, another file could have replaced it.
    # Without O_NONBLOCK, opening a pipe would wait forever.
    flags = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        return file.read(limit + 1)


def _member(archive, info, max_ratio):
    path = info.orig_filename  # info.filename stops at a NUL, and another file ending may come after it
    if not info.flag_bits & 0x800:  # not marked as UTF-8, but many programs write UTF-8 without the mark
        with contextlib.suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    parts = tuple(part for part in re.split(r"[/\\]", path) if part not in ("", ".")) or ("..",)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if path.startswith("/") or ".." in parts or "\\" in path or re.match("[A-Za-z]:", path):
        problem = "its path in the zip is absolute, leads upwards or has backslashes"
        return Found(parts, lambda limit: b"", problem, path)
    if path.endswith("/"):
        return Found(parts)
    problem = ""
    if kind not in (0, stat.S_IFREG):
        problem = "is a link or a device"
    elif info.flag_bits & 0x1:
        problem = "is encrypted"
    elif info.compress_type not in PACKINGS:
        problem = "is packed in an unusual way"
    elif info.file_size > max(SMALL, max_ratio * info.compress_size):
        problem = f"would grow to more than {max_ratio} times its size in the zip"
    return Found(parts, lambda limit: _unpack(archive, info, limit), problem)


def _unpack(archive, info, limit):
    with archive.open(info) as file:
        return file.read(limit + 1)


def _unwrapped(members):
    """Remove the single outer folder that many programs add."""
    inside = [member.parts for member in members if not member.path and not is_junk(member)]
    notebooks = [parts for parts in inside if parts[-1].lower().endswith(ENDING)]
    tops = {parts[0] for parts in inside}
    empty = [member for member in members if member.read is None and len(member.parts) == 2]
    if len(tops) != 1 or any(len(parts) < 3 for parts in notebooks) or not (notebooks or empty):
        return members
    wrapper = tops.pop()
    return [
        replace(member, parts=member.parts[1:]) if member.parts[0] == wrapper else member
        for member in members
        if member.parts != (wrapper,)
    ]
