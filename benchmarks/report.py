"""Where results go: JSON files in ``results`` and tables between two marks in the README."""

import json
from pathlib import Path

from labutils.evaluation import RESULTS
from labutils.files import write_atomically

README = Path(__file__).resolve().parent.parent / "README.md"


def save(name, results):
    """Write ``results`` as ``results/NAME.json``, which labutils.evaluation.recorded reads."""
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_atomically(RESULTS / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def marks(name):
    """The two comments in the README between which the table ``name`` stands."""
    return f"<!-- {name}: written by benchmarks.{name} -->", f"<!-- end of {name} -->"


def quote(name, table):
    """Put a Markdown table between its marks in the README."""
    start, end = marks(name)
    before, rest = README.read_text(encoding="utf-8").split(start)
    _, after = rest.split(end)
    text = f"{before}{start}\n{table}\n{end}{after}"
    write_atomically(README, lambda path: path.write_text(text, encoding="utf-8"))
