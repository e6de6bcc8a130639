"""What students send, read without trusting any of it: a bad file costs its sender one line, and nobody else."""

import json
import os
import stat
import time
import unicodedata
import zipfile
import zlib

import pytest

from grading.submissions import Submission, file_name, stream

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")
BOOK = b'{"cells": []}'
HONEST = [Submission(student, "02_forward_noising", BOOK) for student in ("s2", "s4")]
FILES = {f"{sent.student}/{sent.name}.ipynb": BOOK for sent in HONEST}


def folder_of(files, path):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).mkdir() if name.endswith("/") else (path / name).write_bytes(content)
    return path


def zip_of(files, path):
    """A zip of a dict: name or ZipInfo → content."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def beside_honest(path, **limits):
    """What is found beside the notebooks of the honest students, who must come through untouched."""
    found = list(stream(path, **limits))
    assert [sent for sent in found if sent in HONEST] == HONEST
    return [sent for sent in found if sent not in HONEST]


def places(found):
    return [(sent.student, sent.name) for sent in found]


@pytest.fixture(params=[folder_of, zip_of])
def pack(request, tmp_path):
    """A function that packs files beside those of the honest students, into a folder or a zip."""
    return lambda files: request.param(FILES | files, tmp_path / "class")


@pytest.mark.parametrize("outer", ["", "class 1/", "./"])
def test_folder_and_zip_give_the_same(outer, tmp_path):
    files = {f"{student}/{name}.ipynb": BOOK for student in ("a", "Z", "ä") for name in ("z (1)", "A")}
    found = list(stream(folder_of(files, tmp_path / "class")))
    order = [(student, name) for student in ("Z", "a", "ä") for name in ("A", "z (1)")]
    assert found == [Submission(*place, BOOK) for place in order]
    path = zip_of({f"{outer}{name}": BOOK for name in files}, tmp_path / "zip")
    assert list(stream(path)) == found
    # Many programs write names in UTF-8, but do not say so. These bytes are a version, flags and the packing.
    path.write_bytes(path.read_bytes().replace(b"\x14\0\0\x08\x08\0", b"\x14\0\0\0\x08\0"))
    assert list(stream(path)) == found


def test_an_outer_folder_with_attacks_beside_it(tmp_path):
    """Nothing that one student sends may change how the paths of the others are understood."""
    files = {f"class/{name}": BOOK for name in [*FILES, "", "s1/", "s3/a.txt"]}
    files |= dict.fromkeys(["readme.txt", "__MACOSX/s2/._x.ipynb", "/", "//", "..", "\\", "../x.py"], BOOK)
    files |= {"/s5/x.ipynb": BOOK, "../x.ipynb": BOOK, "C:\\x.ipynb": BOOK}
    found = beside_honest(zip_of(files, tmp_path / "zip"))
    assert places(found) == [("", "../x.ipynb"), ("", "/s5/x.ipynb"), ("", "C:\\\\x"), ("s1", ""), ("s3", "")]
    assert not any(sent.content for sent in found)


@pytest.mark.parametrize("change", [lambda path: None, lambda path: path.symlink_to(__file__), os.mkfifo])
def test_files_are_read_one_at_a_time(change, tmp_path):
    """With hundreds of students not all may be in memory at once. So a file may change after the listing."""
    later = folder_of(FILES, tmp_path) / list(FILES)[1]
    found = stream(tmp_path)
    next(found)
    later.unlink()
    change(later)
    assert not next(found).content


@pytest.mark.parametrize("content", [None, b"hello", b"PK\3\4" + bytes(60)])
def test_what_cannot_be_opened_is_refused(content, tmp_path):
    if content:
        (tmp_path / "class").write_bytes(content)
    with pytest.raises(ValueError, match="class is neither a folder nor a zip that can be read: .+"):
        list(stream(tmp_path / "class"))


def test_what_is_no_notebook(pack):
    junk = "__MACOSX/s1/a.ipynb .git/a.ipynb .DS_Store grades.csv more.zip"
    inside = "s2/.ipynb_checkpoints/a.ipynb s2/._a.ipynb s2/__MACOSX/a.ipynb s2/.ipynb s2/numpy.py s2/labutils/a.py"
    files = dict.fromkeys(f"{junk} {inside}".split(), b"raise SystemExit")
    files |= {"s1/a.pdf": b"", "s3/week/a.txt": b"", "s5/a.zip": b"PK\5\6" + bytes(18), "s6/": b""}
    there = {"s1": ", but a.pdf", "s3": ", but week/a.txt", "s5": ", but a.zip", "s6": ""}
    missing = [Submission(student, "", None, f"no notebook was sent{names}") for student, names in there.items()]
    assert beside_honest(pack(files)) == missing


@pytest.mark.parametrize(
    "names, said",
    [
        (["02.ipynb.zip"], "but 02.ipynb.zip"),
        (["02.html", "homework.rar"], "but 02.html, homework.rar (2 files)"),
        (["02.ipynb.crdownload", "02", "02.py", "02.lnk", "02.json"], "but 02, 02.ipynb.crdownload, 02.json (5 files)"),
        (["x" * 200], f"but {'x' * 60}…"),
        (["a\n\x1b[2J.pdf"], "but a\\n\\x1b[2J.pdf"),
    ],
)
def test_what_was_sent_is_named(names, said, pack):
    (found,) = beside_honest(pack({f"s1/{name}": b"%PDF" for name in names}))
    assert (found.student, found.problem) == ("s1", f"no notebook was sent, {said}")


def test_a_link_is_named(tmp_path):
    folder_of(FILES | {"s1/": b""}, tmp_path)
    (tmp_path / "s1" / "alias to 02").symlink_to(__file__)
    assert beside_honest(tmp_path) == [Submission("s1", "", None, "no notebook was sent, but alias to 02")]


def test_loose_files_only(tmp_path):
    (found,) = stream(folder_of({"anna.zip": b"", "bo.zip": b""}, tmp_path))
    assert found == Submission("", "", None, "no notebook was sent, but anna.zip, bo.zip (2 files)")


def test_what_browsers_add_to_a_name(pack):
    files = {"s1/a.ipynb.txt": BOOK, "s1/b.IPYNB.JSON": BOOK, "s3/a.ipynb": BOOK, "s3/a.ipynb.txt": b"other"}
    assert beside_honest(pack(files)) == [
        Submission("s1", "a", BOOK, "", "the file ends in .ipynb.txt"),
        Submission("s1", "b", BOOK, "", "the file ends in .ipynb.JSON"),
        Submission("s3", "s3/a.ipynb", BOOK),
        Submission("s3", "s3/a.ipynb.txt", b"other", "", "the file ends in .ipynb.txt"),
    ]


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Jürgen Müller") for form in ("NFC", "NFD"))


def test_a_student_with_a_mac_and_a_pc(pack):
    files = {f"{COMPOSED}/a.ipynb": BOOK, f"{DECOMPOSED}/b.ipynb": BOOK}
    assert beside_honest(pack(files)) == [Submission(COMPOSED, name, BOOK) for name in "ab"]


def test_the_same_name_from_a_mac_and_a_pc(pack):
    """They are two notebooks of one student."""
    found = beside_honest(pack({f"{COMPOSED}/a.ipynb": BOOK, f"{DECOMPOSED}/a.ipynb": b"other"}))
    assert [(sent.student, sent.content) for sent in found] == [(COMPOSED, b"other"), (COMPOSED, BOOK)]
    assert len({sent.name for sent in found}) == 2


N = "02_forward_noising"
MOODLE, ATTEMPT = "Anna van der Berg_123456_assignsubmission_file_", "attempt_2026-11-28-10-00-00"
PLATFORMS = [  # path, student, name, platform
    (f"meieranna_12345_67890_{N}.ipynb", "meieranna_12345", N, "Canvas"),
    (f"meieranna_LATE_12345_67890_{N}.ipynb", "meieranna_12345", N, "Canvas"),
    (f"meieranna_12345_67890_x_1_222_{N}-1.ipynb", "meieranna_12345", f"x_1_222_{N}-1", "Canvas"),
    (f"{MOODLE}/{N}.ipynb", "Anna van der Berg_123456", N, "Moodle"),
    (f"{MOODLE}{N}.ipynb", "Anna van der Berg_123456", N, "Moodle"),
    (f"{MOODLE[:-1]}/week 2/{N}.ipynb", "Anna van der Berg_123456", N, "Moodle"),
    (f"Lab 2_anna1_{ATTEMPT}_{N}.ipynb", "Lab 2_anna1", N, "Blackboard"),
    (f"Week_2_lab_a_b_{ATTEMPT}_x_eve_{ATTEMPT}_{N}.ipynb", "Week_2_lab_a_b", f"x_eve_{ATTEMPT}_{N}", "Blackboard"),
]


@pytest.mark.parametrize(("path", "student", "name", "platform"), PLATFORMS)
def test_names_of_platforms(path, student, name, platform, pack):
    remark = f"read as {platform} names files"
    assert beside_honest(pack({path: BOOK})) == [Submission(student, name, BOOK, "", remark)]


@pytest.mark.parametrize("outer", ["", "export/"])
@pytest.mark.parametrize("separator", ["/", "\\"])
@pytest.mark.parametrize("platform", ["Canvas", "Moodle", "Blackboard"])
def test_exports_of_platforms(platform, separator, outer, tmp_path):
    """A whole zip of one platform, as it is and packed again by PowerShell 5."""
    paths = {path: place for path, *place, whose in PLATFORMS if whose == platform}
    first, *_ = paths
    paths[first.replace("anna", "bo").replace("Anna", "Bo")] = [
        paths[first][0].replace("anna", "bo").replace("Anna", "Bo"),
        N,
    ]
    sent = {f"{outer}{path}".replace("/", separator): json.dumps(path).encode() for path in paths}
    found = list(stream(zip_of(sent, tmp_path / "zip")))
    assert {sent.remark for sent in found} == {f"read as {platform} names files"} and len(found) == len(paths)
    for sent in found:
        path = json.loads(sent.content)
        apart = sent.name == path  # several files with this name
        assert [sent.student, N if apart else sent.name] == paths[path]


@pytest.mark.parametrize("outer", ["", "Course 1/Lab_2/"])
@pytest.mark.parametrize("inner", ["", "notebooks/", "Abgabe/week 2/"])
def test_folders_as_github_classroom_and_ilias_have_them(outer, inner, tmp_path):
    sent = {f"{outer}{student}/{inner}{N}.ipynb": BOOK for student in ("Meier_Anna_ameier_123", "Wu_Bo_bwu_7")}
    assert [(it.student, it.name) for it in stream(zip_of(sent, tmp_path / "zip"))] == [
        ("Meier_Anna_ameier_123", N),
        ("Wu_Bo_bwu_7", N),
    ]


def test_what_blackboard_and_moodle_add(pack):
    files = {f"Lab_anna_{ATTEMPT}.txt": b"receipt", f"Lab_bo_{ATTEMPT}.txt": b"receipt"}
    files |= {f"Lab_bo_{ATTEMPT}_{N}.zip": b"", "Wu Bo_77_assignsubmission_onlinetext_/onlinetext.html": b""}
    said = {"Lab_anna": "", "Lab_bo": f", but {N}.zip", "Wu Bo_77": ", but onlinetext.html"}
    assert beside_honest(pack(files)) == [
        Submission(who, "", None, f"no notebook was sent{it}") for who, it in said.items()
    ]


@pytest.mark.parametrize(
    "path",
    ["eve/Meier_Anna_ameier_1/{}", "eve/meieranna_1_222_{}", f"eve/{MOODLE}/{{}}", f"eve/Lab_anna_{ATTEMPT}_{{}}"],
)
def test_nobody_can_look_like_another(path, pack):
    """What a platform would write, but inside a folder of the student's own."""
    (found,) = beside_honest(pack({path.format(f"{N}.ipynb"): BOOK}))
    assert found.student == "eve"


@pytest.mark.parametrize("start", ["eve/notebooks", MOODLE, "a_b_c_1"])
def test_no_platform_leads_upwards(start, tmp_path):
    (found,) = beside_honest(zip_of(FILES | {f"{start}/../s2/{N}.ipynb": BOOK}, tmp_path / "zip"))
    assert found.student == start.partition("/")[0].partition("_assign")[0] and "leads upwards" in found.problem


@pytest.mark.parametrize("part", ["_", "_a", "_1", "a_1_assignsubmission_file_/", f"a_{ATTEMPT}_", "1_222_", "/"])
def test_long_names_take_no_time(part, tmp_path):
    names = [part * (60_000 // len(part)) + f"{end}.ipynb" for end in range(5)]
    begin = time.monotonic()
    beside_honest(zip_of(FILES | dict.fromkeys(names, BOOK), tmp_path / "zip"))
    assert time.monotonic() - begin < 5


def test_limits_of_a_student(pack):
    files = {f"s1/{number:03}.ipynb": BOOK for number in range(300)}
    files |= {"s3/n.ipynb": b"x" * 100, "s3/o.ipynb": b"x" * 101}
    assert beside_honest(pack(files), max_bytes=100) == [
        Submission("s1", "", None, "of 300 notebooks, only 50 are read"),
        *(Submission("s1", f"{number:03}", BOOK) for number in range(50)),
        Submission("s3", "n", b"x" * 100),
        Submission("s3", "o", None, "is larger than 100 bytes"),
    ]


def member(name, kind=0, packing=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = kind << 16, packing
    return info


PLACE, LINKS = "is not STUDENT/NOTEBOOK.ipynb", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK]
ATTACKS = [  # members of a zip, and what is said of them: student, name, part of the problem
    ({"loose.ipynb": BOOK}, "", "loose", PLACE),
    ({"s1/n.ipynb/": b""}, "s1", "", "no notebook was sent"),
    ({"s1/n.ipynb": BOOK, member("s1/n.ipynb"): b"other"}, "s1", "n", "2 files have this name"),
    ({"s1/../s2/x.ipynb": BOOK}, "s1", "x", "leads upwards"),
    ({"/s1/x.ipynb": BOOK}, "", "x", PLACE),
    ({member("s1/n.ipynb", packing=zipfile.ZIP_LZMA): BOOK}, "s1", "n", "is packed in an unusual way"),
    ({"s1/n.ipynb": b" " * 30_000_000}, "s1", "n", "is larger than 20,000,000 bytes"),
]


@pytest.mark.parametrize(("members", "student", "name", "problem"), ATTACKS)
def test_attacks_in_a_zip(members, student, name, problem, tmp_path):
    (found,) = beside_honest(zip_of(FILES | members, tmp_path / "class"))
    assert (found.student, found.name, found.content) == (student, name, None) and problem in found.problem
    assert os.listdir(tmp_path) == ["class"], "nothing may be unpacked"


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_in_a_zip_is_its_own_text(kind, tmp_path):
    (found,) = beside_honest(zip_of(FILES | {member("s1/n.ipynb", kind): b"/etc/passwd"}, tmp_path / "class"))
    assert found == Submission("s1", "n", b"/etc/passwd")


SPACES = b" " * 900_000
PATCHES = {  # bytes of the member of s1, what replaces them, and part of the problem
    "encrypted": (b"\0\0\x08\0\0\0\x21\0", b"\1\0\x08\0\0\0\x21\0", "is encrypted"),  # flags, packing, time, date
    "damaged": (zlib.crc32(SPACES).to_bytes(4, "little"), b"1234", "cannot be read"),
    "lies about its size": (len(SPACES).to_bytes(4, "little"), (1000).to_bytes(4, "little"), "cannot be read"),
}


@pytest.mark.parametrize(("old", "new", "problem"), PATCHES.values(), ids=PATCHES)
def test_damaged_zips(old, new, problem, tmp_path):
    path = zip_of(FILES | {member("s1/n.ipynb"): SPACES}, tmp_path / "class")
    assert path.read_bytes().count(old) == 2
    path.write_bytes(path.read_bytes().replace(old, new))
    (found,) = beside_honest(path)
    assert (found.student, found.content) == ("s1", None) and problem in found.problem


@pytest.mark.parametrize("name", [*"\n\x1b\x7f\u202e\u2028\\", "\udcfc"])
def test_odd_names(name, tmp_path):
    odd = {f"s1/{name}a.ipynb": BOOK, f"s1{name}/a.ipynb": BOOK, f"s1{name}{name}/a.ipynb": BOOK}
    found = beside_honest(folder_of(FILES | odd, tmp_path))
    assert len(set(places(found))) == 3
    for sent in found:
        assert f"{sent.student}{sent.name}{sent.problem}".isprintable()


def test_only_ordinary_files_are_read(tmp_path):
    folder_of(FILES | {"s3/n.ipynb/a.txt": b""}, tmp_path)
    (tmp_path / "s1").symlink_to(tmp_path / "s2")
    (tmp_path / "s3" / "link.ipynb").symlink_to(__file__)
    (tmp_path / "s3" / "up").symlink_to("..")
    os.mkfifo(tmp_path / "s3" / "pipe.ipynb")  # opening it in the ordinary way waits for ever
    found = beside_honest(tmp_path)
    assert places(found) == [("s1", ""), ("s3", "link"), ("s3", "pipe")]
    assert all(sent.content is None and sent.problem for sent in found)


def test_an_unreadable_folder(tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("s1"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = beside_honest(folder_of(FILES | {"s1/n.ipynb": BOOK}, tmp_path))
    assert found == [Submission("s1", "", None, "cannot be read: Permission denied")]


IDS = ["s1", "S1", "s-1", "anna.meier", "anna.meier.", "anna meier", "anna_meier", "Anna", "", ".", "..", "-rf", "--"]
IDS += [".hidden", "con", "CON", "nul.txt", "com1", "a/b", "a\\b", "a:b", "Müller", "Muller", "Mu\u0308ller", "MÜLLER"]
IDS += ["straße", "strasse", "STRASSE", "ſ1", "Ⅷ", "王伟", "王芳", "a" * 64, "a" * 65, "a" * 300, "é" * 300, "\ud800"]
IDS += ["a\0", "a\n", " a", "a ", "=cmd|' /C calc'!A0", "<script>", "s1~", "İ", "i̇"]


def test_file_names():
    names = [file_name(student) for student in IDS]
    # What the least careful file systems hold to be the same name.
    folded = {unicodedata.normalize("NFKC", name).casefold().rstrip(". ") for name in names}
    assert len(folded) == len(IDS)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and len(name) < 50 for name in names)
    assert file_name("S1").startswith("s1-") and file_name("anna meier").startswith("anna-meier-")
