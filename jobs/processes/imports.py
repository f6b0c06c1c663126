"""Imports that other packages make for uses that this one has not.

The rule: whoever imports such a module later gets the module as it is.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def imported_as_empty(name: str) -> Iterator[None]:
    """In the block, whoever imports the module ``name`` gets an empty one. One that is loaded already stays."""
    if name in sys.modules:
        yield
        return
    empty = sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]
        package, _, last = name.rpartition(".")
        above = sys.modules.get(package)
        if above is not None and vars(above).get(last) is empty:
            delattr(above, last)


@contextmanager
def imported_as_missing(name: str) -> Iterator[None]:
    """In the block, whoever imports the module ``name`` gets ``ImportError``. One that is loaded already stays."""
    finder = _Missing(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Missing(MetaPathFinder, Loader):
    """Finds a module that cannot be imported, and leaves all others to the finders behind it.

    The error comes from the import alone: torch's optimizers look for pandas, among others, without importing it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == self._name else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Stand here as Python asks of a loader; no module is ever made."""
