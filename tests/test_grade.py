"""The command grade on a sample class: marks, files, a kill in the middle, marks by hand."""

import csv
import itertools
import json
import os
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
from grading.batch import ENDED
from grading.papers import read_papers
from grading.release import release
from grading.submissions import Submission, file_name
from lab import lessons

LESSON, SAMPLING, OTHER = "02_forward_noising", "05_sampling", "07_better_and_faster"
ADA, GORAN, MO, OLGA, STRANGE, TOM = STUDENTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("class")


@pytest.fixture(scope="module")
def handed_out(folder):
    release([], folder / "handout", say=lambda line: None)
    manifest = json.loads((folder / "handout" / "manifest.json").read_text(encoding="utf-8"))
    sample_class(manifest, folder / "handout" / "student", folder / "in")
    return folder / "handout" / "manifest.json"


def arguments(folder, handed_out, *more):
    line = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(folder / "out"), "--seeds", "1"]
    return [*line, *more]


def command(folder, handed_out, *more):
    return [sys.executable, "-m", "grading", *arguments(folder, handed_out, *more)]


@pytest.fixture(scope="module")
def graded(folder, handed_out):
    """The class, graded by one command."""
    line = command(folder, handed_out, "--jobs", "2")
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return table(folder)


def table(folder):
    with open(folder / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        return {(row["student_id"], row["notebook"]): row for row in csv.DictReader(file)}


def everything(folder):
    """All reports, by name."""
    kept = [path for path in (folder / "out").rglob("*") if path.is_file() and path.parent.name != "judged"]
    return {path.relative_to(folder): path.read_bytes() for path in kept}


def judged(folder):
    """What was judged: name → when."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out" / "judged").glob("[!.]*.json")}


def verdicts(folder, student, lesson=LESSON):
    """Question → verdict."""
    path = folder / "out" / "verdicts" / file_name(student) / f"{file_name(lesson)}.json"
    return {each["question"]: each for each in json.loads(path.read_text(encoding="utf-8"))["questions"]}


@needs("bubblewrap")
@pytest.mark.parametrize("student", STUDENTS)
def test_marks_of_the_class(student, graded):
    row = graded["'" + student if student[0] == "=" else student, LESSON]
    assert float(row["score"]) == STUDENTS[student].points and row["max_score"] == "10"
    assert row["status"] == ("unreadable" if student == TOM else "graded")
    assert row["sandbox"] == "bubblewrap"


@needs("bubblewrap")
def test_the_labs_own_answers_of_all_lessons_get_full_marks(folder, handed_out, graded):
    for lesson, entry in json.loads(handed_out.read_text(encoding="utf-8"))["notebooks"].items():
        by_code = sum(question["points"] for question in entry["questions"] if question["kind"] == "code")
        found = verdicts(folder, ADA, lesson)
        assert float(graded[ADA, lesson]["score"]) == by_code, found
        assert not [each["note"] for each in found.values() if each["note"]]


@needs("bubblewrap")
def test_what_was_not_sent_has_a_row(graded):
    row = graded[OLGA, OTHER]
    assert (row["status"], row["score"], row["file"]) == ("not submitted", "0.0", "")


@needs("bubblewrap")
def test_verdicts_say_how_and_what(folder, graded):
    first, _, third, _ = verdicts(folder, GORAN).values()
    assert first["question"] == FIRST and "you returned α_t" in first["found"] and first["matched"] == "grade_id"
    assert [each["holds"] for each in third["properties"]] == [True, False] and third["points"] == 1.0
    assert verdicts(folder, GORAN, SAMPLING)["ex-5-2-sampling-loop"]["status"] == "partly right"
    assert {each["matched"] for each in verdicts(folder, STRANGE).values()} == {"cell id"}
    assert {each["status"] for each in verdicts(folder, MO).values()} == {"not answered"}
    assert verdicts(folder, OLGA)["ex-2-2-add-noise"]["found"] == "running your code ended the process: exit 3"


@needs("bubblewrap")
def test_feedback_is_safe_and_helps(folder, graded):
    pages = {path.name: path.read_text(encoding="utf-8") for path in (folder / "out" / "feedback").iterdir()}
    assert len(pages) == len(STUDENTS)
    assert "you returned α_t where ᾱ_t is needed" in pages[f"{file_name(GORAN)}.html"]
    for page in pages.values():
        assert "<script" not in page and "default-src 'none'" in page
    assert "=cmd|&#39;calc&#39;!A1" in pages[f"{file_name(STRANGE)}.html"]
    summary = (folder / "out" / "index.html").read_text(encoding="utf-8")
    assert "Most common mistakes" in summary and OLGA in summary


@needs("bubblewrap")
def test_once_more_as_a_zip_gives_the_same_files_at_once(folder, handed_out, graded):
    with zipfile.ZipFile(folder / "class.zip", "w") as archive:
        for path in (folder / "in").rglob("*.ipynb"):
            archive.write(path, path.relative_to(folder / "in"))
    before = everything(folder), judged(folder)
    line = arguments(folder, handed_out)
    line[1] = str(folder / "class.zip")
    assert cli.main(line) == 0
    assert (everything(folder), judged(folder)) == before


@needs("bubblewrap")
def test_a_human_has_the_last_word(folder, handed_out, graded):
    marks = folder / "marks.csv"
    marks.write_text(f"student_id,question,points\n{GORAN},{FIRST},0.5\n'{STRANGE},{FIRST},\n", encoding="utf-8")
    assert cli.main(arguments(folder, handed_out, "--marks", str(marks))) == 0
    assert float(table(folder)[GORAN, LESSON]["score"]) == STUDENTS[GORAN].points + 0.5


@pytest.mark.slow
@needs("bubblewrap")
def test_a_kill_in_the_middle_costs_nothing_but_time(folder, handed_out, graded):
    """Two students hand in again; the command is killed while it judges the second one, whose answer waits."""
    for student, old, new in (
        (GORAN, "# exercise: ", "# once more: "),
        (OLGA, "os._exit(3)", "__import__('time').sleep(999)"),
    ):
        path = folder / "in" / student / f"{LESSON}.ipynb"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    before, judging = judged(folder), folder / "out" / "judged"
    with subprocess.Popen(command(folder, handed_out), stdout=subprocess.DEVNULL, start_new_session=True) as killed:
        end = time.monotonic() + 300
        while not (len(judged(folder)) > len(before) and list(judging.glob("*.now"))) and time.monotonic() < end:
            assert killed.poll() is None
            time.sleep(0.1)
        os.killpg(killed.pid, signal.SIGKILL)
    between = judged(folder)
    assert before.items() <= between.items() and len(between) == len(before) + 1
    assert cli.main(arguments(folder, handed_out)) == 0, "nothing is left to be judged"
    assert between.items() <= judged(folder).items(), "what was judged is kept"
    assert {each["found"] for each in verdicts(folder, OLGA).values()} == {ENDED}
    assert {key: float(row["score"]) for key, row in table(folder).items() if key[0] != OLGA} == {
        key: float(row["score"]) for key, row in graded.items() if key[0] != OLGA
    }


# --- what a human decides; nothing is run --------------------------------------------------------------------------
def decided(handed_out, folder, files, *more):
    """Grade ``{student: {name: content}}`` by what the notebooks show: rows and folder of the verdicts."""
    for student, sent in files.items():
        (folder / "in" / student).mkdir(parents=True)
        for name, content in sent.items():
            (folder / "in" / student / f"{name}.ipynb").write_bytes(content)
    line = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(folder / "out")]
    assert cli.main([*line, "--no-execute", *more]) == 0
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
    every = len(lessons.LESSONS)
    for student, count in (("ada", every + 1), ("bo", every), ("cy", every + 1)):  # one for each lesson not sent
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
    marks.write_text("student_id,question,points\n" + "".join(f"{name},{FIRST},0.5\n" for name in files), "utf-8")
    rows, _ = decided(handed_out, tmp_path, files, "--marks", str(marks))
    for name in files:
        assert sum(float(row["score"]) for row in rows if row["student_id"] == name) == 0.5, name


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


def test_bad_arguments(folder, handed_out, tmp_path, capsys):
    (tmp_path / "empty.json").write_text("{}")
    good = ["grade", str(folder / "in"), "--manifest", str(handed_out), "--out", str(tmp_path / "out")]
    good += ["--sandbox", "off"]
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
