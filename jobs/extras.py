"""Packages that only some options need.

The rule: a missing package is named with the command that installs it; looking for it does not import it.
"""

from __future__ import annotations

import signal
from importlib import import_module
from importlib.util import find_spec
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import MissingExtra

if TYPE_CHECKING:
    from types import ModuleType


def require(package: str, *, option: str, extra: str) -> None:
    """Raise :class:`MissingExtra` unless ``package`` is installed."""
    if not _is_installed(package):
        raise MissingExtra(
            f"{option} needs {package}, which is not installed", f'pip install "lvm-batch[{extra}]"'
        )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it is part of
        return False


def import_extra(module: str) -> ModuleType:
    """Import a module of an optional package; Ctrl-C keeps its handler.

    dask-jobqueue replaces it on import, so that Ctrl-C would end the process wherever it is, without a word.
    """
    if current_thread() is not main_thread():
        return import_module(module)  # only the main thread may set handlers, and only it could lose one
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(module)
    finally:
        signal.signal(signal.SIGINT, before)
