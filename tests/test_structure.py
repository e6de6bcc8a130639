"""The house: small rooms, imports only downwards, no word of how it was built."""

import ast
from pathlib import Path

import labutils

PACKAGE = Path(labutils.__file__).parent
# From the ground up: a module may import only what stands before it.
ORDER = """
backend files progress data schedule unet fastnet run_state recognisers networks training checkpoints samplers sampling
metrics evaluation plots inversion toys checks presets recipes doctor lessons book cli __main__
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


def test_rooms_are_small():
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 260, path


def test_every_module_says_what_it_is():
    for path in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
