"""How modules and folders may import each other, how large they may be, and that all of them are installed.

``house_debts.txt`` lists what does not keep to it yet. The list may only shrink.
"""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
DEBTS = Path(__file__).with_name("house_debts.txt")
ROOMS = ("io", "lvm", "jobs")
MODULES_A_FOLDER = 16
LINES_A_MODULE = 250


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its name without ``lvm_batch.``; a package by the name of its folder."""
    found = {}
    for path in (path for room in ROOMS for path in (TOP / room).rglob("*.py")):
        parts = path.relative_to(TOP).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """The product's modules that each module imports, inside functions and for type checkers too."""
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
    """The folder that a module lies in; a module that stands beside folders counts as one of its own."""
    if modules()[module].name == "__init__.py":
        return module
    folder = module.rpartition(".")[0]
    return module if folder in parents_of_folders() else folder


@cache
def parents_of_folders() -> set[str]:
    """Folders that hold other folders."""
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
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
    """Folders that import each other."""
    arrows = {
        (folder_of(module), folder_of(other)) for module, others in imports().items() for other in others
    }
    return {f"{a} {b}" for a, b in arrows if a < b and (b, a) in arrows}


def too_large() -> set[str]:
    """Folders of too many modules, and modules of too many lines."""
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
    "size": too_large,
}


@pytest.mark.parametrize("wall", WALLS)
def test_the_house_keeps_to_its_walls(wall: str) -> None:
    """No circle of modules, no two folders that import each other, nothing too large."""
    debts = {line for line in DEBTS.read_text(encoding="utf-8").splitlines() if line.startswith(f"{wall}: ")}
    assert {f"{wall}: {fault}" for fault in WALLS[wall]()} == debts


def test_every_folder_is_installed() -> None:
    """The packages in pyproject.toml are the folders on disk."""
    declared = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert [name for name in declared if name != "lvm_batch.sample"] == sorted(
        f"lvm_batch.{name}" for name, path in modules().items() if path.name == "__init__.py"
    )
