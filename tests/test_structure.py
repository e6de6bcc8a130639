"""The house: small rooms, imports only downwards, no word of how it was built."""

import ast
from pathlib import Path

import grading
import labutils

PACKAGE = Path(labutils.__file__).parent
ROOMS = [*PACKAGE.rglob("*.py"), *Path(grading.__file__).parent.rglob("*.py")]
# From the ground up: a module may import only what stands before it.
ORDER = """
backend files progress data schedule unet fastnet recipe run_state recognisers networks training checkpoints samplers
sampling metrics evaluation plots inversion toys checks presets plans doctor lessons book cli __main__
""".split()  # noqa: SIM905 (reads as the two lines it is)


def imports(path):
    """Names of the labutils modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "labutils":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labutils."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("labutils."))
    return found


def test_imports_only_downwards():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} | {"checks"}
    assert modules == set(ORDER)
    for name in ORDER:
        files = (PACKAGE / name).glob("*.py") if (PACKAGE / name).is_dir() else [PACKAGE / f"{name}.py"]
        for path in files:
            upwards = imports(path) - set(ORDER[: ORDER.index(name)]) - {name}
            assert not upwards, f"{path.name} imports {upwards}, which stand above it"


def test_grading_stands_above_the_line():
    """Only the command line knows of it, and only when a command asks for it."""
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = tree.body if path.name == "cli.py" else ast.walk(tree)
        for node in nodes:
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grading"), path
            assert not (isinstance(node, ast.Import) and any(a.name.startswith("grading") for a in node.names)), path


def test_rooms_are_small():
    for path in ROOMS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 260, path


def test_every_module_says_what_it_is():
    for path in ROOMS:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
