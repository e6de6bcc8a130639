"""Writes the reports: grades.csv, a verdict and a page for each student, pages for free text."""

import csv
import io
import itertools
import json

from grading import pages
from grading.papers import Paper
from grading.submissions import safe_name
from grading.verdicts import Answer, Status, first_verdict
from labutils import __version__
from labutils._support.files import write_atomically

FIELDS = ("student_id", "notebook", "score", "max_score", "status", "file", "open_points", "sandbox", "remarks")
OPEN = (Status.HUMAN, Status.UNREADABLE, Status.BY_HAND)  # somebody still has to give these points


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
    entries, left = manifest["notebooks"], dict(marks)  # each mark counts once: for the first notebook of its lesson
    rows = [_row(paper, found, left, level, entries) for paper, found in graded]
    rows += [_row(paper, None, left, level, entries) for paper in _missing(graded, entries)]
    rows.sort(key=lambda row: (row["student_id"], row["notebook"], row["file"]))
    for row in rows:
        # No file of a student can have the name of a missing notebook's verdict.
        name = safe_name(row["file"]) if row["file"] else f"missing~{row['notebook']}"
        verdict = json.dumps(row, indent=1) + "\n"
        _text(out / "verdicts" / safe_name(row["student_id"]) / f"{name}.json", verdict)
    rows_of, sources = {}, {}
    for row in rows:
        rows_of.setdefault(row["student_id"], []).append(row)
    for paper, _ in graded:
        for question, answer in (paper.answers or {}).items():
            sources[paper.student, paper.name, question] = answer.source
    for student, sent in itertools.groupby(submissions, key=lambda submission: submission.student):
        if student in rows_of:  # otherwise it was sent while others were judged
            page = pages.feedback(student, rows_of[student], sent, sources)
            _text(out / "feedback" / f"{safe_name(student)}.html", page)
    for question, text in pages.by_hand(graded, manifest, marks).items():
        _text(out / "by_hand" / f"{question}.html", text)
    _text(out / "index.html", pages.summary(rows, level))
    _text(out / "grades.csv", _table(rows))  # last: if this file exists, all reports exist


def _row(paper, found, marks, level, entries):
    """Everything about one notebook. The keys in FIELDS go into the table; all keys go into the verdict."""
    asked = entries[paper.lesson]["questions"] if paper.lesson in entries else []
    verdicts = found["verdicts"] if found else [_undecided(question, paper) for question in asked]
    taken = {} if paper.status == Status.IGNORED else marks
    questions = [_marked(verdict, taken.pop((paper.student, verdict["question"]), None)) for verdict in verdicts]
    states = {question["status"] for question in questions}
    status = next((state for state in OPEN if state in states), Status.DONE)
    if Status.MARKED not in states:
        status = paper.status or status
        if paper.status in (Status.MISSING, Status.IGNORED):
            questions = []
    return {
        "student_id": paper.student,
        "file": paper.name,
        "notebook": paper.lesson or "",
        "sandbox": level,
        "labutils_version": __version__,
        "score": round(sum((question["points"] or 0.0 for question in questions), 0.0), 2),
        "max_score": sum(question["points"] for question in asked),
        "open_points": sum(question["max_points"] for question in questions if question["status"] in OPEN),
        "remarks": paper.problem,
        "status": status,
        "questions": questions,
        "seconds": (found or {}).get("seconds", 0.0),
    }


def _undecided(question, paper):
    """The verdict on a question of a notebook that was not judged."""
    verdict, _ = first_verdict(question, Answer(None, paper.status or Status.HUMAN))
    # Without a status of the notebook the grader itself has failed; grading again tries again.
    return verdict | {
        "status": paper.status or Status.HUMAN,
        "found": paper.problem or "the grader failed; grade again",
    }


def _marked(verdict, points):
    """The verdict, with the points of a human if there are any: the human decides."""
    return verdict if points is None else verdict | {"points": points, "status": Status.MARKED}


def _missing(graded, lessons):
    """A paper for each notebook that a student did not send."""
    sent = {}
    for paper, _ in graded:
        sent.setdefault(paper.student, set()).add(paper.lesson)
    for student, its in sent.items():
        yield from (Paper(student, "", lesson, None, Status.MISSING) for lesson in lessons if lesson not in its)


def read_marks(path, manifest, students):
    """Read points that were given by hand from a CSV file with the columns student_id, question, points.

    Args:
        path: of the file.
        manifest: the dict that ``release`` wrote.
        students: set of those who sent something.

    Returns:
        dict (student, question) → points.

    Raises:
        FileNotFoundError, ValueError: there is no such file, a column is missing, a student or question is unknown, or
            points are not a number or are out of range. The message names the line.
    """
    most = {q["answer"]: q["points"] for entry in manifest["notebooks"].values() for q in entry["questions"]}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8") from error
    marks = {}
    names = {_harmless(student): student for student in students} | {student: student for student in students}
    for number, line in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        if not {"student_id", "question", "points"} <= line.keys():
            raise ValueError(f"{where}: needs the columns student_id, question, points")
        if line["question"] not in most:
            raise ValueError(f"{where}: unknown question {line['question']!r}")
        if (student := names.get(line["student_id"])) is None:
            raise ValueError(f"{where}: no student {line['student_id']!r} sent anything")
        if not (line["points"] or "").strip():
            continue  # not marked yet
        try:
            points = float(line["points"].replace(",", "."))
        except ValueError:
            points = -1.0
        if not 0 <= points <= most[line["question"]]:
            raise ValueError(f"{where}: points must lie in 0 … {most[line['question']]}, got {line['points']!r}")
        marks[student, line["question"]] = points
    return marks


def _table(rows):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    table.writerows([_harmless(row[field]) for field in FIELDS] for row in rows)
    return text.getvalue()


def _harmless(value):
    """The value. A text that a spreadsheet would read as a formula gets an apostrophe in front."""
    formula = isinstance(value, str) and (value[:1] in ("\t", "\r") or value.lstrip()[:1] in tuple("=+-@|%"))
    return f"'{value}" if formula else value


def _text(path, text):
    content = text.encode("utf-8", "backslashreplace")  # a student's text may contain lone surrogates
    write_atomically(path, lambda partial: partial.write_bytes(content))
