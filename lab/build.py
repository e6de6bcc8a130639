"""For authors: execute text twins into the committed notebooks.

People edit and review the text twin in ``notebooks/source`` and open the ``.ipynb``.
"""

import re

import nbformat

from lab.address import fill_in
from lab.idle import Watch
from lab.lessons import (
    NOTEBOOK_DIR,
    QUIET_KERNEL,
    code_hash,
    executed_code,
    find_lessons,
    needs,
    record_executed,
    record_seconds,
    tidy_outputs,
    twin_path,
    write_minutes,
    write_notebook,
    write_table,
)

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="number or name; all if none is given")
    parser.add_argument("--text", action="store_true", help="only prose has changed: keep the outputs, execute nothing")


def main(options):
    """Run the command."""
    for lesson in find_lessons(options.lessons):
        print(f"{'copying the text of' if options.text else 'executing'} {twin_path(lesson).name}")
        (build_text if options.text else build)(lesson)
    write_table()


def read_twin(lesson):
    """The notebook, without outputs, that a lesson's text twin describes.

    Cell ids are the grade_id of a graded cell, else lesson and position: the same at every build.
    """
    import jupytext

    notebook = jupytext.read(twin_path(lesson))
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}, "lab": needs(lesson)}
    notebook.metadata = nbformat.from_dict(metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for position, cell in enumerate(notebook.cells):
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note about the text file
        cell.id = cell.metadata.get("nbgrader", {}).get("grade_id") or f"lesson-{lesson[:2]}-{position:03d}"
    return notebook


def build(lesson, timeout=1800):
    """Execute a text twin into its notebook, and keep its time and code; nothing is written if a cell fails.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient

    notebook = read_twin(lesson)
    fill_in(notebook, lesson)
    folder = {"metadata": {"path": str(NOTEBOOK_DIR)}}
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources=folder,
        record_timing=False,
        extra_arguments=list(QUIET_KERNEL),
    )
    with Watch() as watch:
        client.execute()
    tidy_outputs(notebook)
    notebook.metadata.language_info = {"name": "python"}  # the version that happened to run is not part of the lesson
    write_minutes(lesson, notebook)
    write_notebook(notebook, NOTEBOOK_DIR / f"{lesson}.ipynb")
    record_executed(lesson, notebook)
    parameters = next(cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    preset = re.search(r'PRESET = "(\w+)"', parameters).group(1)
    record_seconds(preset, lesson, watch)


def build_text(lesson):
    """Write a text twin whose prose has changed into its notebook, which keeps its outputs.

    Raises:
        ValueError: the code has changed too, so the lesson must be executed.
    """
    path = NOTEBOOK_DIR / f"{lesson}.ipynb"
    notebook, before = read_twin(lesson), nbformat.read(path, as_version=4)
    fill_in(notebook, lesson)
    if code_hash(notebook) != executed_code().get(lesson):
        raise ValueError(f"the code of {twin_path(lesson).name} has changed: run python -m lab build {lesson}")
    code, executed = ([cell for cell in book.cells if cell.cell_type == "code"] for book in (notebook, before))
    for cell, old in zip(code, executed, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    write_minutes(lesson, notebook)
    write_notebook(notebook, path)


def in_step(lesson):
    """Whether notebook and text twin have the same cells (kind, source and metadata, in order) and the same needs."""
    notebook, twin = nbformat.read(NOTEBOOK_DIR / f"{lesson}.ipynb", as_version=4), read_twin(lesson)
    same = [_essence(cell) for cell in notebook.cells] == [_essence(cell) for cell in twin.cells]
    return same and notebook.metadata.get("lab") == twin.metadata.lab


def _essence(cell):
    return cell.id, cell.cell_type, cell.source.rstrip(), dict(cell.metadata)
