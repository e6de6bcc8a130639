"""The committed measurements, which the lessons quote. The programs in ``benchmarks`` write them."""

import json

from labutils.data import DATA_DIR

RESULTS = DATA_DIR.parent / "benchmarks" / "results"


def recorded(name, required=False):
    """The committed measurements of ``python -m benchmarks.NAME``.

    Args:
        name: quality, ablation, speed, grading or filling.
        required: raise an error if the file is not there. Without it, a lesson can go on.

    Returns:
        dict; or None, after one printed line, if the file is not there and not required.

    Raises:
        FileNotFoundError: the file is required and not there.
    """
    file = RESULTS / f"{name}.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    if required:
        raise FileNotFoundError(f"{file} is missing. Restore it (git checkout), or measure: make bench")
    print(f"benchmarks/results/{name}.json is not here, so the recorded figures are left out")
    return None
