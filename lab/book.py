"""Build the book: the lessons as web pages that are read without server and network.

Sphinx and MyST-NB make the pages, from the notebooks as they are; nothing is executed. This module gathers the pages in
a temporary folder, calls Sphinx with the configuration in ``docs/book``, and looks for faults in the result.
"""

import ast
import copy
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

import labutils
from lab import colab, extras
from lab.address import recorded_address
from lab.lessons import LESSONS, NOTEBOOK_DIR, title, twin_path, write_notebook
from lab.pages import faults
from lab.stubs import SOLUTION, is_answer, is_check
from labutils.support.files import check_writable

ROOT = NOTEBOOK_DIR.parent
BOOK_DIR = ROOT / "docs" / "book"  # configuration, first page, style
PLAY = ROOT / "docs" / "play" / "index.html"  # the model in the page, one file
PICTURE = ROOT / "docs" / "captions.png"
PACKAGE = Path(labutils.__file__).parent
SHOW = {"code_prompt_show": "Show the solution", "code_prompt_hide": "Hide the solution"}
SHOW_SETUP = {"code_prompt_show": "Show the setup code", "code_prompt_hide": "Hide the setup code"}


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
        (index, problems): the file to open, None if Sphinx could not make it; and a list of faults in words, empty for
        a good book.

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
        if PLAY.is_file():
            (built / "play").mkdir()
            shutil.copy(PLAY, built / "play")
        problems += faults(built)
        shutil.rmtree(out)
        shutil.copytree(built, out)
    return out / "index.html", problems


def call_sphinx(source, built, doctrees):
    """Turn pages into HTML; returns the warnings, which are faults here."""
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going"]
    command += ["-c", str(BOOK_DIR), "-d", str(doctrees), str(source), str(built)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    problems = [line.replace(f"{source}/", "") for line in done.stderr.splitlines() if line.strip()]
    if done.returncode and not problems:
        problems = [f"sphinx stopped with exit code {done.returncode}"]
    return problems if done.returncode else []


def gather(source, executed, run):
    """Write the sources of all pages into the folder ``source``: lessons, downloads, labutils, the first page."""
    from jinja2 import Environment

    source.mkdir(parents=True)
    repository, tag = recorded_address()
    for lesson in LESSONS:
        notebook = nbformat.read(executed.get(lesson, NOTEBOOK_DIR / f"{lesson}.ipynb"), as_version=4)
        committed = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
        write_notebook(notebook, source / "downloads" / f"{lesson}.ipynb")
        write_notebook(colab.single_file(lesson, committed), source / "downloads" / "colab" / f"{lesson}.ipynb")
        shutil.copy(twin_path(lesson), source / "downloads")
        write_notebook(page(notebook, links(lesson, repository, tag)), source / f"{lesson}.ipynb")
    shutil.copy(PICTURE, source)
    (source / "api").mkdir()
    for room in rooms():
        (source / "api" / f"{room}.md").write_text(room_page(room), encoding="utf-8")
    play = PLAY.is_file()
    if play:
        shutil.copy(BOOK_DIR / "play.md", source)
    template = Environment(keep_trailing_newline=True).from_string((BOOK_DIR / "index.md.jinja").read_text("utf-8"))
    listed = {lesson: in_readme(lesson) for lesson in LESSONS}
    if run:
        run = {**run, "results": [(listed[lesson], *rest) for lesson, *rest in run["results"]]}
    minutes = sum(int(n) for lesson in listed.values() for n in re.findall(r"(\d+) min", lesson["minutes"]))
    text = template.render(lessons=listed.values(), run=run, play=play, rooms=rooms(), hours=round(minutes / 60))
    (source / "index.md").write_text(text, encoding="utf-8")


def page(notebook, row):
    """A copy of a notebook, as the book shows it.

    Solutions and the setup cell are collapsed, checks have a tag by which the style knows them, and ``row`` stands in
    place of the badges, whose pictures would have to be fetched.
    """
    shown = copy.deepcopy(notebook)
    for cell in shown.cells:
        tags = cell.metadata.setdefault("tags", [])
        if "badges" in tags:
            cell.source = row
        if "setup" in tags:
            tags.append("hide-input")
            cell.metadata["mystnb"] = SHOW_SETUP
        if is_check(cell):
            tags.append("check")
        if is_answer(cell) and cell.cell_type == "code":
            tags += ["hide-input", "solution"]
            cell.metadata["mystnb"] = SHOW
        elif is_answer(cell):
            cell.source = re.sub(
                rf"<!-- ### BEGIN {SOLUTION} -->(.*)<!-- ### END {SOLUTION} -->",
                r"<details><summary>Show the solution</summary>\n\1\n</details>",
                cell.source,
                flags=re.DOTALL,
            )
    return shown


def links(lesson, repository, tag):
    """The row of links at the top of a lesson."""
    row = [
        f"{{download}}`this notebook <downloads/{lesson}.ipynb>`",
        f"{{download}}`one file for Colab <downloads/colab/{lesson}.ipynb>`, to upload there",
        f"{{download}}`text source <downloads/{lesson}.py>`",
    ]
    if repository:
        path = repository.removeprefix("https://github.com/")
        colab_page = f"https://colab.research.google.com/github/{path}/blob/{tag}/notebooks/{lesson}.ipynb"
        row.insert(0, f"[open in Colab]({colab_page})")
    return "**Work with it:** " + " · ".join(row)


def in_readme(lesson):
    """A lesson's row in the README's table: a dict with title, page, learn and minutes."""
    row = {"title": title(lesson), "page": lesson, "learn": "", "minutes": ""}
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if f"(notebooks/{lesson}.ipynb)" in line and len(cells) == 3:
            row["learn"], row["minutes"] = cells[1:]
    return row


def rooms():
    """The rooms of labutils that lessons read, in the order in which the package's docstring names them."""
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    entries -= {"__init__", "__main__", "support"}

    def place(room):
        found = re.search(rf"^(\w+, )?{room}\b", labutils.__doc__, re.MULTILINE)
        return (found.start() if found else len(labutils.__doc__), room)

    return sorted(entries, key=place)


def room_page(room):
    """The source of the page that describes a room: its docstring, then each module with what it defines."""
    folder = PACKAGE / room
    names = [f"labutils.{room}"]
    lines = [f"# {room}", "", "```{eval-rst}", f".. automodule:: {names[0]}"]
    if not folder.is_dir():
        return "\n".join([*lines, "   :members:", "```", ""])
    order = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    for module in sorted(modules, key=lambda name: (order.find(f"``{name}``") % (len(order) + 1), name)):
        lines += ["```", "", f"## {room}.{module}", "", "```{eval-rst}"]
        lines += [f".. automodule:: labutils.{room}.{module}", "   :members:"]
    return "\n".join([*lines, "```", ""])
