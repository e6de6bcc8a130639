"""The committed measurements, which the lessons quote. The programs in ``benchmarks`` write them."""

import json

from labutils.data import DATA_DIR

RESULTS = DATA_DIR.parent / "benchmarks" / "results"


def read(name):
    """The content of ``benchmarks/results/NAME.json``, or None if the file is not there."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def recorded(name):
    """The committed measurements of ``python -m benchmarks.NAME``, for a lesson.

    Args:
        name: of a file in ``benchmarks/results``, such as "quality".

    Returns:
        dict; or None, after one printed line, if the file is not there. So a lesson can go on without it.
    """
    found = read(name)
    if found is None:
        print(f"benchmarks/results/{name}.json is not here, so the recorded figures are left out")
    return found


def curve(measured, measure, **wanted):
    """One measure in the rows of ``quality.json`` that have the ``wanted`` entries, by the number of calls.

    Args:
        measured: from ``recorded("quality")``. measure: such as "frechet".
        wanted: entries of the rows, such as ``checkpoint="fast"``.

    Returns:
        list of (calls, value, low, high).
    """
    rows = sorted((row for row in measured["rows"] if wanted.items() <= row.items()), key=lambda row: row["calls"])
    return [(row["calls"], *(row["measures"][measure][key] for key in ("value", "low", "high"))) for row in rows]
