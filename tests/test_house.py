"""Which folder may import which, how large folders and modules may be, and that all of them are installed.

The order of layers is the architecture: within its room a layer imports only those to its left.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
ROOMS = ("io", "lvm", "jobs")
PACKAGE = "jobs/package"
"""The folder that installs as ``lvm_batch`` itself."""

MODULES_A_FOLDER = 16
LINES_A_MODULE = 250

# Left to right: a name may import those in tuples to its left; names in one tuple do not import each other.
LAYERS = {
    "io": (
        ("errors", "schema"),
        ("hub",),
        ("storage", "vectors"),
        ("formats", "history", "articles"),
        ("pages", "tables"),
        ("dataset",),
        ("discovery",),
        ("output", "packing"),
        ("bank",),
    ),
    "lvm": (
        ("errors",),
        ("architectures", "devices", "registry"),
        ("checkpoints", "kernels", "portable", "search"),
        ("inference",),
        ("training", "evaluation"),
    ),
    "jobs": (
        ("errors",),
        ("processes",),
        ("checks", "console", "extras", "output_folder", "places", "plots"),
        ("settings",),
        ("models", "datasets", "clusters", "monitoring", "releases"),
        ("prediction", "training", "evaluation", "serving", "inspection"),
        ("reports", "registry", "benchmark"),
        ("observed_run",),
        ("demo",),
        ("python",),
        ("commands",),
        ("command_line",),
        ("cli",),
    ),
    "jobs.prediction": (
        ("batching",),
        ("planning",),
        ("execution",),
        ("results",),
        ("observers",),
        ("telemetry",),
        ("conclusion",),
        ("run", "part_run"),
    ),
}


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its name without ``lvm_batch.``; a package by the name of its folder."""
    return {_name_of(path): path for room in ROOMS for path in (TOP / room).rglob("*.py")}


def _name_of(path: Path) -> str:
    is_of_package = path.is_relative_to(TOP / PACKAGE)
    parts = path.relative_to(TOP / PACKAGE if is_of_package else TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, set[str]]:
    """The product's modules that each module imports, also inside functions and for type checkers."""
    return {name: set(_imported(path)) & set(modules()) - {name} for name, path in modules().items()}


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name.removeprefix("lvm_batch.") in modules() else node.module for name in inner}
    return {name.removeprefix("lvm_batch.") for name in names if name.startswith("lvm_batch.")}


def folder_of(module: str) -> str:
    """The folder of a module; a module beside folders counts as its own folder."""
    if modules()[module].name == "__init__.py":
        return module
    folder = module.rpartition(".")[0]
    return module if folder in parents_of_folders() else folder


@cache
def parents_of_folders() -> set[str]:
    """Folders that contain folders."""
    packages = {name for name, path in modules().items() if name and path.name == "__init__.py"}
    return {package.rpartition(".")[0] for package in packages}


def circles() -> set[str]:
    """Groups of modules that reach each other by imports."""
    reach = {module: _reachable(module) for module in modules()}
    groups = {frozenset(other for other in reach[module] if module in reach[other]) for module in modules()}
    return {" ".join(sorted(group)) for group in groups if len(group) > 1}


def _reachable(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for module in imports()[waiting.pop()] - seen:
            seen.add(module)
            waiting.append(module)
    return seen


def pairs() -> set[str]:
    """Pairs of folders that import each other."""
    arrows = {
        (folder_of(module), folder_of(other)) for module, others in imports().items() for other in others
    }
    return {f"{a} {b}" for a, b in arrows if a < b and (b, a) in arrows}


def against_the_order() -> set[str]:
    """Imports to the right in the order of layers, or between members of one tuple."""
    imports_found = set()
    for parent, order in LAYERS.items():
        place = {name: number for number, names in enumerate(order) for name in names}
        for module, others in imports().items():
            here = _child(parent, module)
            for there in (_child(parent, other) for other in others):
                if here and there and here != there and place.get(there, 0) >= place.get(here, 99):
                    imports_found.add(f"{module} -> {parent}.{there}")
    return imports_found


def _child(parent: str, module: str) -> str:
    """The part of ``parent`` that contains a module, "" if it is outside."""
    return module.removeprefix(f"{parent}.").split(".")[0] if module.startswith(f"{parent}.") else ""


def too_large() -> set[str]:
    """Folders with too many modules, and modules with too many lines."""
    folders: dict[Path, int] = {}
    for path in modules().values():
        folders[path.parent] = folders.get(path.parent, 0) + (path.name != "__init__.py")
    crowded = {str(path.relative_to(TOP)) for path, count in folders.items() if count > MODULES_A_FOLDER}
    return crowded | {
        str(path.relative_to(TOP)) for path in modules().values() if _lines(path) > LINES_A_MODULE
    }


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


WALLS = {
    "circle": circles,
    "pair": pairs,
    "order": against_the_order,
    "size": too_large,
}


@pytest.mark.parametrize("wall", WALLS)
def test_imports_keep_to_the_order_of_layers(wall: str) -> None:
    """No circle of modules, no two folders that import each other, one order of layers, nothing too large."""
    assert WALLS[wall]() == set()


@pytest.mark.parametrize("parent", LAYERS)
def test_every_part_has_its_place_in_the_order(parent: str) -> None:
    """A new folder, or a module beside folders, must be added to the order of layers."""
    there = {_child(parent, module) for module in modules()} - {"", "cards", "sample"}
    assert there <= {name for names in LAYERS[parent] for name in names}


def test_every_folder_is_installed() -> None:
    """The packages in pyproject.toml are the folders on disk."""
    declared = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert declared == sorted(
        f"lvm_batch.{name}".rstrip(".") for name, path in modules().items() if path.name == "__init__.py"
    )
