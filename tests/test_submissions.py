"""What students send, read without trusting any of it: one bad file costs its sender one line, and nobody else."""

import os
import socket
import stat
import unicodedata
import warnings
import zipfile

import pytest

from grading import submissions
from grading.submissions import Submission, collect, safe_name, stream

BOOK = b'{"cells": []}'
HONEST = Submission("s2", "02_forward_noising", BOOK)


@pytest.fixture
def batch(tmp_path):
    """A folder with one honest student."""
    write(tmp_path / "batch" / "s2" / "02_forward_noising.ipynb")
    return tmp_path / "batch"


def write(path, content=BOOK):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    """A zip of pairs (name or ZipInfo, content)."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return path


def beside_honest(tmp_path, *members, **options):
    """What is found in a zip beside the notebook of an honest student, who must come through untouched."""
    path = zipped(tmp_path / "batch.zip", [("s2/02_forward_noising.ipynb", BOOK), *members])
    found = collect(path, **options)
    assert found.count(HONEST) == 1
    assert sorted(os.listdir(tmp_path)) == ["batch.zip"], "nothing may be written"
    return [submission for submission in found if submission != HONEST]


def the_problem(found):
    (only,) = found
    assert only.content is None and only.problem
    return only.student, only.name, only.problem


def test_folder_and_zip_give_the_same(batch, tmp_path):
    write(batch / "s1" / "03_unet.ipynb")
    write(batch / "s1" / "02_forward_noising (1).IPYNB")
    expected = [Submission("s1", "02_forward_noising (1)", BOOK), Submission("s1", "03_unet", BOOK), HONEST]
    assert collect(batch) == collect(str(batch)) == expected
    members = [
        (str(file.relative_to(batch)), BOOK) for file in sorted(batch.rglob("*"), reverse=True) if file.is_file()
    ]
    assert collect(zipped(tmp_path / "a.zip", members)) == expected
    assert collect(zipped(tmp_path / "b.zip", [(f"class 1/{name}", text) for name, text in members])) == expected
    assert collect(zipped(tmp_path / "c.zip", [(f"./{name}", text) for name, text in members])) == expected


def test_one_file_at_a_time(batch, monkeypatch):
    """With hundreds of students not all notebooks may be in memory at once."""
    write(batch / "s1" / "03_unet.ipynb")
    first = next(stream(batch))
    (batch / "s2" / "02_forward_noising.ipynb").write_bytes(b"changed later")
    assert first.content == BOOK and list(stream(batch))[-1].content == b"changed later"


@pytest.mark.parametrize("kind", ["missing", "text", "half a zip"])
def test_what_is_neither_folder_nor_zip_is_refused(kind, tmp_path):
    path = tmp_path / "batch.zip"
    if kind == "missing":
        with pytest.raises(FileNotFoundError, match="no folder or zip .*batch.zip"):
            collect(path)
        return
    whole = zipped(path, [("s1/n.ipynb", BOOK), ("s1/m.ipynb", BOOK)]).read_bytes()
    damaged = {"text": b"hello", "half a zip": whole[:60]}
    path.write_bytes(damaged[kind])
    with pytest.raises(ValueError, match="batch.zip is neither a folder nor a zip that can be read") as refusal:
        collect(path)
    assert "\n" not in str(refusal.value)


def test_an_unreadable_folder_is_refused(batch, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match="cannot read the folder .*: Permission denied"):
        collect(batch)


def test_junk_is_ignored(batch):
    for name in (
        "__MACOSX/s1/a.ipynb",
        ".git/a.ipynb",
        "s2/.ipynb_checkpoints/a-checkpoint.ipynb",
        "s2/._a.ipynb",
        "s2/__MACOSX/a.ipynb",
        "s2/.ipynb",
        "grades.csv",
        "s2/Thumbs.db",
    ):
        write(batch / name)
    assert collect(batch) == [HONEST]


def test_junk_in_a_zip_is_ignored(tmp_path):
    names = ("__MACOSX/s2/._02_forward_noising.ipynb", ".DS_Store", "s2/.ipynb_checkpoints/a.ipynb", "more.zip")
    assert beside_honest(tmp_path, *[(name, BOOK) for name in names]) == []
    wrapped = [
        ("class/s2/02_forward_noising.ipynb", BOOK),
        ("__MACOSX/class/s2/._x.ipynb", b""),
        ("class/list.txt", b""),
    ]
    assert collect(zipped(tmp_path / "wrapped.zip", wrapped)) == [HONEST]


def test_files_beside_the_notebook_are_ignored(batch):
    for name in ("numpy.py", "labutils/__init__.py", "sitecustomize.py", "answers.zip", "conftest.py"):
        write(batch / "s2" / name, b"raise SystemExit")
    assert collect(batch) == [HONEST]


def test_a_student_without_a_notebook_does_not_vanish(batch, tmp_path):
    (batch / "s1").mkdir()
    write(batch / "s3" / "notebook.pdf")
    write(batch / "s4" / ".ipynb_checkpoints" / "a.ipynb")
    found = collect(batch)
    assert [(s.student, s.name, s.content) for s in found if s != HONEST] == [(f"s{i}", "", None) for i in (1, 3, 4)]
    assert found[0].problem == "no notebook was sent"
    assert found[2].problem == "no notebook was sent; there is notebook.pdf"
    empty = zipped(tmp_path / "batch.zip", [("class/", b""), ("class/s1/", b""), ("class/s2/a.txt", b"")])
    assert [(s.student, s.content) for s in collect(empty)] == [("s1", None), ("s2", None)]


def test_notebooks_in_the_wrong_place_do_not_vanish(batch):
    write(batch / "loose.ipynb")
    write(batch / "s1" / "week 2" / "02_forward_noising.ipynb")
    found = {(s.student, s.name): s for s in collect(batch)}
    assert "beside the folders" in found["", "loose"].problem
    assert "in a folder within" in found["s1", "week 2/02_forward_noising"].problem
    assert found["s2", "02_forward_noising"] == HONEST and len(found) == 3


def test_links_are_not_followed(batch, tmp_path):
    write(tmp_path / "secret" / "n.ipynb", b"secret")
    (batch / "s1").symlink_to(tmp_path / "secret")
    (batch / "s3").mkdir()
    (batch / "s3" / "n.ipynb").symlink_to(tmp_path / "secret" / "n.ipynb")
    (batch / "s3" / "gone.ipynb").symlink_to("nowhere")
    (batch / "s3" / "up").symlink_to("..")
    found = [s for s in collect(batch) if s != HONEST]
    assert [(s.student, s.name, s.content, s.problem) for s in found] == [
        ("s1", "", None, "is a link"),
        ("s3", "gone", None, "is a link"),
        ("s3", "n", None, "is a link"),
    ]


def test_a_file_that_becomes_a_link_is_not_followed(batch, tmp_path):
    """Between the look at the folder and the reading."""
    write(tmp_path / "secret.ipynb", b"secret")
    write(batch / "s1" / "a.ipynb")
    found = stream(batch)
    next(found)
    (batch / "s2" / "02_forward_noising.ipynb").unlink()
    (batch / "s2" / "02_forward_noising.ipynb").symlink_to(tmp_path / "secret.ipynb")
    assert "cannot be read" in the_problem(found)[2]


def test_only_regular_files_are_read(batch):
    (batch / "s1" / "folder.ipynb").mkdir(parents=True)
    os.mkfifo(batch / "s1" / "pipe.ipynb")  # opening it in the ordinary way waits for ever
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(batch / "s1")  # the path of a socket must be short
        listener.bind("socket.ipynb")
        os.chdir(here)
        found = collect(batch)
    assert [(s.name, s.content, bool(s.problem)) for s in found if s.student == "s1"] == [
        ("folder", None, True),
        ("pipe", None, True),
        ("socket", None, True),
    ]
    assert found[-1] == HONEST


def test_unreadable_files_and_folders(batch, monkeypatch):
    write(batch / "s1" / "n.ipynb")
    write(batch / "s3" / "n.ipynb")
    read, scan = os.open, os.scandir

    def refuse(function, ending):
        def refusing(path, *rest):
            if str(path).endswith(ending):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *rest)

        return refusing

    monkeypatch.setattr(os, "open", refuse(read, os.path.join("s1", "n.ipynb")))
    monkeypatch.setattr(os, "scandir", refuse(scan, "s3"))
    found = collect(batch)
    assert found == [
        Submission("s1", "n", None, "cannot be read: Permission denied"),
        HONEST,
        Submission("s3", "", None, "cannot be read: Permission denied"),
    ]


@pytest.mark.parametrize("size", [100, 101])
def test_size_limit_of_a_file(size, batch, tmp_path):
    write(batch / "s1" / "n.ipynb", b"x" * size)
    archive = zipped(tmp_path / "batch.zip", [("s2/02_forward_noising.ipynb", BOOK), ("s1/n.ipynb", b"x" * size)])
    for path in (batch, archive):
        first, second = collect(path, max_bytes=100)
        assert second == HONEST
        assert (first.content, first.problem) == (
            (b"x" * 100, "") if size == 100 else (None, "is larger than 100 bytes")
        )


def test_limits_of_a_student(batch):
    for number in range(5):
        write(batch / "s1" / f"{number}.ipynb", b"x" * 40)
    first, *read, honest = collect(batch, max_notebooks=3)
    assert (first.name, first.problem) == ("", "5 notebooks were sent; only the first 3 are read")
    assert [s.name for s in read] == ["0", "1", "2"] and honest == HONEST
    *found, honest = collect(batch, max_total=100, max_bytes=50)
    assert [s.content is None for s in found] == [False, False, True, True, True] and honest == HONEST
    assert found[-1].problem == "all notebooks of this student together are too large"


TRICKS = [
    "../s2/x.ipynb",
    "s1/../../etc/x.ipynb",
    "/s1/x.ipynb",
    "s1\\x.ipynb",
    "C:/s1/x.ipynb",
    "C:\\s1\\x.ipynb",
    "s1/..\\x.ipynb",
    "\\\\host\\s1\\x.ipynb",
    "s1/../s2/x.ipynb",
]


@pytest.mark.parametrize("path", TRICKS)
def test_tricks_with_paths(path, tmp_path):
    student, name, problem = the_problem(beside_honest(tmp_path, (path, BOOK)))
    assert student != "s2" and "absolute, leads upwards or has backslashes" in problem
    assert name and name != "x", "must not pass for another file of the student"


def test_paths_that_are_nothing(tmp_path):
    for name in ("../x.py", "/", "//", "..", "\\"):
        assert beside_honest(tmp_path, (name, BOOK)) == []


def marked(name, **changes):
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    for key, value in changes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip(kind, tmp_path):
    link = marked("s1/n.ipynb", external_attr=(kind | 0o777) << 16)
    assert the_problem(beside_honest(tmp_path, (link, b"/etc/passwd"))) == ("s1", "n", "is a link or a device")


def patched(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return collect(path)


def test_encrypted_members(tmp_path):
    path = zipped(tmp_path / "batch.zip", [("s1/n.ipynb", BOOK)])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert the_problem(collect(path)) == ("s1", "n", "is encrypted")


def test_damaged_members(tmp_path):
    path = zipped(
        tmp_path / "batch.zip", [("s1/n.ipynb", BOOK), ("s2/02_forward_noising.ipynb", BOOK + b" ")], zipfile.ZIP_STORED
    )
    first, second = patched(path, BOOK + b"PK", b"?" + BOOK[1:] + b"PK")
    assert "cannot be read: Bad CRC-32" in first.problem and second.content == BOOK + b" "


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_packing(packing, tmp_path):
    found = beside_honest(tmp_path, (marked("s1/n.ipynb", compress_type=packing), BOOK))
    assert the_problem(found) == ("s1", "n", "is packed in an unusual way")


def test_bombs(tmp_path, monkeypatch):
    student, _, problem = the_problem(beside_honest(tmp_path, ("s1/n.ipynb", b" " * 3_000_000)))
    assert student == "s1" and problem == "would grow to more than 200 times its size in the zip"
    student, _, problem = the_problem(beside_honest(tmp_path, ("s1/n.ipynb", b" " * 900_000), max_bytes=100_000))
    assert problem == "is larger than 100,000 bytes"


def test_a_bomb_that_lies_about_its_size(tmp_path):
    size = 3_000_000
    path = zipped(tmp_path / "batch.zip", [("s1/n.ipynb", b" " * size)])
    (only,) = patched(path, size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert only.content is None and "cannot be read" in only.problem


def test_many_members(tmp_path):
    """Also in a zip, what one student sends costs nobody else."""
    first, *rest = beside_honest(tmp_path, *[(f"s1/{number:05}.ipynb", BOOK) for number in range(3000)])
    assert first.problem == "3000 notebooks were sent; only the first 50 are read" and len(rest) == 50
    assert beside_honest(tmp_path, *[(f"s2/{number}.txt", b"") for number in range(3000)]) == []


def test_nested_zips_are_not_opened(tmp_path):
    found = beside_honest(tmp_path, ("s1/n.zip", b"PK\5\6" + bytes(18)), ("s1/more.zip", b"x"))
    assert the_problem(found)[2] == "no notebook was sent; there is more.zip, n.zip"


def test_two_members_of_one_name(tmp_path):
    found = beside_honest(tmp_path, ("s1/n.ipynb", BOOK), ("s1/n.ipynb", b"other"), ("s1/m.ipynb", BOOK))
    assert [(s.name, s.content, s.problem) for s in found] == [("m", BOOK, ""), ("n", None, "2 files have this name")]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x7fb", "a\u202ebpynb", "a\u2028b", "a\\b"])
def test_odd_names(name, batch):
    write(batch / "s1" / f"{name}.ipynb")
    write(batch / f"s{name}" / "n.ipynb")
    found = collect(batch)
    assert len(found) == 3 and HONEST in found
    for submission in found:
        if submission != HONEST:
            assert submission.content is None and "its name has control characters" in submission.problem
            assert f"{submission.student}{submission.name}".isprintable()


def test_names_that_are_no_text(batch):
    os.makedirs(os.fsencode(batch) + b"/M\xfcller")
    os.makedirs(os.fsencode(batch) + b"/M\xf6ller")
    for name in (b"/M\xfcller/n.ipynb", b"/M\xf6ller/n.ipynb", b"/s2/\xff.ipynb"):
        with open(os.fsencode(batch) + name, "wb") as file:
            file.write(BOOK)
    found = [s for s in collect(batch) if s != HONEST]
    assert len({(s.student, s.name) for s in found}) == 3
    for submission in found:
        assert submission.content is None and "is not Unicode" in submission.problem
        f"{submission.student}{submission.name}{submission.problem}".encode()


def test_names_in_zips(tmp_path):
    """UTF-8 that is not marked as such; a NUL behind which the ending changes."""
    path = zipped(tmp_path / "batch.zip", [("s1/Xber.ipynb", BOOK), ("Xmit/nX.ipynb", BOOK)])
    content = path.read_bytes().replace(b"Xber", "ü".encode() + b"er").replace(b"Xmit", "Ş".encode() + b"it")
    path.write_bytes(content.replace(b"nX.ipynb", b"n\0.ipynb"))
    first, second = collect(path)
    assert (first.student, first.name) == ("s1", "üer") and first.content == BOOK
    assert second.student == "Şit" and "control characters" in second.problem


def test_order_is_always_the_same(batch):
    names = ["Z", "a", "ä", "10", "9", "b c", "B"]
    for name in names:
        write(batch / name / "z.ipynb")
        write(batch / name / "A.ipynb")
    found = [(s.student, s.name) for s in collect(batch)]
    assert found == sorted(found) and len(found) == 2 * len(names) + 1


IDS = [
    "s1",
    "S1",
    "s-1",
    "anna.meier",
    "anna.meier.",
    "anna meier",
    "anna_meier",
    "Anna",
    "",
    ".",
    "..",
    "-rf",
    "--",
    ".hidden",
    "con",
    "CON",
    "nul.txt",
    "com1",
    "a/b",
    "a\\b",
    "a:b",
    "Müller",
    "Muller",
    "Mu\u0308ller",
    "MÜLLER",
    "straße",
    "strasse",
    "STRASSE",
    "ſ1",
    "Ⅷ",
    "王伟",
    "王芳",
    "a" * 64,
    "a" * 65,
    "a" * 300,
    "é" * 300,
    "\ud800",
    "a\0",
    "a\n",
    " a",
    "a ",
    "=cmd|' /C calc'!A0",
    "<script>",
    "s1~",
    "İ",
    "i̇",
]


def test_safe_names():
    names = [safe_name(student) for student in IDS]
    # What the least careful file systems hold to be the same name.
    folded = {unicodedata.normalize("NFKC", name).casefold().rstrip(". ") for name in names}
    assert len(folded) == len(IDS)
    for name in [*names, *map(safe_name, names)]:
        assert name.isascii() and 0 < len(name) <= 64 and name[0].isalnum()
        assert not set(name) & set("/\\:*?\"<>| \0\n'=") and not submissions.DEVICE.fullmatch(name)
    assert names[:1] + names[2:4] == ["s1", "s-1", "anna.meier"], "plain names stay what they are"
    assert safe_name("S1").startswith("s1~") and safe_name("Müller").startswith("muller~")
    assert len({safe_name(name) for name in [*names, *IDS]}) == len({*names, *IDS})
