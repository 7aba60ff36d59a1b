"""The order of the rooms: a file imports from lower floors only, no two files import each other, none is long."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = [
    {"errors", "reporting", "text", "locks", "files", "filling", "process", "reading"},
    {"catalogue"},
    {"data"},
    {"features"},
    {"priors"},
    {"training", "metrics"},
    {"methods"},
    {"evaluation"},
    {"grids"},
    {"pages"},
    {"studies", "proofs"},
    {"api", "cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACES = {"__init__", "__main__"}
MOST_LINES = 350


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted((ROOT / "stbench").rglob("*.py"))}


def imports_of(module):
    """Modules of stbench that a file imports anywhere in it, for types too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in FILES:
                name = name.rpartition(".")[0]
            found |= {name} if name not in ("", "stbench", module) else set()
    return found


IMPORTS = {module: imports_of(module) for module in FILES}


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "api"


def circles():
    """Groups of modules that reach each other; a package's face may gather what lies in it."""
    reach = {module: set(found) for module, found in IMPORTS.items()}
    for middle in reach:
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    return sorted(module for module, found in reach.items() if module in found)


@pytest.mark.parametrize("module", [module for module in FILES if room_of(module) not in FACES])
def test_imports_lead_down(module):
    floor = FLOOR[room_of(module)]
    upward = [found for found in IMPORTS[module] if FLOOR[room_of(found)] > floor]
    beside = [
        found for found in IMPORTS[module]
        if FLOOR[room_of(found)] == floor and room_of(found) != room_of(module) and floor > 0
    ]  # fmt: skip
    assert upward == []
    assert beside == []


def test_no_two_files_import_each_other():
    assert circles() == []


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_long(module):
    assert len(FILES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_nothing_but_the_command_line_prints():
    callers = [
        module
        for module, path in FILES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert {room_of(module) for module in callers} <= {"cli"}
