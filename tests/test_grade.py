"""The command grade on a sample class: marks, files, a kill in the middle, marks by hand."""

import csv
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile

import pytest
from conftest import needs
from sample_class import FIRST, STUDENTS, sample_class

from grading import __main__ as cli
from grading import gradebook
from grading.papers import read_papers
from grading.release import release
from grading.submissions import Submission, file_name

pytestmark = needs("bubblewrap")
# One of each kind; identical answers are judged once.
CLASS = [name for name in STUDENTS if name[:3] not in ("s03", "s04", "s08", "s09", "s10", "s12", "s16")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("class")


@pytest.fixture(scope="module")
def handed_out(folder):
    release(["2", "7"], folder / "handout", say=lambda line: None)
    manifest = json.loads((folder / "handout" / "manifest.json").read_text(encoding="utf-8"))
    only_two = {**manifest, "notebooks": {k: v for k, v in manifest["notebooks"].items() if k[:2] == "02"}}
    sample_class(only_two, folder / "handout" / "student", folder / "in", CLASS)
    return folder / "handout" / "manifest.json"


def command(folder, handed_out, *more):
    line = [sys.executable, "-m", "grading", "grade", str(folder / "in"), "--manifest", str(handed_out)]
    return [*line, "--out", str(folder / "out"), "--seeds", "1", *more]


def table(folder):
    with open(folder / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        return {(row["student_id"], row["notebook"]): row for row in csv.DictReader(file)}


def everything(folder):
    """All reports, by name."""
    kept = [path for path in (folder / "out").rglob("*") if path.is_file() and path.parent.name != "judged"]
    return {path.relative_to(folder): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def graded(folder, handed_out):
    """The class, graded by a command that is killed again and again: at once, and after two more results."""
    for more in (0, 2):
        before = kept(folder)
        with subprocess.Popen(command(folder, handed_out), stdout=subprocess.DEVNULL, start_new_session=True) as killed:
            deadline = time.monotonic() + 120
            while len(kept(folder)) < len(before) + more and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(random.uniform(0, 0.5))
            os.killpg(killed.pid, signal.SIGKILL)
        assert not (folder / "out" / "grades.csv").exists()
        assert before.items() <= kept(folder).items(), "what was judged is kept"
    before = kept(folder)
    for _ in range(
        2
    ):  # the first run sets the student aside at whom the kill came, the second one judges this one, too
        done = subprocess.run(command(folder, handed_out), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(before) >= 2 and before.items() <= kept(folder).items()
    return table(folder)


def kept(folder):
    """What was judged: name → when, and all of it can be read."""
    found = {}
    for path in (folder / "out" / "judged").glob("[!.]*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        assert result["verdicts"]
        if not result.get("again"):
            found[path.name] = path.stat().st_mtime_ns
    return found


LESSON, OTHER = "02_forward_noising", "07_better_and_faster"


@pytest.mark.slow
@pytest.mark.parametrize("student", CLASS)
def test_marks_of_the_class(student, graded):
    row = graded["'" + student if student[0] == "=" else student, LESSON]
    assert float(row["score"]) == STUDENTS[student][2] and row["max_score"] == "8"
    assert row["status"] == ("unreadable" if student == "s20-tom" else "graded")
    assert row["sandbox"] == "bubblewrap"


@pytest.mark.slow
def test_what_was_not_sent_has_a_row(graded):
    row = graded["s01-ada", OTHER]
    assert (row["status"], row["score"], row["file"]) == ("not submitted", "0.0", "")


@pytest.mark.slow
def test_verdicts_say_how_and_what(folder, graded):
    def question(student, number):
        path = folder / "out" / "verdicts" / file_name(student) / f"{file_name(LESSON)}.json"
        return json.loads(path.read_text(encoding="utf-8"))["questions"][number]

    kim, olga, quinn, goran = (
        question(s, n) for s, n in (("s11-kim", 0), ("s15-olga", 0), ("s17-quinn", 0), ("s07-goran", 2))
    )
    assert kim["question"] == FIRST and "you returned α_t" in kim["found"] and kim["matched"] == "grade_id"
    assert question("s05-emil", 0)["matched"] == "cell id"
    assert olga["found"].startswith("running your code ended the process") and quinn["status"] == "wrong"
    assert [p["holds"] for p in goran["properties"]] == [True, False] and goran["points"] == 1.5


@pytest.mark.slow
def test_feedback_is_safe_and_helps(folder, graded):
    pages = {path.name: path.read_text(encoding="utf-8") for path in (folder / "out" / "feedback").iterdir()}
    assert len(pages) == len(CLASS)
    assert "you returned α_t where ᾱ_t is needed" in pages[f"{file_name('s11-kim')}.html"]
    for page in pages.values():
        assert "<script" not in page and "default-src 'none'" in page
    (strange,) = (page for page in pages.values() if "calc" in page)
    assert "=cmd|&#39;calc&#39;!A1" in strange
    summary = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "Most common mistakes" in summary and "s17-quinn" in summary


@pytest.mark.slow
def test_once_more_gives_the_same_files_at_once(folder, handed_out, graded):
    before = everything(folder)
    assert subprocess.run(command(folder, handed_out, "--jobs", "2"), capture_output=True, check=False).returncode == 0
    assert everything(folder) == before


@pytest.mark.slow
def test_a_zip_of_the_same_gives_the_same_marks(folder, handed_out, graded):
    with zipfile.ZipFile(folder / "class.zip", "w") as archive:
        for path in (folder / "in").rglob("*.ipynb"):
            archive.write(path, path.relative_to(folder / "in"))
    before = (folder / "out" / "grades.csv").read_bytes()
    line = command(folder, handed_out)
    line[line.index(str(folder / "in"))] = str(folder / "class.zip")
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    assert (folder / "out" / "grades.csv").read_bytes() == before


@pytest.mark.slow
def test_a_human_has_the_last_word(folder, handed_out, graded):
    marks = folder / "marks.csv"
    marks.write_text(f"student_id,question,points\ns11-kim,{FIRST},1.5\n'=cmd|'calc'!A1,{FIRST},\n", encoding="utf-8")
    done = subprocess.run(command(folder, handed_out, "--marks", str(marks)), capture_output=True, check=False)
    assert done.returncode == 0
    assert float(table(folder)["s11-kim", LESSON]["score"]) == 7.5


# --- what a human decides; nothing is run --------------------------------------------------------------------------
def decided(handed_out, folder, files, *more):
    """Grade ``{student: {name: content}}`` by what the notebooks show: rows and folder of the verdicts."""
    for student, sent in files.items():
        (folder / "in" / student).mkdir(parents=True)
        for name, content in sent.items():
            (folder / "in" / student / f"{name}.ipynb").write_bytes(content)
    arguments = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(folder / "out")]
    assert cli.main([*arguments, "--no-execute", *more]) == 0
    with open(folder / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file)), folder / "out" / "verdicts"


def books(handed_out):
    """Lesson 2 with its stubs, with another answer, and lesson 7."""
    stub = (handed_out.parent / "student" / f"{LESSON}.ipynb").read_bytes()
    other = stub.replace(b'raise NotImplementedError(\\"alpha_bars\\")', b"return 1 - betas")
    assert other != stub
    return stub, other, (handed_out.parent / "student" / f"{OTHER}.ipynb").read_bytes()


def test_two_files_for_a_lesson_and_a_wrong_name(handed_out, tmp_path):
    """Each file has a verdict of its own, and a human decides."""
    stub, other, seven = books(handed_out)
    files = {"ada": {LESSON: stub, f"{LESSON} (1)": other}, "bo": {LESSON: seven}, "cy": {LESSON: stub, "copy": stub}}
    rows, verdicts = decided(handed_out, tmp_path, files)
    found = {(row["student_id"], row["file"]): (row["notebook"], row["status"], row["remarks"]) for row in rows}
    for name in (LESSON, f"{LESSON} (1)"):
        assert found["ada", name] == (LESSON, "needs a human", f"2 different notebooks for {LESSON}: which one counts?")
    assert found["bo", LESSON][:2] == (OTHER, "needs a human")
    assert found["cy", "copy"] == (LESSON, "not counted", f"the same answers as {LESSON}")
    for student, count in (("ada", 3), ("bo", 2), ("cy", 3)):  # with one for the lesson that was not sent
        stored = [json.loads(path.read_text(encoding="utf-8")) for path in (verdicts / file_name(student)).iterdir()]
        mine = [(row["file"], row["notebook"]) for row in rows if row["student_id"] == student]
        assert sorted((each["file"], each["notebook"]) for each in stored) == sorted(mine) and len(mine) == count


def test_marks_by_hand_count_for_every_status(handed_out, tmp_path):
    stub, other, seven = books(handed_out)
    files = {
        "unreadable": {LESSON: b"{"},
        "of another name": {"homework": b"{"},
        "two": {LESSON: stub, f"{LESSON} (1)": other},
        "wrong lesson": {LESSON: seven},
        "not answered": {LESSON: stub},
        "not sent": {OTHER: seven},
        "twice": {LESSON: other, "copy": other},
    }
    marks = tmp_path / "marks.csv"
    marks.write_text("student_id,question,points\n" + "".join(f"{name},{FIRST},1.5\n" for name in files), "utf-8")
    rows, _ = decided(handed_out, tmp_path, files, "--marks", str(marks))
    for name in files:
        assert sum(float(row["score"]) for row in rows if row["student_id"] == name) == 1.5, name


def test_memory_stays_flat(handed_out):
    """Ten times as many notebooks, hardly more memory: they are never all held."""
    manifest, book = json.loads(handed_out.read_text(encoding="utf-8")), json.loads(books(handed_out)[1])
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 2_000_000}
    next(cell for cell in book["cells"] if cell["cell_type"] == "code")["outputs"] = [output]
    content, peaks = json.dumps(book).encode(), []
    for execute, count in itertools.product((True, False), (2, 20)):
        sent = (Submission(f"s{number}", LESSON, bytes(bytearray(content))) for number in range(count))
        tracemalloc.start()
        papers = read_papers(sent, manifest, execute)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(papers) == count
    assert peaks[1] < peaks[0] + 5e6 and peaks[3] < peaks[2] + 5e6


def test_nothing_runs_in_a_browser(handed_out, tmp_path, chromium):
    """Whatever stands in names and answers: nothing asks, nothing is fetched, and no element of theirs is there."""
    script = "</pre><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(1)><svg onload=alert(1)>"
    stub = books(handed_out)[0].replace(
        b'raise NotImplementedError(\\"alpha_bars\\")', b"return 1  # " + script.encode()
    )
    decided(handed_out, tmp_path, {script.replace("/", "∕"): {LESSON: stub, script.replace("/", "∕"): stub}})
    page, seen = chromium.new_page(), []
    page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: seen.append(request.url) if request.url[:5] not in ("file:", "data:") else None)
    pages = sorted((tmp_path / "out").rglob("*.html"))
    assert len(pages) > 2
    for path in pages:
        page.goto(path.as_uri())
        assert page.locator("script, img[onerror], svg[onload], iframe, object, form").count() == 0
    assert not seen


@pytest.mark.parametrize(
    "lines, words",
    [
        ("student_id,question\na,b\n", "needs the columns"),
        ("student_id,question,points\na,nothing,1\n", "line 2: unknown question 'nothing'"),
        (f"student_id,question,points\nadda,{FIRST},2\n", "line 2: no student 'adda' sent anything"),
        (f"student_id,question,points\na,{FIRST},3\n", "points must lie in 0 … 2, got '3'"),
        (f"student_id,question,points\na,{FIRST},-1\n", "points must lie in"),
        (f"student_id,question,points\na,{FIRST},nan\n", "points must lie in"),
        (f"student_id,question,points\na,{FIRST},many\n", "got 'many'"),
    ],
)
def test_bad_marks(lines, words, tmp_path):
    (tmp_path / "marks.csv").write_text(lines, encoding="utf-8")
    manifest = {"notebooks": {LESSON: {"questions": [{"answer": FIRST, "points": 2}]}}}
    with pytest.raises(ValueError, match=words):
        gradebook.read_marks(tmp_path / "marks.csv", manifest, {"a"})


def test_bad_arguments(folder, handed_out, tmp_path, capsys):
    (tmp_path / "empty.json").write_text("{}")
    good = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(tmp_path / "out")]
    for place, value, words in (
        (1, "nowhere", "nowhere"),
        (3, "nothing.json", "no manifest nothing.json"),
        (3, str(tmp_path / "empty.json"), "is not a manifest"),
        (5, "/proc/nothing/here", "cannot write"),
    ):
        assert cli.main([*good[:place], value, *good[place + 1 :]]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert cli.main([*good, "--seeds", "0"]) == 2 and "at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out" / "grades.csv").exists()
