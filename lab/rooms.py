"""The map of the house: ``docs/rooms.toml`` as data and as a table."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS_FILE = ROOT / "docs" / "rooms.toml"


def rooms(package="labutils"):
    """The rooms of a package, from the ground up.

    Args:
        package: its name; "" for the rooms of the whole house.

    Returns:
        list of dicts with ``path``, ``holds``, ``name`` (the last part of the path) and ``modules``, in order. For
        "lesson_*" in the file, all modules that fit stand there.
    """
    listed = [room for room in _read() if room["path"].startswith(f"{package}/" if package else "")]
    for room in listed:
        room["name"] = Path(room["path"]).name
        found = [sorted((ROOT / room["path"]).glob(f"{pattern}.py"), key=_number) for pattern in room["modules"]]
        room["modules"] = [path.stem for paths in found for path in paths]
    return listed


def table():
    """The rows of the table in ``docs/maintainers.md``."""
    lines = ["| room | holds | modules |", "| --- | --- | --- |"]
    for room in _read():
        modules = ", ".join(f"`{module}`" for module in room["modules"])
        lines.append(f"| `{room['path']}` | {room['holds']} | {modules} |")
    return "\n".join(lines)


def _number(path):
    """What a file is sorted by: lesson_10 comes after lesson_9."""
    return [int(digits) for digits in re.findall(r"\d+", path.stem)], path.stem


def _read():
    listed = tomllib.loads(ROOMS_FILE.read_text(encoding="utf-8"))["room"]
    return [{"modules": [], **room} for room in listed]
