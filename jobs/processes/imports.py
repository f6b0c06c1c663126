"""Imports that other packages make for uses that this one has not.

The rule: whoever imports such a module later gets the module as it is.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
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


class _Missing(MetaPathFinder):
    """Finds one module to be missing, and leaves all others to the finders behind it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == self._name:
            message = f"No module named {fullname!r}"
            raise ModuleNotFoundError(message, name=fullname)
