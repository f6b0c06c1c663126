"""Where temporary files and sockets may lie.

The rule: a command does not need ``/tmp``. Where neither TMPDIR nor the system's folders can be written, another that
can takes their place; a socket lies where its path is short enough, whatever TMPDIR is.
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
    """Let TMPDIR lead to a folder that can be written, if there is any, unless one is found without it.

    The working directory, which Python falls back to, is where the data may lie.
    """
    with suppress(FileNotFoundError):
        if tempfile.gettempdir() != _working_directory():
            return
    for folder in _others(os.environ):
        if _takes(folder, "x" * 8):
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            return


@contextmanager
def sockets_within_reach() -> Iterator[None]:
    """Let temporary files of the block, which are sockets, lie in a folder that can have them, if there is any."""
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
    """Whether a socket can be made there, whose path is as long as that of the server of ``multiprocessing``."""
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
