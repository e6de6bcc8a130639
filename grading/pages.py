"""The HTML pages of a grading. Every text is escaped by the template engine, and no page lets anything in it run."""

import ast
import base64
import io
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import jinja2

from grading.judging import PARTLY, RIGHT, WRONG
from grading.stubs import parse

MOST_FIGURES, MOST_PIXELS = 12, 4_000_000
ALIKE = 0.9  # share of common pieces from which two answers are worth a look
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


def feedback(student, rows, papers):
    """The page for one student: what was right, which property failed with its hint, and the student's own figures."""
    figures = {paper.name: figures_of(paper.content) for paper in papers if paper.content}
    return TEMPLATES.get_template("feedback.html").render(student=student, rows=rows, figures=figures)


def by_hand(graded, manifest, marks):
    """Question → page with all answers to it, for the questions in free text."""
    found = {}
    for lesson, entry in manifest["notebooks"].items():
        for question in entry["questions"]:
            if question["kind"] == "text":
                answers = [(paper.student, paper.answers[question["answer"]].source) for paper, known in graded
                           if paper.lesson == lesson and known is not None]  # fmt: skip
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
        rows=rows, level=level, bins=[(10 * i, bins[i]) for i in range(10)], maximum=maximum, difficulty=difficulty,
        slowest=slowest, mistakes=mistakes.most_common(20), similar=similar(graded),
        states=Counter(row["status"] for row in rows),
    )  # fmt: skip


def similar(graded):
    """Wrong answers in code that look alike, the most alike first: (question, likeness, student, student)."""
    pieces = {}
    for paper, known in graded:
        for verdict in (known or {}).get("verdicts", ()):
            source = paper.answers[verdict["question"]].source
            if source and verdict["properties"] and verdict["status"] != RIGHT:
                pieces.setdefault(verdict["question"], []).append((paper.student, _shingles(source)))
    found = []
    for question, answers in pieces.items():
        for (one, a), (other, b) in combinations(answers, 2):
            if one != other and min(len(a), len(b)) >= 20 and len(a & b) / len(a | b) >= ALIKE:
                found.append((question, len(a & b) / len(a | b), one, other))
    return sorted(found, key=lambda row: (-row[1], row))[:50]


def _shingles(source, width=6):
    """Runs of words of the code, without comments and blank space."""
    try:
        words = ast.unparse(parse(source)).split()
    except (ValueError, RecursionError):
        words = source.split()
    return {tuple(words[i : i + width]) for i in range(max(len(words) - width + 1, 1))}


def figures_of(content):
    """The pictures in a submitted notebook, as data: PNG only, drawn again so that nothing else travels with them."""
    from PIL import Image

    found = []
    try:
        cells = json.loads(content)["cells"]
        outputs = [o for cell in cells for o in cell.get("outputs", ())]
        pictures = [o["data"]["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return found
    for picture in pictures[:MOST_FIGURES]:
        try:
            image = Image.open(io.BytesIO(base64.b64decode("".join(picture))), formats=["PNG"])
            if image.width * image.height > MOST_PIXELS:
                continue
            again = io.BytesIO()
            image.convert("RGB").save(again, format="PNG")
        except Exception:  # whatever Pillow raises for a damaged picture
            continue
        found.append(base64.b64encode(again.getvalue()).decode())
    return found
