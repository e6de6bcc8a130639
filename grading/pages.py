"""Makes the HTML pages. The template engine escapes every text, and no page can run scripts."""

from collections import Counter
from pathlib import Path

import jinja2

from grading.submissions import file_name
from grading.verdicts import Status

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["file_name"] = file_name


def feedback(student, rows):
    """The page for one student: what was right, which property failed with its hint, and the student's code."""
    return TEMPLATES.get_template("feedback.html").render(student=student, rows=rows)


def by_hand(question, rows):
    """The page with all answers to a question in free text."""
    answers = [(row["student_id"], q) for row in rows for q in row["questions"] if q["question"] == question["answer"]]
    return TEMPLATES.get_template("by_hand.html").render(question=question, answers=answers)


def summary(rows, level):
    """The page for the instructor: all notebooks, and the most common mistakes."""
    mistakes = Counter(
        (question["title"], question["found"])
        for row in rows
        for question in row["questions"]
        if question["status"] in (Status.PARTLY, Status.WRONG)
    )
    states = Counter(str(row["status"]) for row in rows)
    page = TEMPLATES.get_template("summary.html")
    return page.render(rows=rows, level=level, states=states, mistakes=mistakes.most_common(20))
