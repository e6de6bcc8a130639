"""Makes the HTML pages. The template engine escapes every text, and no page can run scripts."""

import ast
import base64
import io
from collections import Counter
from itertools import combinations
from pathlib import Path

import jinja2

from grading.cells import Unreadable, read_cells
from grading.sources import PARSED
from grading.verdicts import BY_HAND, PARTLY, RIGHT, WRONG
from labutils._support.stubs import parse

MOST_FIGURES, MOST_PIXELS = 12, 4_000_000  # figures of a notebook, pixels of a figure
ALIKE = 0.9  # two answers are listed if they share at least this part of their pieces
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def feedback(student, rows, sent):
    """The page for one student: what was right, which property failed with its hint, and the student's own figures."""
    figures = {submission.name: figures_of(submission.content) for submission in sent if submission.content}
    return TEMPLATES.get_template("feedback.html").render(student=student, rows=rows, figures=figures)


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


def summary(rows, graded, level):
    """The page for the instructor: distribution, difficulty, slowest, common mistakes, similar answers."""
    totals, maxima = Counter(), Counter()
    for row in rows:
        totals[row["student_id"]] += row["score"]
        maxima[row["student_id"]] += row["max_score"]
    maximum = max(maxima.values(), default=0) or 1
    bins = Counter(min(int(10 * score / maximum), 9) for score in totals.values())
    questions, mistakes = {}, Counter()
    for row in rows:
        for verdict in row["questions"]:
            if verdict["properties"]:
                questions.setdefault(verdict["question"], []).append(verdict)
            if verdict["status"] in (PARTLY, WRONG):
                mistakes[verdict["question"], verdict["found"]] += 1
    difficulty = [
        (question, len(found), sum(v["status"] == RIGHT for v in found) / len(found))
        for question, found in questions.items()
    ]
    slowest = sorted((row for row in rows if "seconds" in row), key=lambda row: -row["seconds"])[:5]
    return TEMPLATES.get_template("summary.html").render(
        rows=rows,
        level=level,
        bins=[(10 * i, bins[i]) for i in range(10)],
        maximum=maximum,
        difficulty=difficulty,
        slowest=slowest,
        mistakes=mistakes.most_common(20),
        similar=similar(graded),
        states=Counter(row["status"] for row in rows),
    )


def similar(graded):
    """Answers that look alike, most alike first: a list of (question, likeness, student, student).

    Right answers in code are not listed, because short right answers always look alike.
    """
    pieces = {}
    for paper, known in graded:
        for verdict in (known or {}).get("verdicts", ()):
            source = paper.answers[verdict["question"]].source
            if source and (verdict["status"] in (PARTLY, WRONG, BY_HAND)):
                pieces.setdefault(verdict["question"], []).append((paper.student, _shingles(source[:PARSED])))
    found = []
    for question, answers in pieces.items():
        for (one, a), (other, b) in combinations(answers, 2):
            if one != other and min(len(a), len(b)) >= 20 and len(a & b) / len(a | b) >= ALIKE:
                found.append((question, len(a & b) / len(a | b), one, other))
    return sorted(found, key=lambda row: (-row[1], row))[:50]


def _shingles(source, width=6):
    """The set of all runs of ``width`` words in the code, without comments and blank space."""
    try:
        words = ast.unparse(parse(source)).split()
    except (ValueError, RecursionError):
        words = source.split()
    return {tuple(words[i : i + width]) for i in range(max(len(words) - width + 1, 1))}


def figures_of(content):
    """The PNG pictures in a submitted notebook, in base64. They are encoded again, so they contain only the picture."""
    from PIL import Image

    found = []
    try:
        outputs = [output for cell in read_cells(content) for output in cell.outputs]
    except Unreadable:
        return found
    pictures = [output["data"]["image/png"] for output in outputs if output["data"].get("image/png")]
    for picture in pictures[:MOST_FIGURES]:
        try:
            image = Image.open(io.BytesIO(base64.b64decode(picture)), formats=["PNG"])
            if image.width * image.height > MOST_PIXELS:
                continue
            again = io.BytesIO()
            image.convert("RGB").save(again, format="PNG")
        except Exception:  # Pillow raises many types for a damaged picture
            continue
        found.append(base64.b64encode(again.getvalue()).decode())
    return found
