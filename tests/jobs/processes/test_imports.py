"""Modules that are left out of other packages' imports are as they were afterwards."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

import pytest

from lvm_batch.jobs.processes.imports import imported_as_empty, imported_as_missing

UNUSED = "wsgiref.validate"  # of Python itself, and nobody imports it


def test_an_empty_module_is_imported_in_its_place() -> None:
    """In the block it has no content; afterwards the module itself is imported, also as a name of its package."""
    with imported_as_empty(UNUSED):
        package = import_module("wsgiref")
        assert not hasattr(import_module(UNUSED), "validator")
    assert UNUSED not in sys.modules
    assert not hasattr(package, "validate")
    assert hasattr(import_module(UNUSED), "validator")
    with imported_as_empty(UNUSED):  # it stays
        assert hasattr(import_module(UNUSED), "validator")


def test_a_module_is_missing() -> None:
    """In the block importing it raises what Python raises for a module that is not installed; others are imported.

    Looking for it raises nothing: torch's optimizers look for pandas, among others, without importing it.
    """
    with imported_as_missing("wsgiref.types"):
        with pytest.raises(ModuleNotFoundError, match="No module named"):
            import_module("wsgiref.types")
        find_spec("wsgiref.types")
        import_module("wsgiref.util")
    import_module("wsgiref.types")
