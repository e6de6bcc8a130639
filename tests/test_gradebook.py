"""What an instructor meets: the last line, the exit code, grades.csv, marks, pages."""

import csv
import html.parser
import io
import json
import re
import unicodedata
import zipfile

import pytest

from grading import __main__ as cli
from grading import gradebook
from grading.release import release
from grading.submissions import file_name

LESSON, OTHER, QUESTION = "02_forward_noising", "07_better_and_faster", "ex-2-1-alpha-bars"


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    release(["2", "7"], folder, say=lambda line: None)
    return folder


@pytest.fixture
def book(handed_out):
    return (handed_out / "student" / f"{LESSON}.ipynb").read_bytes()


@pytest.fixture
def grade(handed_out, tmp_path, capsys):
    """A function that grades a dict path → content, and runs nothing: exit code, what is said, rows of grades.csv."""

    def run(files, *more):
        with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        arguments = ["grade", str(tmp_path / "class.zip"), "--manifest", str(handed_out / "manifest.json")]
        code = cli.main([*arguments, "--out", str(tmp_path / "out"), "--no-execute", *more])
        said = capsys.readouterr()
        with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
            return code, said.out + said.err, list(csv.DictReader(file))

    return run


# --- the last line and the exit code --------------------------------------------------------------------------------
def test_what_is_counted(grade, book):
    code, said, _ = grade({f"a/{LESSON}.ipynb": book, f"b/{LESSON}.ipynb": book, f"c/{LESSON}.ipynb": b"{"})
    assert code == 0 and said.startswith("graded 2 notebooks, 1 could not be read (") and said.count("\n") == 1


@pytest.mark.parametrize(
    "files, words",
    [
        ({f"{student}.ipynb": b"{}" for student in "abc"}, "none of 3 could be read: its path leads upwards or is not"),
        ({"a/x.zip": b"", "b/": b""}, "none of 2 could be read: no notebook was sent, but x.zip"),
        ({"a/x.ipynb": b"{"}, "none of 1 could be read: cannot be read as a notebook"),
        ({"a.zip": b""}, "none of 1 could be read: no notebook was sent, but a.zip"),
        ({}, "none of 0 could be read"),
    ],
)
def test_nothing_could_be_read(files, words, grade):
    code, said, _ = grade(files)
    assert code == 1 and said.startswith(words) and said.count("\n") == 1


# --- what was sent is named -----------------------------------------------------------------------------------------
def test_how_a_file_was_read_is_a_remark(grade, book):
    _, _, rows = grade({f"meier_123_4567_{LESSON}.ipynb": book, f"wu_LATE_124_4568_{LESSON}.ipynb": b"{"})
    found = {row["student_id"]: row["remarks"] for row in rows if row["file"]}
    assert found["meier_123"] == "read as Canvas names files"
    assert found["wu_124"].startswith("read as Canvas names files; cannot be read as a notebook")


@pytest.mark.parametrize("ending", [".html", ".ipynb.crdownload", ".zip", ""])
def test_a_missing_notebook_names_what_could_be_meant(ending, grade, book):
    _, _, rows = grade({f"a/{LESSON}.ipynb": book, f"a/{OTHER.upper()}{ending}": b"", "a/notes.txt": b""})
    (row,) = (row for row in rows if row["notebook"] == OTHER)
    assert (row["status"], row["remarks"]) == ("not submitted", f"no notebook was sent, but {OTHER.upper()}{ending}")


def test_two_attempts_are_left_to_a_human(grade, book):
    attempts = [f"Lab_anna_attempt_2026-11-{day}-10-00-00_{LESSON}.ipynb" for day in (27, 28)]
    other = book.replace(b'raise NotImplementedError(\\"alpha_bars\\")', b"return 1 - betas")
    _, _, rows = grade(dict(zip(attempts, (book, other), strict=True)))
    assert [(row["student_id"], row["file"], row["status"]) for row in rows if row["file"]] == [
        ("Lab_anna", attempt, "needs a human") for attempt in attempts
    ]
    assert all("which one counts?" in row["remarks"] for row in rows if row["file"])


# --- marks ----------------------------------------------------------------------------------------------------------
MANIFEST = {"notebooks": {LESSON: {"questions": [{"answer": QUESTION, "points": 2}]}}}


@pytest.mark.parametrize("line", ["\n", "\r\n"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marks_of_a_spreadsheet(encoding, between, line, tmp_path):
    rows = [["points", "student_id", "remark", "question"], ["1.5", "Jürgen", "a", QUESTION], [""] * 4, [""] * 4]
    rows += [["", "Jürgen", "", QUESTION], ["2", "b", "", QUESTION], [""]]
    (tmp_path / "marks.csv").write_bytes(line.join(map(between.join, rows)).encode(encoding))
    marks = gradebook.read_marks(tmp_path / "marks.csv", MANIFEST, {"Jürgen", "b"})
    assert marks == {("Jürgen", QUESTION): 1.5, ("b", QUESTION): 2}


@pytest.mark.parametrize("points", ["1,5", "1.5", '"1,5"'])
def test_marks_with_a_comma(points, tmp_path):
    (tmp_path / "marks.csv").write_text(f"student_id;question;points\na;{QUESTION};{points}\n", "utf-8")
    assert gradebook.read_marks(tmp_path / "marks.csv", MANIFEST, {"a"}) == {("a", QUESTION): 1.5}


@pytest.mark.parametrize(
    "text, words",
    [
        ("student_id;question\na;b\n", "needs the columns"),
        ("", "needs the columns"),
        ("student_id,question,points\na,nothing,1\n", "line 2: unknown question 'nothing'"),
        (f"student_id,question,points\nadda,{QUESTION},2\n", "line 2: no student 'adda' sent anything"),
        *(
            (f"student_id,question,points\na,{QUESTION},{points}\n", f"points must lie in 0 … 2, got '{points}'")
            for points in ("3", "-1", "nan", "many")
        ),
        (f"student_id;question;points\n;;\n\na;{QUESTION};3\n", "line 4: points must lie in"),
        (f"question,points,student_id\n{QUESTION},1\n", "line 2: no student None sent anything"),
        (f'student_id,question,points\n"{"a" * 200_000}",{QUESTION},1\n', "is not a CSV file"),
    ],
)
def test_bad_marks_of_a_spreadsheet(text, words, tmp_path):
    (tmp_path / "marks.csv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=words):
        gradebook.read_marks(tmp_path / "marks.csv", MANIFEST, {"a"})


@pytest.mark.parametrize("name", ["Jürgen Müller", "Zoë", "가나"])
@pytest.mark.parametrize("sent, typed", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_typed_and_sent(sent, typed, name, grade, book, tmp_path):
    sent, typed = (unicodedata.normalize(form, name) for form in (sent, typed))
    assert sent != typed
    (tmp_path / "marks.csv").write_text(f"student_id;question;points\n{typed};{QUESTION};0,5\n", "utf-8")
    code, _, rows = grade({f"{sent}/{LESSON}.ipynb": book}, "--marks", str(tmp_path / "marks.csv"))
    assert code == 0 and [row["score"] for row in rows if row["file"]] == ["0.5"]


# --- grades.csv -----------------------------------------------------------------------------------------------------
def test_excel_is_told_that_it_is_utf_8(grade, book, tmp_path):
    name = "Jürgen; 王伟"
    grade({f"{name}/{LESSON}.ipynb": book})
    assert (tmp_path / "out" / "grades.csv").read_bytes().startswith(b"\xef\xbb\xbfstudent_id,")
    # The same file, with two columns more, serves as marks.
    text = (tmp_path / "out" / "grades.csv").read_text("utf-8")
    header, *lines = text.splitlines()
    marks = [f"{header},question,points", *(f"{line},{QUESTION},1" for line in lines)]
    (tmp_path / "marks.csv").write_text("\n".join(marks), "utf-8")
    assert gradebook.read_marks(tmp_path / "marks.csv", MANIFEST, {name}) == {(name, QUESTION): 1}


STARTS = tuple("=+-@|%＝＋－＠｜％")
FORMULAS = [
    "=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠A1",
    " \u3000=1",
    "x;=1+1",
    "x,=1+1",
    "x\n=1+1",
    "x\t=1",
    "x\r\n =1",
    ";;=1",
]
FORMULAS += ['x;"=1+1', 'x;""=1', '"=1', "x; ＝1", "x,+1;-1", "\t1", "\r1", ";@A1\n|x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text):
    """Whatever separates the cells where the list is opened."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerow(["a", gradebook._harmless(text), "b"])
    for delimiter in ",;\t":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for row in csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=delimiter, quoting=quoting):
                for cell in row:
                    assert not cell.strip().strip('"').strip().startswith(STARTS), (delimiter, row)


@pytest.mark.parametrize("text", ["anna-maria", "a=b", "50 %", "x; y, z", "Müller, Jürgen", "a@b.ch"])
def test_ordinary_texts_stay(text):
    assert gradebook._harmless(text) == text


# --- pages ----------------------------------------------------------------------------------------------------------
class Page(html.parser.HTMLParser):
    """What stands in a page that a browser might run or load."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        loads = [str(value) for name, value in attributes if name in ("src", "href", "srcset", "data", "style")]
        if tag in ("script", "iframe", "img", "object", "embed", "svg", "form", "link", "base", "use"):
            self.found.append(tag)
        self.found += [name for name, _ in attributes if name.startswith("on")]
        self.found += [value for value in loads if not re.fullmatch("feedback/[a-z0-9-]+[.]html", value)]


# Names that mean something to a spreadsheet, a browser or a file system.
NAMES = ("=cmd|'calc'!A1", "+1", "-1", "@SUM(A1)", "<img src=x onerror=alert(1)>", "A", "a", "con", "a ")
SCRIPT = "</pre><script>alert(1)</script><img src=x onerror=alert(1)><svg onload=alert(1)>"


def test_pages_and_tables_are_harmless(grade, handed_out, book, tmp_path):
    """Whatever stands in names, answers, errors and outputs; a student's pictures are neither decoded nor shown."""
    outputs = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": SCRIPT, "text/html": SCRIPT}}]
    outputs.append({"output_type": "error", "ename": SCRIPT, "evalue": SCRIPT, "traceback": [SCRIPT]})
    lesson, other = json.loads(book), json.loads((handed_out / "student" / f"{OTHER}.ipynb").read_bytes())
    for cell in lesson["cells"] + other["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = outputs
        if cell["id"].startswith(("ex-", "text-")):
            cell["source"] = "".join(cell["source"]) + f"\n# {SCRIPT}\n=1+1\n![x](javascript:alert(1)) \ud800"
    sent = {f"{name}/{LESSON}.ipynb": json.dumps(lesson) for name in NAMES} | {f"a/{OTHER}.ipynb": json.dumps(other)}
    _, _, rows = grade(sent)
    assert len(rows) == 2 * len(NAMES)
    with open(tmp_path / "out" / "grades.csv", newline="", encoding="utf-8-sig") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*.html")}
    by_hand = list((tmp_path / "out" / "by_hand").iterdir())
    assert len(pages) == len(NAMES) + 1 + len(by_hand) and by_hand
    for path, page in pages.items():
        assert not Page(page).found, path
        assert "default-src 'none'" in page
    assert "alert(1)" in pages[tmp_path / "out" / "feedback" / f"{file_name('con')}.html"]
