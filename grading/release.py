"""Writes the student notebooks without solutions, the files they need, and the manifest that grading needs."""

import contextlib
import io
import json
import re
import secrets
import zipfile
from pathlib import Path

import nbformat

from lab.lessons import NOTEBOOK_DIR, find_lessons
from lab.stubs import SOLUTION, function_name, in_cell, is_answer, marker, regions, student_copy
from labutils.support.files import check_writable, write_atomically

MANIFEST_VERSION = 4
ROOT = NOTEBOOK_DIR.parent
# Files that the lessons need besides the notebooks. labutils looks for its data beside its own folder.
NEEDED = ("labutils/**/*.py", "requirements.txt", "constraints.txt", "LICENSE")
NEEDED += ("data/checkpoints/*.json", "data/checkpoints/*.h5", "benchmarks/results/*.json")
START = """\
You need Python 3.11, 3.12 or 3.13. In this folder (on Windows: .venv\\Scripts instead of .venv/bin):

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt -c constraints.txt
    .venv/bin/python -m jupyterlab

Then open notebooks/%s.ipynb. Hand in the notebooks, not the folder.
"""
MARKER = re.compile(r"\b(?:BEGIN|END)[ _](?:SOLUTION|HIDDEN)", re.IGNORECASE)
UNSEEN = re.compile(r"[\s#]")  # blank space and comment signs do not count when solutions are compared
SHORT = 12  # characters; a shorter solution may be in another cell by chance
NBGRADER_KEYS = {"grade", "grade_id", "locked", "schema_version", "solution", "task"}


def add_arguments(parser):
    """The arguments of ``python -m grading release``."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument("--out", required=True, help="folder; student.zip is for students, manifest.json is for you")


def main(options):
    """Run ``python -m grading release``."""
    release(options.lessons, options.out)


def release(names=(), out="release", source=NOTEBOOK_DIR, say=print):
    """Write ``out/student/NAME.ipynb``, ``out/student.zip`` with everything that these need, and ``out/manifest.json``.

    Everything is computed before the first file is written. The same notebooks give the same bytes for the students.
    The manifest has a secret: ``grade`` computes the inputs of its tests from it. A release into the same folder keeps
    the secret.

    Args:
        names: as in :func:`lab.lessons.find_lessons`.
        out: folder; it is made if it does not exist.
        source: folder of the instructor's notebooks.
        say: receives one line at the end.

    Raises:
        ValueError: a lesson is unknown, a notebook has a fault or shows a solution, or ``out`` cannot be used.
        FileNotFoundError: a lesson has no notebook.
    """
    books = {lesson: read_notebook(Path(source, f"{lesson}.ipynb")) for lesson in find_lessons(names)}
    students = {lesson: student_copy(lesson, book) for lesson, book in books.items()}
    check_no_traces(books, students)
    entries = {lesson: _entry(lesson, book, students[lesson]) for lesson, book in books.items()}
    files = {lesson: (nbformat.writes(student) + "\n").encode() for lesson, student in students.items()}
    manifest = {"manifest_version": MANIFEST_VERSION, "secret": _secret(Path(out)), "notebooks": entries}
    _write(Path(out), files, manifest)
    points = [question["points"] for entry in entries.values() for question in entry["questions"]]
    say(f"wrote {out}: {len(files)} notebooks, {len(points)} questions, {sum(points)} points; manifest.json is for you")


def read_notebook(path):
    """Read a notebook. Refuse what would lose answers or points without a message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of format 4.5, an id or a grade_id is there twice, or nbgrader's metadata are incomplete.
    """
    text, grade_ids = path.read_text(encoding="utf-8"), set()
    try:
        # Test the ids before nbformat reads the file: nbformat would invent missing ids, and different ones each time.
        ids = [cell["id"] for cell in json.loads(text)["cells"]]
        if len(ids) != len(set(ids)):
            raise ValueError("every cell needs an id of its own")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            if "nbgrader" in cell.metadata:
                _check_metadata(cell.id, cell.metadata.nbgrader, grade_ids)
    except (ValueError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a notebook of format 4.5 with nbgrader's metadata: {error}") from error
    return notebook


def _check_metadata(cell_id, meta, grade_ids):
    known = meta.keys() >= NBGRADER_KEYS and meta.schema_version == 3 and not meta.task
    if not known or (meta.grade and "points" not in meta):
        raise ValueError(f"the metadata of cell {cell_id} are not those of schema 3, or it is a task cell")
    if not re.fullmatch(r"[\w-]+", meta.grade_id) or meta.grade_id in grade_ids:
        raise ValueError(f"the grade_id {meta.grade_id!r} is not new, or not of letters, digits, - and _")
    grade_ids.add(meta.grade_id)


def check_no_traces(books, students):
    """Refuse students' notebooks that show a marker, or a solution of any of the instructor's notebooks.

    Args:
        books, students: dicts lesson → notebook.

    Raises:
        ValueError: names the notebook and the cell.
    """
    answers = [(lesson, cell) for lesson, book in books.items() for cell in filter(is_answer, book.cells)]
    solutions = {cell.id: in_cell(lesson, cell, _solution, cell) for lesson, cell in answers}
    for lesson, student in students.items():
        for cell in student.cells:
            text = UNSEEN.sub("", cell.source)
            shown = next((answer for answer, it in solutions.items() if len(it) >= SHORT and it in text), None)
            if shown or MARKER.search(cell.source):
                what = f"the solution of {shown}" if shown else "a marker of a solution"
                raise ValueError(f"{lesson}.ipynb, cell {cell.id} shows {what}")


def _solution(cell):
    lines = cell.source.split("\n")
    inside = "".join(line for begin, end in regions(cell.source, SOLUTION) for line in lines[begin : end - 1])
    if not re.search(r"\w", inside.replace("pass", "")):
        raise ValueError("the solution is empty")
    return UNSEEN.sub("", inside)


def _entry(lesson, notebook, student):
    cells = [
        {
            "id": cell.id,
            "type": cell.cell_type,
            "source": cell.source,
            "tags": cell.metadata.get("tags", []),
            "nbgrader": cell.metadata.get("nbgrader"),
        }
        for cell in notebook.cells
    ]
    return {"cells": cells, "questions": _questions(lesson, notebook, student)}


def _questions(lesson, notebook, student):
    """The questions in order. The check of an answer comes after it; an answer marked by hand has points itself."""
    stubs, found, title = {cell.id: cell.source for cell in student.cells}, [], ""
    for cell in notebook.cells:
        meta = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown":
            title = ([line[4:] for line in cell.source.split("\n") if line.startswith("### ")] or [title])[-1]
        if is_answer(cell):
            question = {
                "answer": meta.grade_id,
                "title": title.replace("`", "") or meta.grade_id,
                "cell": cell.id,
                "check": None,
                "points": meta.get("points"),
                "kind": "code" if cell.cell_type == "code" else "text",
                "function": function_name(cell),
                "marker": marker(cell),
                "stub": stubs[cell.id],
            }
            found.append(question)
        elif meta.get("grade"):
            if not found or found[-1]["points"] is not None:
                raise ValueError(f"{lesson}.ipynb, cell {cell.id}: a check needs an answer cell of its own before it")
            found[-1] |= {"check": meta.grade_id, "points": meta.points}
    for question in found:
        if question["points"] is None:
            raise ValueError(f"{lesson}.ipynb, cell {question['cell']}: an answer that nothing checks needs points")
    return found


def _secret(out):
    """The secret of the release that is in this folder already, or a new one: a text of 32 digits."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads((out / "manifest.json").read_text(encoding="utf-8"))["secret"]
        if isinstance(known, str) and len(known) >= 32:
            return known
    return secrets.token_hex(16)


def _write(out, files, manifest):
    """Write everything. Refuse a folder that holds other files: they would be handed out by mistake."""
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    targets = {out / "student" / f"{lesson}.ipynb": content for lesson, content in files.items()}
    targets |= {out / "student.zip": _packed(files), out / "manifest.json": text.encode()}
    for path in targets:
        check_writable(path)
    for path in sorted(set((out / "student").iterdir()) - targets.keys()):
        if not path.name.startswith(".partial-"):  # a killed release may leave such files
            raise ValueError(f"{path.parent} holds {path.name}, which is not of this release: name an empty folder")
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
            about.external_attr = 0o644 << 16  # the owner may write, all may read
            archive.writestr(about, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
