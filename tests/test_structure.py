"""The house: the rooms are in order, and each imports only what comes before it."""

import ast
from pathlib import Path

import grading
import labutils
from lab.rooms import ROOT, rooms, table

PACKAGE = Path(labutils.__file__).parent
MODULES = [*PACKAGE.rglob("*.py"), *Path(grading.__file__).parent.rglob("*.py")]
ROOMS = {room["name"]: room["modules"] for room in rooms()}  # from the ground up
ORDER = [f"{room}.{module}".rstrip(".") for room, modules in ROOMS.items() for module in [*modules, ""]]


def place(name):
    """Where a module stands in ORDER; a package's own __init__ comes after its modules."""
    return ORDER.index(name.removesuffix(".__init__"))


def imported(path):
    """Names, without "labutils.", of the modules that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "labutils":
            below = node.module.partition(".")[2]
            for alias in node.names:
                whole = f"{below}.{alias.name}".lstrip(".")
                found.add(whole if whole in ORDER else below)
        elif isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("labutils."))
    return found - {""}


def test_imports_only_downwards():
    files = {path: ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    rooms = {path: name for path, name in files.items() if name not in ("__init__", "__main__")}
    assert {name.removesuffix(".__init__") for name in rooms.values()} == set(ORDER)
    for path, name in rooms.items():
        upwards = {other for other in imported(path) if place(other) > place(name)}
        assert not upwards, f"{name} imports {upwards}, which come after it"


def test_the_maintainers_page_has_the_table_of_the_rooms():
    assert table() in (ROOT / "docs" / "maintainers.md").read_text(encoding="utf-8"), f"it should be\n{table()}"


def test_labutils_does_not_know_of_grading():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] in ("grading", "benchmarks") for name in names), path


def test_every_module_says_what_it_is():
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_packages_export_what_they_name():
    for room in ROOMS:
        package = getattr(__import__(f"labutils.{room}"), room)
        for name in getattr(package, "__all__", ()):
            assert hasattr(package, name), f"labutils.{room}.{name}"


def test_no_two_modules_share_a_name():
    """A search and a stack trace must be able to tell them apart."""
    packages = [ROOT / name for name in ("labutils", "lab", "grading", "benchmarks")]
    names = [path.stem for package in packages for path in package.rglob("*.py") if not path.stem.startswith("__")]
    names += [
        path.name for package in packages for path in (package, *package.rglob("*")) if (path / "__init__.py").exists()
    ]
    assert not {name for name in names if names.count(name) > 1}
