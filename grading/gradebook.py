"""Writes the reports: grades.csv, a verdict and a page for each student, pages for free text."""

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
import unicodedata
from pathlib import Path

from grading import pages
from grading.papers import Paper
from grading.submissions import file_name, listed
from grading.verdicts import Answer, Status, first_verdict
from labutils import __version__
from labutils.support.files import write_atomically

FIELDS = ("student_id", "notebook", "score", "max_score", "status", "file", "open_points", "sandbox", "remarks")
# Where a cell of a spreadsheet may begin: at the start of a text, or after anything that separates cells or lines. What
# follows may make it a formula, in full width too. Spreadsheets pass over spaces and quotation marks before it.
FORMULA = re.compile(r'(?:^|[;,\t\r\n])(?=[\s"]*[=+\-@|%＝＋－＠｜％])|^(?=[\t\r])')
OPEN = (Status.HUMAN, Status.UNREADABLE, Status.BY_HAND)  # somebody still has to give these points


def write(out, graded, manifest, level, marks):
    """Write all reports. The same input gives the same files.

    Args:
        out: pathlib.Path, the folder.
        graded: list of pairs (grading.papers.Paper, result of judging or None).
        manifest: the dict that ``release`` wrote.
        level: of the sandbox.
        marks: dict (student, question) → points given by hand.
    """
    entries, left = manifest["notebooks"], dict(marks)  # each mark counts once: for the first notebook of its lesson
    rows = [_row(paper, found, left, level, entries) for paper, found in graded]
    rows += [_row(paper, None, left, level, entries) for paper in _missing(graded, entries)]
    rows.sort(key=lambda row: (row["student_id"], row["notebook"], row["file"]))
    for row in rows:
        name = row["file"] or f"missing\n{row['notebook']}"  # no name of a student's file has a line break
        verdict = json.dumps(row, indent=1) + "\n"
        _text(out / "verdicts" / file_name(row["student_id"]) / f"{file_name(name)}.json", verdict)
    for student, its in itertools.groupby(rows, key=lambda row: row["student_id"]):
        _text(out / "feedback" / f"{file_name(student)}.html", pages.feedback(student, list(its)))
    for question in (question for entry in entries.values() for question in entry["questions"]):
        if question["kind"] == "text":
            _text(out / "by_hand" / f"{question['answer']}.html", pages.by_hand(question, rows))
    _text(out / "index.html", pages.summary(rows, level))
    # Last: if this file exists, all reports exist. The mark at its head tells Excel that it is UTF-8.
    _text(out / "grades.csv", f"\ufeff{_table(rows)}")


def _row(paper, found, marks, level, entries):
    """Everything about one notebook. The keys in FIELDS go into the table; all keys go into the verdict."""
    asked = entries[paper.lesson]["questions"] if paper.lesson in entries else []
    verdicts = found["verdicts"] if found else [_undecided(question, paper) for question in asked]
    taken = {} if paper.status == Status.IGNORED else marks
    answers, questions = paper.answers or {}, []
    for verdict in verdicts:
        points = taken.pop((paper.student, verdict["question"]), None)
        by_hand = {} if points is None else {"points": points, "status": Status.MARKED}  # the human decides
        source = answers[verdict["question"]].source if answers else None
        questions.append(verdict | by_hand | {"source": source})
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
        "remarks": "; ".join(filter(None, (paper.remark, paper.problem))),
        "status": status,
        "questions": questions,
        "seconds": (found or {}).get("seconds", 0.0),
    }


def _undecided(question, paper):
    """The verdict on a question of a notebook that was not judged."""
    status = paper.status or Status.HUMAN  # without a status the grader itself has failed
    verdict, _ = first_verdict(question, Answer(None, status))
    return verdict | {"status": status, "found": paper.problem or "the grader failed; grade again"}


def _missing(graded, lessons):
    """A paper for each notebook that a student did not send. It names files that could have been meant."""
    sent, beside = {}, {}
    for paper, _ in graded:
        sent.setdefault(paper.student, set()).add(paper.lesson)
        beside[paper.student] = paper.beside
    for student, its in sent.items():
        for lesson in lessons:
            if lesson not in its:
                meant = [name for name in beside[student] if lesson in name.lower()]
                problem = f"no notebook was sent{listed(meant)}" if meant else ""
                yield Paper(student, "", lesson, None, Status.MISSING, problem)


def read_marks(path, manifest, students):
    """Read points that were given by hand from a CSV file with the columns student_id, question, points.

    Commas, semicolons or tabs separate the columns. Rows without any value are skipped.

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
        content = Path(path).read_bytes()
        # Excel writes UTF-16 if it separates by tabs.
        text = content.decode("utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig")
        header = text.partition("\n")[0]
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
        lines = [(rows.line_num, row) for row in rows if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not {"student_id", "question", "points"} <= set(rows.fieldnames or ()):
        raise ValueError(f"{path} needs the columns student_id, question, points, separated by commas or semicolons")
    marks = {}
    names = {_composed(_harmless(student)): student for student in students}
    names |= {_composed(student): student for student in students}
    for number, line in lines:
        where, question, given = f"{path}, line {number}", line["question"], line["points"] or ""
        if question not in most:
            raise ValueError(f"{where}: unknown question {question!r}")
        if (student := names.get(_composed(line["student_id"] or ""))) is None:
            raise ValueError(f"{where}: no student {line['student_id']!r} sent anything")
        if not given.strip():
            continue  # not marked yet
        points = -1.0
        with contextlib.suppress(ValueError):
            points = float(given.replace(",", "."))
        if not 0 <= points <= most[question]:
            raise ValueError(f"{where}: points must lie in 0 … {most[question]}, got {given!r}")
        marks[student, question] = points
    return marks


def _table(rows):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    table.writerows([_harmless(row[field]) for field in FIELDS] for row in rows)
    return text.getvalue()


def _harmless(value):
    """The value. What a spreadsheet would read as a formula, anywhere in a text, gets an apostrophe in front."""
    return FORMULA.sub(r"\g<0>'", value) if isinstance(value, str) else value


def _composed(text):
    """The text in the form in which most programs write it. A Mac stores ü in the names of files as u and two dots."""
    return unicodedata.normalize("NFC", text)


def _text(path, text):
    content = text.encode("utf-8", "backslashreplace")  # a student's text may contain lone surrogates
    write_atomically(path, lambda partial: partial.write_bytes(content))
