"""What only some commands need: the files requirements-*.txt, and a line on how to install one."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def names():
    """The files, by name."""
    return sorted(path.name for path in ROOT.glob("requirements-*.txt"))


def packages(name):
    """What a file installs, as names to import."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("-", "_")
    return re.findall(r"^\w+", text, re.MULTILINE)


def missing(name):
    """The packages of a file that are not installed."""
    return [package for package in packages(name) if importlib.util.find_spec(package) is None]


def advice(package):
    """One line on how to install a package, or '' if it is in none of the files."""
    for name in names():
        if package in packages(name):
            return f"{package} is not installed: python -m pip install -r {name} -c constraints.txt"
    return ""
