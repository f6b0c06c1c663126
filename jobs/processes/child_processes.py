"""Python processes that this one starts.

The rule: none of them imports what happens to lie in the working directory, as ``python -c`` and ``python -m`` would:
a ``secrets.py`` or ``torch.py`` beside the data is no part of a run. PYTHONPATH holds for them as it does here.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PYTHON = (sys.executable, "-P")
"""How a command line for Python begins."""

SAFE = {"PYTHONSAFEPATH": "1"}
"""The same for a process whose command line another writes, and for its children."""


@contextmanager
def safe_children() -> Iterator[None]:
    """Start Python safely in the block, whoever does it: ``multiprocessing`` writes its command lines itself."""
    with for_children(SAFE):
        yield


@contextmanager
def for_children(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment in the block, for the processes that are started there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def be_safe() -> None:
    """Let this process, which is the command's own, and all that descend from it import nothing that lies around."""
    os.environ.update(SAFE)
    if not sys.flags.safe_path and sys.path[0] in {"", _working_directory()}:
        del sys.path[0]


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as sys.path has it
    except OSError:
        return None  # it has been deleted


def safely(python: str | None) -> str:
    """Return a command for Python on another machine, this one's by default, with the flag."""
    return f"{python or sys.executable} {PYTHON[1]}"


def with_safe_environment(env: Any) -> Any:  # noqa: ANN401 - as Kubernetes takes it
    """Return the variables of a container, a table or a list of tables, with the one that makes Python safe."""
    if isinstance(env, list):
        return [{"name": name, "value": value} for name, value in SAFE.items()] + env
    return SAFE | (env or {})
