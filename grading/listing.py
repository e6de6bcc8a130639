"""What stands in a folder or zip of students' work: names, faults, and a way to read each file into memory.

Nothing is unpacked to the disk and no link is followed.
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
# Signs that turn the line they stand in around, so that a name reads as another one.
REVERSING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Zips know others, but one of them may ask for gigabytes before the first byte comes out.
PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
SMALL = 1_000_000  # bytes; below it nobody minds how tightly a file was packed


@dataclass(frozen=True)
class Found:
    """A file or folder somewhere below the top."""

    parts: tuple[str, ...]  # of the path
    read: Callable | None = None  # read(limit) gives at most limit + 1 bytes; None for a folder
    problem: str = ""
    path: str = ""  # only where it is not the parts joined by slashes, which is a problem of its own

    @property
    def student(self):
        """As shown; empty where the path does not tell."""
        known = len(self.parts) > 1 or self.read is None
        return shown(self.parts[0]) if known and self.parts[0] != ".." else ""

    @property
    def name(self):
        """Of the notebook as shown, with the folders where it lies too deep; None for what is no notebook."""
        if self.problem and len(self.parts) == 1 and self.read is None:
            return ""  # a student's folder that cannot be entered
        inner = "/".join(shown(part) for part in self.parts[len(self.parts) > 1 :])
        return (shown(self.path) or inner)[: -len(ENDING)] if self.parts[-1].lower().endswith(ENDING) else None

    @property
    def fault(self):
        """Why it cannot be taken, in words; empty if it can."""
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
    """Hidden files, and what macOS and Jupyter leave behind; a path that leads upwards is none."""
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in file.parts)


def _is_odd(part):
    return any(
        char == "\\" or char in REVERSING or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in part
    )


def shown(name):
    """A name that can be printed and stored. What is escaped has a backslash and all else has none: no two collide."""
    return ascii(name)[1:-1] if _is_odd(name) else name


def in_folder(root):
    """What stands in the folders of the students, and one level below, where a notebook is a mistake to be told.

    Raises:
        ValueError: the folder itself cannot be read.
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
    """The same for an open zip; a single folder around all others does not count.

    Args:
        archive: a ``zipfile.ZipFile``.
        max_ratio: a file may be this many times larger than in the zip.
    """
    return _unwrapped([_member(archive, info, max_ratio) for info in archive.infolist()])


def _read_file(path, limit):
    # The kind is asked of the open file: between a look at the name and its opening another might take its place.
    # Without O_NONBLOCK the opening of a pipe waits for ever.
    flags = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not a regular file")
        return file.read(limit + 1)


def _member(archive, info, max_ratio):
    path = info.orig_filename  # info.filename ends at a NUL, behind which another ending may hide
    if not info.flag_bits & 0x800:  # not marked as UTF-8, though many programs write it nevertheless
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
    """Without the one folder that many programs put around all others."""
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
