"""Student notebooks without solutions, and the manifest by which an instructor's machine grades them."""

import hashlib
import json
import re
from pathlib import Path

import nbformat

from grading.leaks import Solutions
from grading.stubs import function_name, is_answer, marker, student_cell
from labutils import __version__
from labutils.files import check_writable, write_atomically
from labutils.lessons import NOTEBOOK_DIR, find_lessons

MANIFEST_VERSION = 1
NBGRADER_KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}


def release(names=(), out="release", source=NOTEBOOK_DIR, say=print):
    """Write ``out/student/NAME.ipynb`` and ``out/manifest.json``.

    All is worked out before the first file is written; the manifest comes last. The same notebooks give the same bytes.

    Args:
        names: as in :func:`labutils.lessons.find_lessons`.
        out: folder, made if missing.
        source: folder of the instructor's notebooks.
        say: receives one line at the end.

    Raises:
        ValueError: unknown lesson, a notebook with a fault or a leak, or ``out`` cannot be used.
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
    say(f"wrote {out / 'student'}: {len(files)} notebooks, {len(asked)} questions, "
        f"{sum(question['points'] for question in asked)} points; for you alone: {out / 'manifest.json'}")  # fmt: skip


def read_notebook(path):
    """Read a notebook of format 4.5 in which every cell has an id of its own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a notebook.
    """
    if not path.exists():
        raise FileNotFoundError(f"no notebook {path}; the command build makes it")
    text = path.read_text(encoding="utf-8")
    try:
        # Before nbformat reads it: nbformat would invent the ids that are missing, other ones at each release.
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
    """Refuse what would lose points silently.

    Raises:
        ValueError: incomplete metadata of nbgrader, a grade_id twice, or a task cell; names the cell.
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


def student_copy(lesson, notebook):
    """The notebook as students get it.

    Raises:
        ValueError: a fault in the markers, or an answer cell without a solution; names the cell.
    """
    cells = [_in_cell(lesson, cell, student_cell, cell) for cell in notebook.cells]
    metadata = {key: value for key, value in notebook.metadata.items() if key != "widgets"}  # widgets are outputs
    return nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell for cell in cells if cell]}
    )


def check_no_traces(books, students):
    """Look in all released notebooks for pieces of the solutions of all of them.

    Args:
        books, students: dicts lesson → notebook, the instructor's and the students'.

    Raises:
        ValueError: a piece was found; names notebook and cell.
    """
    solutions = Solutions()
    for lesson, book in books.items():
        for cell in filter(is_answer, book.cells):
            _in_cell(lesson, cell, solutions.add, cell)
    for lesson, student in students.items():
        for cell in student.cells:
            if trace := _in_cell(lesson, cell, solutions.trace_in, cell):
                raise ValueError(f"{lesson}.ipynb, cell {cell.id} {trace}")


def questions(lesson, notebook, student):
    """What is asked in a notebook, in order: a list of dicts, as the manifest has them.

    An answer is followed by the cell that checks it, or, if it is marked by hand, has points of its own.

    Raises:
        ValueError: an answer without points, or a check without an answer.
    """
    stubs = {cell.id: cell.source for cell in student.cells}
    found = []
    for cell in _graded(notebook):
        meta = cell.metadata.nbgrader
        if meta.solution:
            found.append({
                "answer": meta.grade_id, "cell": cell.id, "check": None, "points": meta.get("points"),
                "kind": "code" if cell.cell_type == "code" else "text", "function": function_name(cell),
                "marker": marker(cell), "stub": stubs[cell.id],
            })  # fmt: skip
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
            "id": cell.id, "type": cell.cell_type, "source": cell.source,
            "tags": cell.metadata.get("tags", []), "nbgrader": cell.metadata.get("nbgrader"),
        }
        for cell in notebook.cells
    ]  # fmt: skip
    return {"metadata": student.metadata, "cells": cells, "questions": questions(lesson, notebook, student)}


def _in_cell(lesson, cell, function, *arguments):
    """Call a function; if it complains, say which cell it is about."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{lesson}.ipynb, cell {cell.id}: {error}") from error


def _write(out, files, manifest):
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    targets = {out / "student" / f"{lesson}.ipynb": content for lesson, content in files.items()}
    targets[out / "manifest.json"] = text.encode()
    _check_folder(out / "student", targets)
    for path, content in targets.items():
        write_atomically(path, lambda partial, content=content: partial.write_bytes(content))


def _check_folder(folder, targets):
    """Refuse a folder that cannot be written, or holds what would be handed out without being part of the release."""
    for path in targets:
        check_writable(path)
    for path in sorted(set(folder.iterdir()) - targets.keys()):
        if not path.name.startswith(".partial-"):  # what a killed release may leave
            raise ValueError(f"{folder} holds {path.name}, which is not part of this release: name an empty folder")


def _sha256(content):
    return hashlib.sha256(content).hexdigest()
