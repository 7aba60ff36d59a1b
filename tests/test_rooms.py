"""The order of the rooms: a file imports from lower floors only, no two files import each other, none is long."""

import ast
from functools import cache
from pathlib import Path

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


@cache
def nodes_of(module):
    return list(ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))))


@cache
def imports_of(module):
    """Modules of stbench that a file imports anywhere in it, for types too."""
    found = set()
    for node in nodes_of(module):
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


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "api"


def circles():
    """Groups of modules that reach each other; a package's face may gather what lies in it."""
    reach = {module: set(imports_of(module)) for module in FILES}
    for middle in reach:
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    return sorted(module for module, found in reach.items() if module in found)


def test_imports_lead_down():
    pairs = [(one, found) for one in FILES if room_of(one) not in FACES for found in imports_of(one)]
    floors = {pair: tuple(FLOOR[room_of(module)] for module in pair) for pair in pairs}
    upward = [pair for pair, (floor, found) in floors.items() if found > floor]
    beside = [
        pair for pair, (floor, found) in floors.items()
        if found == floor > 0 and room_of(pair[0]) != room_of(pair[1])
    ]  # fmt: skip
    assert upward == []
    assert beside == []


def test_no_two_files_import_each_other():
    assert circles() == []


def test_no_file_is_long():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in FILES.items()}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


def test_nothing_but_the_command_line_prints():
    callers = [
        module
        for module in FILES
        for node in nodes_of(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert {room_of(module) for module in callers} <= {"cli"}
