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
from dataclasses import dataclass, field, replace
from functools import partial

from grading.verdicts import short

HIDDEN = re.compile(r"(^|/)(\.[^./]|__MACOSX/)")  # part of a path that Jupyter, macOS or another program adds
# In a name: backslashes, control characters, characters that change the direction of text, and broken Unicode.
ODD = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_FILE = "is a link or a device"
PLACE = re.compile(r"(?!\.\./)[^/]+/[^/]+")
NOT_IN_PLACE = "is a folder, or its path leads upwards or is not STUDENT/NOTEBOOK.ipynb"
# A notebook, whatever a browser or a mail program added to its name.
NOTEBOOK = re.compile(r"(?P<stem>.*)\.ipynb(?P<more>\.txt|\.json)?", re.IGNORECASE | re.DOTALL)
# How platforms name files when they export those of a whole class. No student chooses what stands before `name`.
NAMINGS = {
    "Canvas": re.compile(r"(?P<student>[^_/]+)(_LATE)?(?P<id>_\d+)_\d{3,}_(?P<name>[^/]+)"),
    "Moodle": re.compile(r"(?P<student>[^/]+?_\d+)_assignsubmission_(file|onlinetext)_?/?(?P<name>.*)", re.DOTALL),
    # ASSIGNMENT_USER_attempt_…: both may contain "_", so together they are the student. A .txt alone is a receipt.
    "Blackboard": re.compile(r"(?P<student>[^/]+?)_attempt_\d{4}(-\d\d){5}(\.txt|_(?P<name>.+))", re.DOTALL),
    "GitHub Classroom": re.compile(r"(?P<student>[^/]+)/notebooks/(?P<name>[^/]+)"),
}
ILIAS = re.compile(r"[^_/]+_[^/]+_[^_/]+_\d+")  # Lastname_Firstname_login_123, a folder
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


def stream(path, max_bytes=20_000_000, max_notebooks=50):
    """Read submissions one at a time, sorted by student and name, so that they do not fill the memory.

    Args:
        path: folder or zip with the layout ``<student>/<notebook>.ipynb``, or with that of a platform (NAMINGS, ILIAS).
            A zip may have one outer folder.
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
        for student, (notebooks, others) in sorted(students.items()):
            if not notebooks and (student or len(students) == 1):
                yield Submission(student, "", None, f"no notebook was sent{listed(others)}")
            if len(notebooks) > max_notebooks:
                yield Submission(student, "", None, f"of {len(notebooks)} notebooks, only {max_notebooks} are read")
            for name, files in sorted(notebooks.items())[:max_notebooks]:
                yield Submission(student, name, *_read(files, max_bytes), files[0].remark, tuple(others))


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


@dataclass(frozen=True)
class _Found:
    """A file or folder below the top folder."""

    path: str  # with slashes; ends with a slash if this is not an ordinary file
    open: Callable | None = None  # open() returns a binary file
    problem: str = ""
    remark: str = ""


def _in_folder(folder, path=""):
    """List the folders of the students, and what lies deeper: a notebook there must be read or reported."""
    for entry in os.scandir(folder):
        inner = f"{path}{entry.name}"
        if entry.is_file(follow_symlinks=False):
            yield _Found(inner, partial(open, entry.path, "rb", opener=_opener))
        elif not entry.is_dir(follow_symlinks=False):
            yield _Found(f"{inner}/", problem=NO_FILE)
        else:
            yield _Found(f"{inner}/")
            try:
                yield from (
                    _in_folder(entry.path, f"{inner}/")
                    if path.count("/") < DEPTH and not HIDDEN.search(f"{inner}/")
                    else ()
                )
            except OSError as error:
                yield _Found(f"{inner}/", problem=f"cannot be read: {error.strerror}")


def _opener(path, flags):
    # After the listing, a link or a pipe could have replaced the file. Opening a pipe could wait forever.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _in_zip(archive):
    """List an open zip. Many programs put everything into one outer folder; it is removed from the paths."""
    members = archive.infolist()
    names = "".join(info.orig_filename for info in members)
    separator = "/" if "/" in names else "\\"  # PowerShell 5 writes backslashes
    found = [_member(archive, info, separator) for info in members]
    found = [file for file in found if not HIDDEN.search(file.path)]
    paths = [file.path.partition("/") for file in found]
    tops = {top for top, slash, _ in paths if slash} - {"", ".."}
    inside = [inner for top, _, inner in paths if top in tops]
    direct = [inner for inner in inside if re.fullmatch(r"(notebooks/)?[^/]+\.ipynb/?", inner, re.IGNORECASE)]
    is_flat = bool(direct) and all(map(_platform, direct))
    if len(tops) != 1 or (direct and not is_flat) or not (is_flat or any("/" in inner for inner in inside)):
        return found  # the top folders are those of the students
    outer = f"{tops.pop()}/"
    return [replace(file, path=file.path.removeprefix(outer)) for file in found]


def _member(archive, info, separator):
    path = info.orig_filename  # info.filename stops at a NUL, and another file ending may come after it
    if not info.flag_bits & 0x800:  # the name is not marked as UTF-8, but many programs write UTF-8 without the mark
        with contextlib.suppress(UnicodeError):
            path = path.encode("cp437").decode("utf-8")
    path = path.replace(separator, "/")
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
    """Dict student → (dict name of the notebook → list of all files with this name, names of other files).

    There should be one file with a name. Files with the same name and different paths are told apart by their paths.
    """
    students = {}
    found = [file for file in found if not HIDDEN.search(file.path)]
    level = _level_of_ilias(found)
    for file in found:
        student, name, platform = _place(file.path, level)
        # A Mac stores ü in the names of files as u and two dots.
        notebooks, others = students.setdefault(unicodedata.normalize("NFC", _shown(student)), ({}, []))
        name = name.removesuffix("/")
        if match := NOTEBOOK.fullmatch(name):
            in_place = PLACE.fullmatch(file.path) or (platform and not file.path.endswith("/"))
            problem = file.problem or ("" if in_place else NOT_IN_PLACE)
            remarks = [f"read as {platform} names files"] if platform else []
            remarks += [f"the file ends in .ipynb{match['more']}"] if match["more"] else []
            notebooks.setdefault(_shown(match["stem"]), []).append(
                replace(file, problem=problem, remark="; ".join(remarks))
            )
        elif file.problem and not name:
            notebooks.setdefault("", []).append(file)
        elif name and (file.problem or not file.path.endswith("/")):
            others.append(_shown(name))
    return {student: (_apart(notebooks), others) for student, (notebooks, others) in students.items()}


def _place(path, level):
    """Student, name of the file, and whose naming the path follows: of a platform, or "" for STUDENT/NAME.

    Args:
        path: of the file.
        level: that :func:`_level_of_ilias` returns.
    """
    parts = path.split("/")
    if parts[0] == "..":
        return "", path, ""
    if level is not None and len(parts) > level + 1 and ".." not in parts:
        student, name, platform = parts[level], "/".join(parts[level + 1 :]), "ILIAS"
    elif (platform := _platform(path)) and ".." not in parts:
        match = NAMINGS[platform].fullmatch(path)
        student, name = match["student"] + (match.groupdict().get("id") or ""), match["name"] or ""
    else:
        student, slash, name = path.partition("/")
        return (student, name, "") if slash else ("", path, "")  # nobody knows whose a file at the top is
    return student, name.removesuffix("/").rpartition("/")[2], platform


def _platform(path):
    return next((platform for platform, naming in NAMINGS.items() if naming.fullmatch(path)), "")


def _level_of_ilias(found):
    """At which level the folders of the students are, in an export of ILIAS; None if this is none.

    All folders of that level must have such names, and only one folder may be at each level above. So nothing that a
    student puts into a folder can make it look like another student's.
    """
    for level in range(DEPTH):
        names = {parts[level] for parts in (file.path.split("/") for file in found) if len(parts) > level + 1} - {".."}
        if names and all(map(ILIAS.fullmatch, names)):
            return level
        if len(names) != 1:
            return None
    return None


def _apart(notebooks):
    apart = {}
    for name, files in notebooks.items():
        by_path = {_shown(file.path): [file] for file in files}
        apart |= by_path if len(by_path) == len(files) > 1 else {name: files}
    return apart


def _shown(name):
    """The name in a form that can be printed and stored. Only escaped names have a backslash, so none collide."""
    return ascii(name)[1:-1] if ODD.search(name) else name


def _read(files, max_bytes):
    """Content and problem of a notebook."""
    problem = f"{len(files)} files have this name" if len(files) > 1 else files[0].problem
    if not problem and ODD.search(files[0].path):
        problem = "its path has control characters or backslashes, or is not Unicode"
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
