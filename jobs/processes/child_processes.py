"""Python processes that this one starts.

The rule: none of them imports modules from the working directory, as ``python -c`` and ``python -m`` would: a
``secrets.py`` or ``torch.py`` beside the data is not part of a run. PYTHONPATH applies to them as it does here.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PYTHON = (sys.executable, "-P")
"""The beginning of a command line for Python."""

SAFE = {"PYTHONSAFEPATH": "1"}
"""The same as a variable, for processes whose command line others write, and for their children."""


@contextmanager
def safe_children() -> Iterator[None]:
    """Start Python with this flag in the block, also through ``multiprocessing``, which writes command lines."""
    with environment_for_children(SAFE):
        yield


@contextmanager
def environment_for_children(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in the block, for the processes that are started in it."""
    with environment_kept(values):
        os.environ.update(values)
        yield


@contextmanager
def environment_kept(names: Iterable[str]) -> Iterator[None]:
    """Give the environment variables ``names`` back the values that they have now, when the block is left."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def ignore_working_directory() -> None:
    """Keep this process, which is the command's own, and its descendants from importing the working directory."""
    os.environ.update(SAFE)
    if not sys.flags.safe_path and sys.path[0] in {"", _working_directory()}:
        del sys.path[0]


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as sys.path has it
    except OSError:
        return None  # it has been deleted


def safe_python(python: str | None) -> str:
    """Return the command for Python on another machine (by default as on this one) with the flag."""
    return f"{python or sys.executable} {PYTHON[1]}"


def with_safe_environment(env: Any) -> Any:  # noqa: ANN401 - as Kubernetes takes it
    """Add the variable that makes Python safe to the variables of a container, a table or a list of tables."""
    if isinstance(env, list):
        return [{"name": name, "value": value} for name, value in SAFE.items()] + env
    return SAFE | (env or {})
