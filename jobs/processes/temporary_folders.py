"""Folders for temporary files, caches and sockets.

The rule: a command works without ``/tmp`` and without a home. If neither TMPDIR nor the system's folders can be
written, another folder is used. A socket is made where its path is short enough, whatever TMPDIR is.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SYSTEM_S = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - in each of them a folder of one's own is made
_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH
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


def ensure_cache_folder() -> None:
    """Set XDG_CACHE_HOME and MPLCONFIGDIR to a temporary folder, unless they are set or the home can be written.

    In a container with a read-only root the user often has no home; matplotlib and fontconfig would complain of it.
    """
    if os.environ.get("XDG_CACHE_HOME") or _has_home():
        return
    with suppress(OSError):
        cache = _own_folder()
        os.environ["XDG_CACHE_HOME"] = cache
        os.environ.setdefault("MPLCONFIGDIR", f"{cache}/matplotlib")


def _has_home() -> bool:
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry for this user
        return False
    cache = str(home / ".cache")
    return os.access(cache if os.path.exists(cache) else home, os.W_OK)  # noqa: PTH110 - Path's raises in a closed home


def _own_folder() -> str:
    """Return a folder of this user's alone, the same for later commands; another one if somebody else made it."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir(), f"lvm-batch-{user}")
    folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    found = folder.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & _OF_OTHERS
    return str(folder) if is_own else tempfile.mkdtemp(prefix="lvm-batch-")


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
