"""Writes the student notebooks without solutions, the files they need, and the manifest that grading needs."""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import nbformat

from grading.leaks import secrets_of, trace_in
from grading.shown import shows
from labutils import __version__
from labutils._support.files import check_writable, write_atomically
from labutils._support.lessons import NOTEBOOK_DIR, find_lessons
from labutils._support.stubs import function_name, in_cell, is_answer, marker, student_copy

MANIFEST_VERSION = 3
ROOT = NOTEBOOK_DIR.parent
# Files that the lessons need besides the notebooks. labutils looks for its data beside its own folder.
NEEDED = (
    "labutils/**/*.py",
    "data/checkpoints/*.json",
    "data/checkpoints/*.h5",
    "benchmarks/results/*.json",
    "requirements.txt",
    "constraints.txt",
    "LICENSE",
)
START = """\
Introduction to Stable Diffusion Models

You need Python 3.11, 3.12 or 3.13. In this folder (on Windows: .venv\\Scripts instead of .venv/bin):

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt -c constraints.txt
    .venv/bin/python -m jupyterlab

Then open notebooks/%s.ipynb. Hand in the notebooks, not the folder.
On Colab: open a notebook, upload this zip under the name lab.zip in the Files pane, and run the setup cell.
"""
NBGRADER_KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}


def add_arguments(parser):
    """The arguments of ``python -m grading release``."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument(
        "--out", required=True, help="folder: student/ and student.zip are for students, manifest.json is for you"
    )


def main(options):
    """Run ``python -m grading release``."""
    release(options.lessons, options.out)


def release(names=(), out="release", source=NOTEBOOK_DIR, say=print):
    """Write ``out/student/NAME.ipynb``, ``out/student.zip`` with everything that these need, and ``out/manifest.json``.

    Everything is computed before the first file is written. The manifest is written last. The same notebooks give the
    same bytes.

    Args:
        names: as in :func:`labutils._support.lessons.find_lessons`.
        out: folder; it is made if it does not exist.
        source: folder of the instructor's notebooks.
        say: receives one line at the end.

    Raises:
        ValueError: a lesson is unknown, a notebook has a fault or shows a solution, or ``out`` cannot be used.
        FileNotFoundError: a lesson has no notebook.
    """
    lessons, out = find_lessons(names), Path(out)
    originals = {lesson: Path(source, f"{lesson}.ipynb") for lesson in lessons}
    books = {lesson: read_notebook(path) for lesson, path in originals.items()}
    for lesson, book in books.items():
        check_metadata(lesson, book)
    students = {lesson: student_copy(lesson, book) for lesson, book in books.items()}
    check_no_traces(books, students)
    files = {lesson: (nbformat.writes(book) + "\n").encode() for lesson, book in students.items()}
    entries = {}
    for lesson, book in books.items():
        digests = {"instructor": _sha256(originals[lesson].read_bytes()), "student": _sha256(files[lesson])}
        entries[lesson] = _entry(lesson, book, students[lesson]) | {"sha256": digests}
    _write(out, files, {"manifest_version": MANIFEST_VERSION, "labutils_version": __version__, "notebooks": entries})
    asked = [question for entry in entries.values() for question in entry["questions"]]
    say(
        f"wrote {out / 'student'}: {len(files)} notebooks, {len(asked)} questions, "
        f"{sum(question['points'] for question in asked)} points; for you alone: {out / 'manifest.json'}"
    )


def read_notebook(path):
    """Read a notebook of format 4.5 in which every cell has a different id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a notebook.
    """
    if not path.exists():
        raise FileNotFoundError(f"no notebook {path}; the command build makes it")
    text = path.read_text(encoding="utf-8")
    try:
        # Test the ids before nbformat reads the file: nbformat would invent missing ids, and different ones each time.
        plain = json.loads(text)
        ids = [cell["id"] for cell in plain["cells"]]
        if plain["nbformat"] != 4 or len(ids) != len(set(ids)):
            raise ValueError("every cell needs an id of its own")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a notebook of format 4.5: {error}") from error
    return notebook


def check_metadata(lesson, notebook):
    """Refuse metadata that would lose points without a message.

    Raises:
        ValueError: nbgrader's metadata are incomplete, a grade_id is there twice, or there is a task cell. The message
            names the cell.
    """
    seen = set()
    for cell in _graded(notebook):
        meta, where = cell.metadata.nbgrader, f"{lesson}.ipynb, cell {cell.id}"
        if not meta.keys() >= NBGRADER_KEYS or meta.schema_version != 3 or (meta.grade and "points" not in meta):
            raise ValueError(f"{where}: nbgrader's metadata are not those of schema 3")
        if not re.fullmatch(r"[\w-]+", meta.grade_id) or meta.grade_id in seen:
            raise ValueError(f"{where}: the grade_id {meta.grade_id!r} is not new, or not of letters, digits, - and _")
        if meta.task:
            raise ValueError(f"{where}: task cells are not supported, use an answer in free text")
        seen.add(meta.grade_id)


def check_no_traces(books, students):
    """Look in every released notebook for pieces of the solutions of all notebooks.

    Args:
        books, students: dicts lesson → notebook, the instructor's and the students'.

    Raises:
        ValueError: a piece was found. The message names notebook and cell.
    """
    secrets = []
    for lesson, book in books.items():
        for cell in filter(is_answer, book.cells):
            secrets += in_cell(lesson, cell, secrets_of, cell)
    for lesson, student in students.items():
        for cell in student.cells:
            if trace := trace_in(cell, secrets):
                raise ValueError(f"{lesson}.ipynb, cell {cell.id} {trace}")


def questions(lesson, notebook, student):
    """The questions of a notebook, in order: a list of dicts, as they are in the manifest.

    An answer cell is followed by the cell that checks it. An answer that is marked by hand has points itself.

    Raises:
        ValueError: an answer has no points, or a check has no answer.
    """
    stubs, titles, title = {cell.id: cell.source for cell in student.cells}, {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            title = ([line[4:] for line in cell.source.split("\n") if line.startswith("### ")] or [title])[-1]
        titles[cell.id] = title.replace("`", "")
    found = []
    for cell in _graded(notebook):
        meta = cell.metadata.nbgrader
        if meta.solution:
            found.append(
                {
                    "answer": meta.grade_id,
                    "title": titles[cell.id] or meta.grade_id,
                    "cell": cell.id,
                    "check": None,
                    "points": meta.get("points"),
                    "kind": "code" if cell.cell_type == "code" else "text",
                    "function": function_name(cell),
                    "marker": marker(cell),
                    "stub": stubs[cell.id],
                }
            )
        elif meta.grade:
            if not found or found[-1]["points"] is not None:
                raise ValueError(f"{lesson}.ipynb, cell {cell.id}: a check needs an answer cell of its own before it")
            found[-1] |= {"check": meta.grade_id, "points": meta.points}
    for question in found:
        if question["points"] is None:
            raise ValueError(f"{lesson}.ipynb, cell {question['cell']}: an answer that nothing checks needs points")
    return found


def _graded(notebook):
    return [cell for cell in notebook.cells if "nbgrader" in cell.metadata]


def _entry(lesson, notebook, student):
    cells = [
        {
            "id": cell.id,
            "type": cell.cell_type,
            "source": cell.source,
            "tags": cell.metadata.get("tags", []),
            "nbgrader": cell.metadata.get("nbgrader"),
            "shows": {} if "nbgrader" in cell.metadata else shows(cell),
        }
        for cell in notebook.cells
    ]
    return {"metadata": student.metadata, "cells": cells, "questions": questions(lesson, notebook, student)}


def _write(out, files, manifest):
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    targets = {out / "student" / f"{lesson}.ipynb": content for lesson, content in files.items()}
    targets |= {out / "student.zip": _packed(files), out / "manifest.json": text.encode()}
    _check_folder(out / "student", targets)
    for path, content in targets.items():
        write_atomically(path, lambda partial, content=content: partial.write_bytes(content))


def _packed(files):
    """The zip that a student unpacks into an empty folder. The same files give the same bytes."""
    found = {path.relative_to(ROOT).as_posix(): path for pattern in NEEDED for path in ROOT.glob(pattern)}
    contents = {name: path.read_bytes() for name, path in found.items() if not path.name.startswith(".")}
    contents |= {f"notebooks/{lesson}.ipynb": content for lesson, content in files.items()}
    contents["START.txt"] = (START % min(files)).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in sorted(contents.items()):
            about = zipfile.ZipInfo(name)  # always dated 1980, so the bytes do not depend on the time
            about.external_attr = 0o644 << 16
            # Compression is slow for weights and does not make them smaller.
            about.compress_type = zipfile.ZIP_STORED if name.endswith(".h5") else zipfile.ZIP_DEFLATED
            archive.writestr(about, content)
    return packed.getvalue()


def _check_folder(folder, targets):
    """Refuse a folder that cannot be written, or that holds other files: they would be handed out by mistake."""
    for path in targets:
        check_writable(path)
    for path in sorted(set(folder.iterdir()) - targets.keys()):
        if not path.name.startswith(".partial-"):  # a killed release may leave such files
            raise ValueError(f"{folder} holds {path.name}, which is not part of this release: name an empty folder")


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
