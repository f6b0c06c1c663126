"""Folders for temporary files and sockets.

The rule: a command works without ``/tmp``. If neither TMPDIR nor the system's folders can be written, another folder is
used. A socket is made where its path is short enough, whatever TMPDIR is.
"""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SYSTEM_S = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - in each of them a folder of one's own is made
_SOCKET_NAME = "pymp-01234567/listener-01234567"  # as multiprocessing names one


def ensure_temporary_folder() -> None:
    """Set TMPDIR to a folder that can be written, unless Python finds one by itself.

    Python would fall back to the working directory, which may hold the data.
    """
    with suppress(FileNotFoundError):
        if tempfile.gettempdir() != _working_directory():
            return
    for folder in _others(os.environ):
        if _takes(folder, "x" * 8):
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            return


@contextmanager
def short_socket_paths() -> Iterator[None]:
    """In the block, make temporary files (which are sockets) in a folder that can hold sockets, if there is one."""
    before = tempfile.tempdir
    for folder in (tempfile.gettempdir(), *_others(os.environ)):
        if _takes_socket(folder):
            tempfile.tempdir = folder
            break
    try:
        yield
    finally:
        tempfile.tempdir = before


def _others(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, (*_SYSTEM_S, environ.get("XDG_RUNTIME_DIR"))))


def _takes(folder: str, content: str) -> bool:
    try:
        with tempfile.TemporaryFile("w", dir=folder) as file:
            file.write(content)
    except OSError:
        return False
    return True


def _takes_socket(folder: str) -> bool:
    """Return whether a socket can be made in a folder, with a path as long as that of multiprocessing's server."""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="pymp-", dir=folder) as own,
            socket.socket(socket.AF_UNIX) as tried,
        ):
            path = Path(own, "x" * (len(f"{folder}/{_SOCKET_NAME}") - len(own) - 1))
            tried.bind(str(path))
            path.unlink()
    except OSError:
        return False
    return True


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as tempfile has it
    except OSError:
        return None
