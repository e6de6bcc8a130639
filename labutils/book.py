"""Writes the notebooks: people edit and review the text twin in ``notebooks/source`` and open the ``.ipynb``.

``python -m labutils build`` executes a twin into its notebook. ``python -m labutils address URL`` writes the
repository's address into every badge row and setup cell.
"""

import os
import re
import time
from pathlib import Path

import nbformat

from labutils.files import write_atomically
from labutils.lessons import LESSONS, NOTEBOOK_DIR, QUIET_KERNEL, record_seconds, tidy_outputs

SOURCE_DIR = NOTEBOOK_DIR / "source"
ADDRESS_FILE = NOTEBOOK_DIR / "address.txt"  # two lines: the repository's address (may be empty), the tag
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

SETUP = """\
# Setup: finds labutils beside the notebooks. On Colab it fetches the lab first; it upgrades nothing.
import importlib.util, subprocess, sys
from pathlib import Path

REPOSITORY, TAG = "{repository}", "{tag}"
if Path("lab.zip").exists() and not Path("lab/labutils").exists():
    subprocess.run(["unzip", "-qo", "lab.zip", "-d", "lab"], check=True)
sys.path += [folder for folder in ("..", "lab") if Path(folder, "labutils").is_dir()]
if importlib.util.find_spec("labutils") is None:
    if not REPOSITORY:
        raise ModuleNotFoundError("labutils is not here: make lab.zip with `make zip`, upload it into this folder "
                                  "(on Colab: the Files pane on the left), and run this cell again")
    subprocess.run(["git", "clone", "-q", "--depth", "1", "--branch", TAG, REPOSITORY, "lab"], check=True)
    sys.path.append("lab")
import labutils  # before TensorFlow: it keeps the start-up messages away"""


def address():
    """(repository, tag): the one place where the project's address stands; the repository may be ''."""
    repository, tag = ADDRESS_FILE.read_text(encoding="utf-8").split("\n")[:2]
    return repository, tag


def badges(lesson):
    """The badge row of a lesson: Colab and source."""
    repository, tag = address()
    file = f"notebooks/{lesson}.ipynb"
    if not repository:
        return f"[Text source of this lesson](source/{lesson}.py) · no account or GPU needed"
    path = repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{path}/blob/{tag}/{file}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) · "
        f"[Source]({repository}/blob/{tag}/{file}) · no account or GPU needed"
    )


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
        _write_notebook(notebook, notebook_path)


def fill_in(notebook, lesson):
    """Put the current badge row and setup code into the cells tagged ``badges`` and ``setup``, in place."""
    repository, tag = address()
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "badges" in tags:
            cell.source = badges(lesson)
        if "setup" in tags:
            cell.source = SETUP.format(repository=repository, tag=tag)


def twin_path(lesson):
    """The text twin of a lesson."""
    return SOURCE_DIR / f"{lesson}.py"


def read_twin(lesson):
    """The notebook, without outputs, that a lesson's text twin describes.

    Cell ids are the grade_id of a graded cell, else lesson and position: the same at every build.
    """
    import jupytext

    notebook = jupytext.read(twin_path(lesson))
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for position, cell in enumerate(notebook.cells):
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note about the text file
        cell.id = cell.metadata.get("nbgrader", {}).get("grade_id") or f"lesson-{lesson[:2]}-{position:03d}"
    return notebook


def build(lesson, timeout=1800):
    """Execute a text twin into its notebook, and keep the time it took; nothing is written if a cell fails.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    os.environ["LABUTILS_BATCH"] = "1"  # the kernel inherits it: pictures instead of sliders
    notebook = read_twin(lesson)
    fill_in(notebook, lesson)
    folder = {"metadata": {"path": str(NOTEBOOK_DIR)}}
    started = time.perf_counter()
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=folder, record_timing=False,
                   extra_arguments=list(QUIET_KERNEL)).execute()  # fmt: skip
    tidy_outputs(notebook)
    notebook.metadata.language_info = {"name": "python"}  # the version that happened to run is not part of the lesson
    _write_notebook(notebook, NOTEBOOK_DIR / f"{lesson}.ipynb")
    parameters = next(cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    preset = re.search(r'PRESET = "(\w+)"', parameters).group(1)
    record_seconds(preset, {lesson: time.perf_counter() - started})


def in_step(lesson):
    """Whether notebook and text twin have the same cells: kind, source and metadata, in order."""
    notebook = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4)
    return [_essence(cell) for cell in notebook.cells] == [_essence(cell) for cell in read_twin(lesson).cells]


def _essence(cell):
    return cell.id, cell.cell_type, cell.source.rstrip(), dict(cell.metadata)


def _write_notebook(notebook, path):
    nbformat.validate(notebook)
    write_atomically(path, lambda partial: Path(partial).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8"))
