"""The lessons as files: which there are (``notebooks/lessons.toml``), where they stand, how long they take."""

import json
import re
import tomllib
from pathlib import Path

import nbformat

from lab.stubs import code_hash
from labutils.support.files import write_atomically

NOTEBOOK_DIR = Path(__file__).resolve().parents[1] / "notebooks"
SOURCE_DIR = NOTEBOOK_DIR / "source"  # the text twins
SECONDS_FILE = NOTEBOOK_DIR / "seconds.json"  # {preset: {lesson: seconds}}, as measured by `run --record` and `build`
EXECUTED_FILE = NOTEBOOK_DIR / "executed.json"  # {lesson: what code_hash was when `build` executed it}
QUIET_KERNEL = ("--log-level=ERROR",)  # hides a kernel's warnings, which do not help a student
README = NOTEBOOK_DIR.parent / "README.md"
TABLE = "<!-- lessons: written by python -m lab build -->\n", "<!-- end of lessons -->\n"  # around the README's table
LIST = NOTEBOOK_DIR / "lessons.toml"
TIME = re.compile(r"(\*\*Time:\*\* about )\d+")  # in the first cell of a lesson
# What notebooks/lessons.toml says of each lesson: a dict name → dict, in order.
ABOUT = {lesson["file"]: lesson for lesson in tomllib.loads(LIST.read_text(encoding="utf-8"))["lesson"]}
LESSONS = tuple(ABOUT)


def find_lessons(names):
    """Turn ``["2", "04_training"]`` into full names, in lesson order; all lessons for an empty list.

    Raises:
        ValueError: unknown lesson; lists the known ones.
    """
    chosen = set()
    for name in names or LESSONS:
        stem = Path(str(name)).name.removesuffix(".ipynb")
        matches = [lesson for lesson in LESSONS if lesson == stem or (stem.isdigit() and int(stem) == int(lesson[:2]))]
        if not matches:
            raise ValueError(f"unknown lesson {name!r}, known: 1 … {len(LESSONS)} or {', '.join(LESSONS)}")
        chosen.update(matches)
    return sorted(chosen)


def title(lesson):
    """The lesson's short title with its number, such as "5 · Sampling"."""
    return f"{int(lesson[:2])} · {ABOUT[lesson]['title']}"


def needs(lesson):
    """What a lesson reads beside labutils: a dict with the names of ``checkpoints`` and ``results``.

    Perhaps also ``left_out``: the checkpoints for which its single file has no room, and without which it goes through.
    """
    found = {kind: ABOUT[lesson].get(kind, []) for kind in ("checkpoints", "results")}
    return found | {kind: ABOUT[lesson][kind] for kind in ("left_out",) if kind in ABOUT[lesson]}


def table(lessons=LESSONS, folder=""):
    """The table of the lessons in Markdown, with links to the notebooks in ``folder``."""
    lines = ["| lesson | you learn | reading and exercises |", "| --- | --- | --- |"]
    for lesson in lessons:
        about = ABOUT[lesson]
        time = ", ".join([f"{about['minutes']} min", *([about["note"]] if "note" in about else [])])
        lines.append(f"| [{title(lesson)}]({folder}{lesson}.ipynb) | {about['learns']} | {time} |")
    return "\n".join(lines) + "\n"


def minutes(notebook):
    """How long a student needs: the words of the prose at 150 a minute, and what the exercises say; in fives."""
    prose = [c.source for c in notebook.cells if c.cell_type == "markdown" and "BEGIN SOLUTION" not in c.source]
    exercises = [text for text in prose if "### Exercise" in text]
    named = sum(int(n) for text in exercises for n in re.findall(r"about (\d+) minutes", text)[:1])
    return 5 * round((len(" ".join(prose).split()) / 150 + named) / 5)


def write_minutes(lesson, notebook):
    """Write what :func:`minutes` finds into the lesson's twin, into ``notebook`` and into the list of lessons."""
    number = minutes(notebook)
    notebook.cells[0].source = TIME.sub(rf"\g<1>{number}", notebook.cells[0].source)
    for path, old, new in (
        (twin_path(lesson), TIME, rf"\g<1>{number}"),
        (LIST, re.compile(rf'(file = "{lesson}"\n(?:.+\n)*?minutes = )\d+'), rf"\g<1>{number}"),
    ):
        text = old.sub(new, path.read_text(encoding="utf-8"), count=1)
        write_atomically(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8"))
    ABOUT[lesson]["minutes"] = number


def write_table():
    """Put the table of the lessons into the README."""
    before, rest = README.read_text(encoding="utf-8").split(TABLE[0])
    text = before + TABLE[0] + table(folder="notebooks/") + TABLE[1] + rest.split(TABLE[1])[1]
    write_atomically(README, lambda partial: partial.write_text(text, encoding="utf-8"))


def twin_path(lesson):
    """The text twin of a lesson."""
    return SOURCE_DIR / f"{lesson}.py"


def write_notebook(notebook, path):
    """Write a valid notebook, atomically."""
    nbformat.validate(notebook)
    write_atomically(path, lambda partial: Path(partial).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8"))


def tidy_outputs(notebook):
    """Keep only the last state of each progress bar, as on a screen. Changes the notebook in place."""
    from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor

    preprocessor = CoalesceStreamsPreprocessor()
    for index, cell in enumerate(notebook.cells):
        preprocessor.preprocess_cell(cell, {}, index)


def executed_code():
    """What was executed, a dict lesson → :func:`code_hash`."""
    return _read_json(EXECUTED_FILE)


def record_executed(lesson, notebook):
    """Save which code the outputs of a lesson come from."""
    _write_json(EXECUTED_FILE, {**executed_code(), lesson: code_hash(notebook)})


def recorded_seconds():
    """Measured times, a dict preset → lesson → seconds."""
    return _read_json(SECONDS_FILE)


def record_seconds(preset, lesson, watch, say=print):
    """Save the time of a lesson, which later runs announce, if the machine was idle.

    Args:
        watch: the lab.idle.Watch around the run.
    """
    if fault := watch.fault():
        say(f"The time of {lesson} is not kept: {fault}")
        return
    recorded = recorded_seconds()
    recorded.setdefault(preset, {})[lesson] = round(watch.seconds, 1)
    _write_json(SECONDS_FILE, recorded)


def _read_json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_json(path, value):
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
