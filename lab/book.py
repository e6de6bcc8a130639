"""Build the book: the lessons as web pages that are read without server and network.

Sphinx and MyST-NB make the pages from the notebooks; nothing is executed. The configuration is in ``docs/book``.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from lab import colab, extras
from lab.lessons import ABOUT, LESSONS, NOTEBOOK_DIR, table, title, twin_path, write_notebook
from lab.rooms import ROOT, rooms
from labutils.support.files import check_writable

BOOK_DIR = ROOT / "docs" / "book"  # configuration, first page, style
PLAY = ROOT / "docs" / "play"  # the model in the page
PICTURE = ROOT / "docs" / "captions.png"


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--out", default="build/book", help="folder to write to (default: build/book)")


def main(options):
    """Run the command; returns 1 if the book has faults."""
    index, problems = build_book(options.out)
    report(index, problems)
    return 1 if problems else 0


def report(index, problems, say=print):
    """Say what is wrong with a book, and which file to open."""
    for problem in problems:
        say(f"book: {problem}")
    say(f"Open {index}" if index else "There is no new book")


def build_book(out, executed=None, run=None):
    """Build the book.

    Args:
        out: folder for the pages. An earlier book in it is replaced.
        executed: dict lesson → path of a notebook to show instead of the committed one.
        run: what to say about it on the first page: dict with ``preset``, ``dataset`` and ``results``, a list of
            (lesson, time as a text, problem or '').

    Returns:
        (index, problems): the file to open, None if Sphinx could not make it; and a list of Sphinx' warnings.

    Raises:
        ValueError: ``out`` cannot be written.
        ModuleNotFoundError: a package of requirements-book.txt is not installed.
    """
    out = Path(out).resolve()
    if absent := extras.missing("requirements-book.txt"):
        raise ModuleNotFoundError(extras.advice(absent[0]), name=absent[0])
    check_writable(out / "index.html")
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "source"), Path(folder, "html")
        gather(source, executed or {}, run)
        problems = call_sphinx(source, built, Path(folder, "doctrees"))
        if not (built / "index.html").is_file():
            return None, problems
        shutil.copytree(PLAY, built / "play", ignore=shutil.ignore_patterns("source"))
        shutil.rmtree(out)
        shutil.copytree(built, out)
    return out / "index.html", problems


def call_sphinx(source, built, doctrees):
    """Turn pages into HTML; returns the warnings, which are faults here."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    command += ["-c", str(BOOK_DIR), "-d", str(doctrees), str(source), str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    problems = [line.replace(f"{source}/", "") for line in done.stderr.splitlines() if line.strip()]
    return (problems or [f"sphinx stopped with exit code {done.returncode}"]) if done.returncode else []


def gather(source, executed, run):
    """Write the sources of all pages into the folder ``source``: lessons, downloads, and the pages of ``docs/book``."""
    from jinja2 import Environment, FileSystemLoader

    for lesson in LESSONS:
        committed = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
        notebook = nbformat.read(executed[lesson], as_version=4) if lesson in executed else committed
        for folder in (source, source / "downloads"):
            write_notebook(notebook, folder / f"{lesson}.ipynb")
        write_notebook(colab.single_file(lesson, committed), source / "downloads" / "colab" / f"{lesson}.ipynb")
        shutil.copy(twin_path(lesson), source / "downloads")
    for path in (PICTURE, BOOK_DIR / "play.md"):
        shutil.copy(path, source)
    pages = Environment(loader=FileSystemLoader(BOOK_DIR), keep_trailing_newline=True)
    about = {"lessons": LESSONS, "about": ABOUT, "title": title, "table": table(LESSONS), "rooms": rooms(), "run": run}
    written = {"index": pages.get_template("index.md.jinja").render(about)}
    written |= {f"api/{room['name']}": pages.get_template("room.md.jinja").render(room) for room in rooms()}
    (source / "api").mkdir()
    for name, text in written.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")
