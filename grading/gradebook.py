"""What the instructor and the students get: grades.csv, a verdict and a page for each student, pages for free text."""

import csv
import io
import json

from grading import pages
from grading.judging import BY_HAND
from grading.matching import HUMAN
from grading.submissions import safe_name
from labutils import __version__
from labutils.files import write_atomically

FIELDS = ("student_id", "notebook", "score", "max_score", "status", "file", "open_points", "sandbox", "remarks")
UNREADABLE, MISSING, IGNORED, DONE = "unreadable", "not submitted", "not counted", "graded"


def write(out, graded, manifest, level, marks):
    """Write all reports; the same input gives the same files.

    Args:
        out: pathlib.Path, the folder.
        graded: list of pairs (grading.batch.Paper, what was found or None).
        manifest: of the release.
        level: of the sandbox.
        marks: (student, question) → points given by hand.
    """
    maxima = {lesson: sum(q["points"] for q in entry["questions"]) for lesson, entry in manifest["notebooks"].items()}
    rows = [_row(paper, found, marks, level, maxima.get(paper.lesson, 0)) for paper, found in graded]
    rows += _missing(graded, maxima, level)
    rows.sort(key=lambda row: (row["student_id"], row["notebook"], row["file"]))
    for row in rows:
        name = safe_name(row["file"] or row["notebook"])
        _json(out / "verdicts" / safe_name(row["student_id"]) / f"{name}.json", row)
    for student in sorted({row["student_id"] for row in rows}):
        mine = [row for row in rows if row["student_id"] == student]
        papers = [paper for paper, _ in graded if paper.student == student]
        _text(out / "feedback" / f"{safe_name(student)}.html", pages.feedback(student, mine, papers))
    for question, text in pages.by_hand(graded, manifest, marks).items():
        _text(out / "by_hand" / f"{question}.html", text)
    _text(out / "index.html", pages.summary(rows, graded, level))
    _text(out / "grades.csv", _table(rows))  # last: when it is there, all is


def _row(paper, found, marks, level, maximum):
    """All that is said of one notebook; the keys of FIELDS go into the table, all into the verdict."""
    row = {"student_id": paper.student, "file": paper.name, "notebook": paper.lesson or "", "sandbox": level,
           "labutils_version": __version__, "score": 0.0, "max_score": maximum, "open_points": 0,
           "remarks": paper.problem, "status": paper.status, "questions": []}  # fmt: skip
    if found is None:
        return row
    questions = [_marked(paper.student, verdict, marks) for verdict in found["verdicts"]]
    states = {question["status"] for question in questions}
    still_open = [question["max_points"] for question in questions if question["status"] in (HUMAN, BY_HAND)]
    return row | {
        "questions": questions,
        "score": round(sum(question["points"] or 0 for question in questions), 2),
        "open_points": sum(still_open),
        "status": next((state for state in (HUMAN, BY_HAND) if state in states), DONE),
        "seconds": found["seconds"],
        "sandbox": found["sandbox"],
    }


def _marked(student, verdict, marks):
    """A verdict with the points that a human gave, who has the last word."""
    if (points := marks.get((student, verdict["question"]))) is None:
        return verdict
    return verdict | {"points": points, "status": "marked by hand"}


def _missing(graded, maxima, level):
    """A row for each notebook that a student did not send."""
    sent = {}
    for paper, _ in graded:
        sent.setdefault(paper.student, set()).add(paper.lesson)
    for student, lessons in sent.items():
        for lesson, maximum in maxima.items():
            if lesson not in lessons:
                yield {"student_id": student, "notebook": lesson, "score": 0.0, "max_score": maximum,
                       "status": MISSING, "file": "", "open_points": 0, "sandbox": level, "remarks": "",
                       "questions": []}  # fmt: skip


def read_marks(path, manifest):
    """(student, question) → points, from a CSV file with the columns student_id, question, points.

    Raises:
        FileNotFoundError, ValueError: no such file, a column is missing, an unknown question, points that are no number
            or out of range; names the line.
    """
    most = {q["answer"]: q["points"] for entry in manifest["notebooks"].values() for q in entry["questions"]}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8") from error
    marks = {}
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        if not {"student_id", "question", "points"} <= line.keys():
            raise ValueError(f"{where}: needs the columns student_id, question, points")
        if line["question"] not in most:
            raise ValueError(f"{where}: unknown question {line['question']!r}")
        if not (line["points"] or "").strip():
            continue  # not marked yet
        try:
            points = float(line["points"].replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= most[line["question"]]:
            raise ValueError(f"{where}: points must lie in 0 … {most[line['question']]}, got {line['points']!r}")
        marks[_plain(line["student_id"]), line["question"]] = points
    return marks


def _table(rows):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    table.writerows([_harmless(row[field]) for field in FIELDS] for row in rows)
    return text.getvalue()


def _harmless(value):
    """A value that no spreadsheet takes for a formula: such text gets an apostrophe in front."""
    if (
        isinstance(value, str)
        and value.lstrip()[:1] in ("=", "+", "-", "@", "|", "%")
        or str(value)[:1] in ("\t", "\r")
    ):
        return f"'{value}"
    return value


def _plain(text):
    """What :func:`_harmless` was given."""
    return text[1:] if text[:1] == "'" and _harmless(text[1:]) == text else text


def _json(path, value):
    _text(path, json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def _text(path, text):
    content = text.encode("utf-8", "backslashreplace")  # lone surrogates in a student's text
    write_atomically(path, lambda partial: partial.write_bytes(content))
