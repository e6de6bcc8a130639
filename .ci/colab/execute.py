"""Execute single-file lessons at smoke, each in an empty folder, each cell twice: as a student who runs a cell again.

Usage: python execute.py FOLDER
"""

import copy
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def twice(notebook):
    """A copy at the preset smoke in which each code cell stands twice."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += '\nPRESET = "smoke"'
        again = copy.deepcopy(cell)
        again.id = f"{cell.id[:50]}-again"
        cells += [cell, again]
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def main(folder):
    """Execute all files of a folder; returns the number of those that failed."""
    os.environ.pop("LABUTILS_DATA", None)
    os.environ["HOME"] = tempfile.mkdtemp()  # no data set in Keras' cache
    failed = 0
    for file in sorted(Path(folder).glob("*.ipynb")):
        notebook = twice(nbformat.read(file, as_version=4))
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as empty:
            place = {"metadata": {"path": empty}}
            client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place)
            try:
                client.execute()
                said = "ran"
            except Exception as error:  # whatever stops a lesson
                failed, said = failed + 1, f"FAILED: {str(error)[-1500:]}"
        print(f"{file.stem}: {said} ({time.perf_counter() - started:.0f} s)", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
