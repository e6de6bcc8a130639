"""The copies that students work in: made once, never overwritten, the same as what is handed out."""

import io
import re
import sys

import nbformat
import pytest

from grading.release import release
from lab import address, cli, lessons, stubs
from lab import copies as copying

NAMES = [f"{lesson}.ipynb" for lesson in lessons.LESSONS]


def test_the_command_writes_what_release_hands_out(tmp_path, no_partial_files, capsys):
    assert cli.main(["copy", "--out", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.count(": new\n") == len(NAMES)
    release(out=tmp_path / "release", say=lambda line: None)
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == NAMES
    for name in NAMES:
        written = (tmp_path / "mine" / name).read_bytes()
        assert written == (tmp_path / "release" / "student" / name).read_bytes()
        assert b"BEGIN SOLUTION" not in written


@pytest.mark.parametrize(
    ("folder", "encoding"),
    [("课程", "cp1252"), ("ᾱ → x", "ascii"), ("レッスン", "latin-1")],
    ids=["cp1252", "ascii", "latin-1"],
)
def test_a_folder_whose_name_the_screen_cannot_show(folder, encoding, tmp_path, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    assert cli.main(["copy", "--out", str(tmp_path / folder)]) == 0
    assert sorted(path.name for path in (tmp_path / folder).iterdir()) == NAMES
    screen.flush()
    printed = screen.buffer.getvalue().decode(encoding)
    assert printed.count(": new\n") == len(NAMES) and ascii(folder[0])[1:-1] in printed


def test_what_is_there_is_kept_and_what_is_missing_is_added(tmp_path):
    copying.copy_lessons(tmp_path, say=lambda line: None)
    (tmp_path / NAMES[0]).write_text("my work", encoding="utf-8")
    (tmp_path / NAMES[1]).unlink()
    said = []
    copying.copy_lessons(tmp_path, say=said.append)
    assert (tmp_path / NAMES[0]).read_text(encoding="utf-8") == "my work"
    assert nbformat.read(tmp_path / NAMES[1], as_version=4).cells
    told = [line.rsplit(": ")[-1] for line in said[: len(NAMES)]]
    assert told == ["kept as it is", "new", *["kept as it is"] * (len(NAMES) - 2)]


def test_copies_that_are_older_than_their_lessons_are_named(tmp_path):
    """Those of an earlier release, which do not say what they were made from, and those of other code."""
    copying.copy_lessons(tmp_path / "mine", say=lambda line: None)
    said = []
    copying.copy_lessons(tmp_path / "mine", say=said.append)
    assert len(said) == len(NAMES), "nothing has changed"
    for name, metadata in ((NAMES[0], {}), (NAMES[1], {"code_hash": "another"})):
        notebook = nbformat.read(tmp_path / "mine" / name, as_version=4)
        notebook.metadata["lab"] = metadata
        nbformat.write(notebook, tmp_path / "mine" / name)
    copying.copy_lessons(tmp_path / "mine", say=said.append)
    assert said[-1].startswith(f"changed since your copy was made: {lessons.LESSONS[0]}, {lessons.LESSONS[1]}; ")
    assert "python -m lab copy --out mine_new" in said[-1]


def test_every_check_goes_on_and_can_be_handed_in(tmp_path):
    copying.copy_lessons(tmp_path, say=lambda line: None)
    for name in NAMES:
        before, after = (nbformat.read(folder / name, as_version=4) for folder in (lessons.NOTEBOOK_DIR, tmp_path))
        nbformat.validate(after)
        for old, new in zip(before.cells, after.cells, strict=True):
            assert new.metadata.get("nbgrader") == old.metadata.get("nbgrader")
            assert (stubs.GOES_ON in new.metadata.get("tags", [])) == stubs.is_check(new)
            assert not new.get("outputs")


def test_links_hold_in_the_copies(tmp_path):
    """Every path in a copy leads to another lesson, or is one that begins at the repository's top."""
    copying.copy_lessons(tmp_path, say=lambda line: None)
    for name in NAMES:
        for cell in nbformat.read(tmp_path / name, as_version=4).cells:
            if cell.cell_type == "markdown":
                for link in re.findall(r"""\]\(([^)]+)\)|(?:src|href)=["']([^"']+)""", cell.source):
                    target = "".join(link).split("#")[0]
                    if target and not re.match(r"https?:|attachment:|data:", target):
                        assert (tmp_path / target).exists() or (copying.WORK_DIR / target).resolve().exists(), target
            elif "setup" in cell.metadata.get("tags", []):
                assert cell.source == address.SETUP.format(
                    **dict(zip(("repository", "tag"), address.recorded_address(), strict=True))
                )
    assert copying.WORK_DIR.parent == lessons.NOTEBOOK_DIR.parent, "the setup cell looks for labutils one folder up"


def test_faults_are_told_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="no notebook"):
        copying.copy_lessons(tmp_path / "out", source=tmp_path)
    for name in NAMES:
        cell = nbformat.v4.new_code_cell("### BEGIN SOLUTION", id="x")
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / name)
    with pytest.raises(ValueError, match=f"{NAMES[0]}, cell x"):
        copying.copy_lessons(tmp_path / "out", source=tmp_path)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
