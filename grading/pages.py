"""Makes the HTML pages. The template engine escapes every text, and no page can run scripts."""

from collections import Counter
from pathlib import Path

import jinja2

from grading.verdicts import Status

BINS = 10  # of the histogram
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def feedback(student, rows, sources):
    """The page for one student: what was right, which property failed with its hint, and the student's code.

    Args:
        student: the name.
        rows: that gradebook makes, of this student.
        sources: dict (student, file, question) → source of the answer, or None.
    """
    code = {key[1:]: source for key, source in sources.items() if key[0] == student and source}
    return TEMPLATES.get_template("feedback.html").render(student=student, rows=rows, code=code)


def by_hand(graded, manifest, marks):
    """Dict question → page with all answers to it, for the questions in free text."""
    found = {}
    for lesson, entry in manifest["notebooks"].items():
        for question in entry["questions"]:
            if question["kind"] == "text":
                answers = [
                    (paper.student, paper.answers[question["answer"]].source)
                    for paper, known in graded
                    if paper.lesson == lesson and known is not None
                ]
                found[question["answer"]] = TEMPLATES.get_template("by_hand.html").render(
                    question=question, answers=answers, marks=marks
                )
    return found


def summary(rows, level):
    """The page for the instructor: distribution, difficulty, slowest, common mistakes."""
    totals, maxima, questions, mistakes = Counter(), Counter(), {}, Counter()
    for row in rows:
        totals[row["student_id"]] += row["score"]
        maxima[row["student_id"]] += row["max_score"]
        for verdict in row["questions"]:
            if verdict["properties"] or verdict["status"] in (Status.RIGHT, Status.WRONG, Status.EMPTY):
                questions.setdefault(verdict["title"], []).append(verdict)
            if verdict["status"] in (Status.PARTLY, Status.WRONG):
                mistakes[verdict["title"], verdict["found"]] += 1
    maximum = max(maxima.values(), default=0) or 1
    bins = Counter(min(int(BINS * score / maximum), BINS - 1) for score in totals.values())
    difficulty = [
        (
            title,
            len(found),
            *(sum(v["status"] == state for v in found) / len(found) for state in (Status.RIGHT, Status.PARTLY)),
        )
        for title, found in questions.items()
    ]
    return TEMPLATES.get_template("summary.html").render(
        rows=rows,
        level=level,
        bins=[bins[i] for i in range(BINS)],
        most=max(bins.values(), default=1),
        maximum=maximum,
        difficulty=difficulty,
        slowest=sorted((row for row in rows if row["seconds"]), key=lambda row: -row["seconds"])[:5],
        mistakes=mistakes.most_common(20),
        states=Counter(str(row["status"]) for row in rows),
    )
