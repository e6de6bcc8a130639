"""The lessons as files: their names, where they stand, how long they take."""

import hashlib
import json
from pathlib import Path

import nbformat

from labutils.support.files import write_atomically

NOTEBOOK_DIR = Path(__file__).resolve().parents[1] / "notebooks"
SOURCE_DIR = NOTEBOOK_DIR / "source"  # the text twins
SECONDS_FILE = NOTEBOOK_DIR / "seconds.json"  # {preset: {lesson: seconds}}, as measured by `run --record` and `build`
EXECUTED_FILE = NOTEBOOK_DIR / "executed.json"  # {lesson: what code_hash was when `build` executed it}
QUIET_KERNEL = ("--log-level=ERROR",)  # hides a kernel's warnings, which do not help a student
LESSONS = (
    "01_function_inversion",
    "02_forward_noising",
    "03_unet",
    "04_training",
    "05_sampling",
    "06_discussion",
    "07_better_and_faster",
    "08_text_to_image",
)


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
    """The lesson's heading, as its notebook has it."""
    notebook = json.loads((NOTEBOOK_DIR / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ")


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


def code_hash(notebook):
    """SHA-256 of the code that the outputs come from: each code cell but the setup cell, which ``address`` rewrites."""
    code = [
        cell.source.rstrip()
        for cell in notebook.cells
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", [])
    ]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def executed_code():
    """What was executed, a dict lesson → :func:`code_hash`."""
    return _read_json(EXECUTED_FILE)


def record_executed(lesson, notebook):
    """Save which code the outputs of a lesson come from."""
    _write_json(EXECUTED_FILE, {**executed_code(), lesson: code_hash(notebook)})


def recorded_seconds():
    """Measured times, a dict preset → lesson → seconds."""
    return _read_json(SECONDS_FILE)


def record_seconds(preset, seconds):
    """Save measured times, a dict lesson → seconds; later runs announce them."""
    recorded = recorded_seconds()
    recorded.setdefault(preset, {}).update({lesson: round(value, 1) for lesson, value in seconds.items()})
    _write_json(SECONDS_FILE, recorded)


def _read_json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_json(path, value):
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))
