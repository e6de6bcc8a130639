"""Writes the reports: grades.csv, a verdict and a page for each student, pages for free text."""

import csv
import io
import itertools
import json

from grading import pages
from grading.submissions import safe_name
from grading.verdicts import BY_HAND, HUMAN
from labutils import __version__
from labutils._support.files import write_atomically

FIELDS = ("student_id", "notebook", "score", "max_score", "status", "file", "open_points", "sandbox", "remarks")
MISSING, DONE = "not submitted", "graded"  # status of a notebook
MARKED = "marked by hand"  # status of a question


def write(out, graded, manifest, level, marks, submissions):
    """Write all reports. The same input gives the same files.

    Args:
        out: pathlib.Path, the folder.
        graded: list of pairs (grading.papers.Paper, result of judging or None).
        manifest: the dict that ``release`` wrote.
        level: of the sandbox.
        marks: dict (student, question) → points given by hand.
        submissions: iterable of grading.submissions.Submission, sorted by student; used for their figures.
    """
    maxima = {lesson: sum(q["points"] for q in entry["questions"]) for lesson, entry in manifest["notebooks"].items()}
    rows = [_row(paper, found, marks, level, maxima.get(paper.lesson, 0)) for paper, found in graded]
    rows += _missing(graded, maxima, level)
    rows.sort(key=lambda row: (row["student_id"], row["notebook"], row["file"]))
    # Missing notebooks come first: a file with the same name may hold another lesson, and its verdict must stay.
    for row in sorted(rows, key=lambda row: row["status"] != MISSING):
        name = safe_name(row["file"] or row["notebook"])
        _json(out / "verdicts" / safe_name(row["student_id"]) / f"{name}.json", row)
    pages_of = {}
    for row in rows:
        pages_of.setdefault(row["student_id"], []).append(row)
    for student, sent in itertools.groupby(submissions, key=lambda submission: submission.student):
        if student in pages_of:  # otherwise it was sent while others were judged
            page = pages.feedback(student, pages_of[student], sent)
            _text(out / "feedback" / f"{safe_name(student)}.html", page)
    for question, text in pages.by_hand(graded, manifest, marks).items():
        _text(out / "by_hand" / f"{question}.html", text)
    _text(out / "index.html", pages.summary(rows, graded, level))
    _text(out / "grades.csv", _table(rows))  # last: if this file exists, all reports exist


def _row(paper, found, marks, level, maximum):
    """Everything about one notebook. The keys in FIELDS go into the table; all keys go into the verdict."""
    row = {
        "student_id": paper.student,
        "file": paper.name,
        "notebook": paper.lesson or "",
        "sandbox": level,
        "labutils_version": __version__,
        "score": 0.0,
        "max_score": maximum,
        "open_points": 0,
        "remarks": paper.problem,
        "status": paper.status,
        "questions": [],
        "evidence": [],
    }
    if found is None:
        return row
    questions = [_marked(paper.student, verdict, marks) for verdict in found["verdicts"]]
    states = {question["status"] for question in questions}
    still_open = [question["max_points"] for question in questions if question["status"] in (HUMAN, BY_HAND)]
    lacking = [f"{each['text']}: {each['found']}" for each in found.get("evidence", ()) if not each["holds"]]
    if lacking and MARKED not in states:
        states.add(HUMAN)
    return (
        row
        | {key: value for key, value in found.items() if key != "verdicts"}
        | {
            "questions": questions,
            "score": round(sum(question["points"] or 0.0 for question in questions), 2),
            "open_points": sum(still_open),
            "status": next((state for state in (HUMAN, BY_HAND) if state in states), DONE),
            "remarks": "; ".join(lacking),
        }
    )


def _marked(student, verdict, marks):
    """The verdict, with the points of a human if there are any: the human decides."""
    if (points := marks.get((student, verdict["question"]))) is None:
        return verdict
    return verdict | {"points": points, "status": MARKED}


def _missing(graded, maxima, level):
    """A row for each notebook that a student did not send."""
    sent = {}
    for paper, _ in graded:
        sent.setdefault(paper.student, set()).add(paper.lesson)
    for student, lessons in sent.items():
        for lesson, maximum in maxima.items():
            if lesson not in lessons:
                yield {
                    "student_id": student,
                    "notebook": lesson,
                    "score": 0.0,
                    "max_score": maximum,
                    "status": MISSING,
                    "file": "",
                    "open_points": 0,
                    "sandbox": level,
                    "remarks": "",
                    "questions": [],
                    "evidence": [],
                }


def read_marks(path, manifest):
    """Read points that were given by hand from a CSV file with the columns student_id, question, points.

    Returns:
        dict (student, question) → points.

    Raises:
        FileNotFoundError, ValueError: there is no such file, a column is missing, a question is unknown, or points are
            not a number or are out of range. The message names the line.
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
    """The value. A text that a spreadsheet would read as a formula gets an apostrophe in front."""
    if (
        isinstance(value, str)
        and value.lstrip()[:1] in ("=", "+", "-", "@", "|", "%")
        or str(value)[:1] in ("\t", "\r")
    ):
        return f"'{value}"
    return value


def _plain(text):
    """The text that :func:`_harmless` changed: the inverse of that function."""
    return text[1:] if text[:1] == "'" and _harmless(text[1:]) == text else text


def _json(path, value):
    _text(path, json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def _text(path, text):
    content = text.encode("utf-8", "backslashreplace")  # a student's text may contain lone surrogates
    write_atomically(path, lambda partial: partial.write_bytes(content))
