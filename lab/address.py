"""For authors: write the repository's address into badges and setup cells."""

import re

import nbformat

import labutils
from lab.lessons import LESSONS, NOTEBOOK_DIR, twin_path, write_notebook
from labutils.support.files import write_atomically

ADDRESS_FILE = NOTEBOOK_DIR / "address.txt"  # two lines: the repository's address (may be empty), the tag

SETUP = """\
# Setup: finds labutils beside the notebooks. On Colab it fetches the lab first; it upgrades nothing.
import importlib.util, subprocess, sys

REPOSITORY, TAG = "{repository}", "{tag}"
sys.path += ["..", "lab"]
if importlib.util.find_spec("labutils") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError("labutils is not here: take the file that `python -m lab colab` makes of this lesson")
    subprocess.run(["git", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, "lab"], check=True)
    importlib.invalidate_caches()
import labutils  # before TensorFlow: it keeps the start-up messages away"""


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("repository", help="https://github.com/OWNER/NAME, or '' for none")
    parser.add_argument("--tag", default=f"v{labutils.__version__}", help="the release that Colab fetches")


def main(options):
    """Run the command."""
    set_address(options.repository, options.tag)


def recorded_address():
    """(repository, tag): the one place where the project's address stands; the repository may be ''."""
    repository, tag = ADDRESS_FILE.read_text(encoding="utf-8").split("\n")[:2]
    return repository, tag


def badges(lesson):
    """The badge row of a lesson: Colab and source."""
    repository, tag = recorded_address()
    file = f"notebooks/{lesson}.ipynb"
    if not repository:
        return f"[Text source of this lesson](source/{lesson}.py) · no account or GPU needed"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab_page(lesson)}) · "
        f"[Source]({repository}/blob/{tag}/{file}) · no account or GPU needed"
    )


def colab_page(lesson):
    """The address under which Colab opens a lesson; '' while the repository has none."""
    repository, tag = recorded_address()
    path = repository.removeprefix("https://github.com/")
    return path and f"https://colab.research.google.com/github/{path}/blob/{tag}/notebooks/{lesson}.ipynb"


def set_address(repository, tag):
    """Write the repository's address into every badge row and setup cell, in twins and notebooks.

    Args:
        repository: ``https://github.com/OWNER/NAME``, or '' for none yet.
        tag: the release that Colab fetches.

    Raises:
        ValueError: not such an address, or an odd tag.
    """
    if not re.fullmatch(r"(https://github\.com/[\w.-]+/[\w.-]+)?", repository):
        raise ValueError(f"need https://github.com/OWNER/NAME or an empty string, got {repository!r}")
    if not re.fullmatch(r"[\w.-]+", tag):
        raise ValueError(f"a tag has letters, digits, '.', '_' and '-' only, got {tag!r}")
    write_atomically(ADDRESS_FILE, lambda path: path.write_text(f"{repository}\n{tag}\n", encoding="utf-8"))
    import jupytext

    for lesson in LESSONS:
        twin = jupytext.read(twin_path(lesson))
        fill_in(twin, lesson)
        text = jupytext.writes(twin, fmt="py:percent")
        write_atomically(twin_path(lesson), lambda path, text=text: path.write_text(text, encoding="utf-8"))
        notebook_path = NOTEBOOK_DIR / f"{lesson}.ipynb"
        notebook = nbformat.read(notebook_path, as_version=4)
        fill_in(notebook, lesson)
        write_notebook(notebook, notebook_path)


def fill_in(notebook, lesson):
    """Put the current badge row and setup code into the cells tagged ``badges`` and ``setup``, in place."""
    repository, tag = recorded_address()
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "badges" in tags:
            cell.source = badges(lesson)
        if "setup" in tags:
            cell.source = SETUP.format(repository=repository, tag=tag)
