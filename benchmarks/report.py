"""Saves results: JSON files in ``results``, row by row, and tables between two marks in the documents."""

import argparse
import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from lab import cluster
from labutils import pretrained
from labutils.results import RESULTS, read
from labutils.support.files import write_atomically
from labutils.support.machine import machine

ROOT = Path(__file__).resolve().parent.parent
README, MAINTAINERS = ROOT / "README.md", ROOT / "docs" / "maintainers.md"
SCRATCH = ROOT / "build" / "benchmarks"  # locks, and parts of rows that take long
JUDGES = ("digit_features", "digit_recogniser")
METHOD = 2  # raise it when a change of the code makes earlier numbers wrong: then everything is measured again


class Rows:
    """One result file: a header, and one row for each item of a plan.

    The header says on which machine, with which versions and with which weights all rows were measured. Rows under
    another header do not count, and rows that are no longer in the plan do not count. So one file never mixes machines.

    Args:
        name: of the file, ``results/NAME.json``.
        plan: list of dicts; the row of an item holds the item and what was measured.
        header: dict of what all rows have in common, see :func:`about`.
        derive: None, or a function of the list of rows → dict that is saved beside them.
    """

    def __init__(self, name, plan, header, derive=None):
        self.name, self.derive = name, derive
        self.plan, self.header = (json.loads(json.dumps(value)) for value in (plan, header))  # tuples become lists

    def read(self):
        """The rows that count, in the order of the plan."""
        found = read(self.name) or {}
        if not self.header.items() <= found.items():
            return []
        kept = found.get("rows", [])
        rows = [next((row for row in kept if item.items() <= row.items()), None) for item in self.plan]
        return [row for row in rows if row]

    def missing(self):
        """The items of the plan that have no row."""
        rows = self.read()
        return [item for item in self.plan if not any(item.items() <= row.items() for row in rows)]

    def add(self, item, measured):
        """Save one row; several programs may do so at the same time.

        A lock covers reading, looking and writing.

        Returns:
            False if the item is not in the plan or already has a row: the new row is dropped.
        """
        with self._lock():
            if item not in self.missing():
                return False
            self._save([*self.read(), {**item, **measured}])
            return True

    def finish(self):
        """Write the file again, with only the rows that count.

        Returns:
            The content of the file; None, with a line that says so, while rows are missing.
        """
        if missing := len(self.missing()):
            print(f"{self.name}: {missing} of {len(self.plan)} rows are still missing")
            return None
        with self._lock():
            self._save(self.read())
        return read(self.name)

    def _save(self, rows):
        rows.sort(key=lambda row: next(i for i, item in enumerate(self.plan) if item.items() <= row.items()))
        save(self.name, {**self.header, **(self.derive(rows) if self.derive else {}), "rows": rows})

    @contextlib.contextmanager
    def _lock(self):
        SCRATCH.mkdir(parents=True, exist_ok=True)
        with open(SCRATCH / f"{self.name}.lock", "w") as file:
            with contextlib.suppress(ImportError):  # Windows has no locks: there, run one program at a time
                from fcntl import LOCK_EX, flock

                flock(file, LOCK_EX)
            yield


class Budget:
    """A time limit for a program.

    Args:
        minutes: None for as long as it needs.
    """

    def __init__(self, minutes=None):
        self.end = None if minutes is None else time.monotonic() + 60 * minutes

    def check(self):
        """End the program, with exit code 1, when the time is up."""
        if self.is_over():
            raise SystemExit("The time is up. What is measured is kept: start the program again to go on.")

    def is_over(self):
        """Whether the time is up."""
        return self.end is not None and time.monotonic() > self.end


def arguments(doc, metavar=None, names=(), spread=False):
    """The options of a program: its time limit as ``budget``, and ``names``, those of its rows to measure.

    Args:
        doc: its first line describes the program.
        metavar: what the help calls a name; None for a program that takes none.
        names: all of them, which is the default.
        spread: also ask for ``jobs`` and ``dask``, see benchmarks.spread.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--minutes", type=float, help="stop after the row in progress (default: measure everything)")
    if spread:
        parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: 1)")
        parser.add_argument("--dask", metavar="ADDRESS", help=cluster.HELP)
    if metavar:
        parser.add_argument("names", nargs="*", default=list(names), metavar=metavar, help=", ".join(names))
    options = parser.parse_args()
    if unknown := set(getattr(options, "names", ())) - set(names):
        parser.error(f"unknown {metavar} {', '.join(sorted(unknown))}, known: {', '.join(names)}")
    options.budget = Budget(options.minutes)
    return options


def about(weights=(), timing=False):
    """The header's first part: the machine, the versions, and the SHA-256 of the named checkpoints' weights.

    Only a benchmark that measures time (``timing``) depends on the number of cores.
    """
    found = machine()
    if not timing:
        del found["cores"]
    hashes = {name: pretrained.read_record(name)["weights_sha256"] for name in weights}
    header = {"machine": found, "versions": pretrained.versions(), "method": METHOD}
    return {**header, "weights": hashes} if hashes else header


def rounded(measures):
    """An evaluation (dict name → labutils.evaluation.Measure) as it is saved."""
    return {
        name: {key: round(value, 5) if isinstance(value, float) else value for key, value in asdict(measure).items()}
        for name, measure in measures.items()
    }


def interval(values):
    """A number and its interval, as they are saved."""
    return [round(value, 4) for value in values]


def save(name, results):
    """Write ``results`` as ``results/NAME.json``, which labutils.results.recorded reads."""
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_atomically(RESULTS / f"{name}.json", lambda path: path.write_text(text, encoding="utf-8"))


def marks(name):
    """The two comments between which the text ``name`` stands."""
    return f"<!-- {name}: written by benchmarks -->", f"<!-- end of {name} -->"


def quote(name, text, document=MAINTAINERS):
    """Put Markdown between its marks in a document."""
    start, end = marks(name)
    before, rest = document.read_text(encoding="utf-8").split(start)
    _, after = rest.split(end)
    whole = f"{before}{start}\n{text}\n{end}{after}"
    write_atomically(document, lambda path: path.write_text(whole, encoding="utf-8"))
