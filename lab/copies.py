"""Write your own copies of the lessons, without solutions; notebooks that exist are kept."""

import json
from pathlib import Path

import nbformat

from lab.lessons import LESSONS, NOTEBOOK_DIR
from lab.stubs import code_hash, student_copy
from labutils.support.files import check_writable, write_atomically

WORK_DIR = NOTEBOOK_DIR.parent / "my_lab"  # as deep as notebooks/, so that the links in a lesson work in both


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--out", default=WORK_DIR, help="folder to write to (default: my_lab beside notebooks)")


def main(options):
    """Run the command."""
    copy_lessons(options.out)


def copy_lessons(out=WORK_DIR, source=NOTEBOOK_DIR, say=print):
    """Write a student's copy of every lesson that ``out`` does not hold yet; what is there stays as it is.

    Args:
        out: folder, made if missing.
        source: folder of the notebooks with solutions.
        say: receives one line for each lesson, and one more if copies are older than their lessons.

    Raises:
        ValueError: ``out`` cannot be used, or a notebook has a fault.
        FileNotFoundError: a lesson has no notebook.
    """
    out, missing, changed = Path(out), {}, []
    for lesson in LESSONS:
        original, target = Path(source, f"{lesson}.ipynb"), out / f"{lesson}.ipynb"
        if not original.exists():
            raise FileNotFoundError(f"no notebook {original}: get the lab's folder again, or run build")
        notebook = nbformat.read(original, as_version=4)
        if target.exists():
            changed += [lesson] * (copied_from(target) != code_hash(notebook))
        else:
            check_writable(target)
            missing[target] = nbformat.writes(student_copy(lesson, notebook)) + "\n"
    for lesson in LESSONS:
        target = out / f"{lesson}.ipynb"
        if target in missing:
            write_atomically(target, lambda partial, text=missing[target]: partial.write_text(text, encoding="utf-8"))
        say(f"{target}: {'new' if target in missing else 'kept as it is'}")
    if changed:
        new = f"python -m lab copy --out {out.name}_new"
        say(f"changed since your copy was made: {', '.join(changed)}; `{new}` writes new copies beside yours")


def copied_from(path):
    """The ``code_hash`` of the lesson that a copy was made from; '' if the file does not say."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["lab"]["code_hash"]
    except (ValueError, KeyError, TypeError):  # not a notebook, or one of an earlier release
        return ""
