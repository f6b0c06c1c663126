"""Errors of the operating system, as errors that users can act on.

The rule: none of them is a bug. If nothing closer to the cause has explained the error, it is explained here with the
system's own text, the path and what to do: something to change (exit 2), or something that may pass (exit 75).
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.jobs.errors import JobError, SurroundingsError, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Kind(NamedTuple):
    """What to do about one kind of error. ``limit`` is the process limit that causes it; ``may_pass`` says whether the
    same command may work later.
    """

    hint: str
    may_pass: bool = False
    limit: int | None = None


_ROOM = _Kind("make room there, then run the same command again")
_ACCESS = _Kind("give this user access to it, or use another path")
_NAMED = _Kind("check this path, then run the same command again")
_FILES = _Kind(
    "raise the limit on open files (`ulimit -n`), or use fewer --workers", limit=resource.RLIMIT_NOFILE
)
_ENDED = _Kind("check in the system's log what ended it, then run the same command again", may_pass=True)
_PROCESSES = _Kind(
    "raise the limit on processes and threads (`ulimit -u`, or the container's), use fewer --workers, or run "
    "the same command again when there are fewer",
    may_pass=True,
)
_MEMORY = _Kind(
    "raise the limit on memory (`ulimit -v`, or the container's), use fewer --workers, or run the same command "
    "again when more is free",
    may_pass=True,
    limit=resource.RLIMIT_AS,
)
_AWAY = _Kind("check that the other side is running, then run the same command again", may_pass=True)
_NETWORK = _Kind(
    "check that this machine's network is up, including the loopback interface (`ip link set lo up`)"
)
_DEVICE = _Kind("check the disk or the file server, then run the same command again", may_pass=True)
_MISSING = _Kind("this system does not have or allow this: check the settings of the machine or container")

_KINDS: dict[int, _Kind] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _ACCESS),
    errno.EROFS: _Kind("its file system is read-only: use another path"),
    errno.EFBIG: _Kind("raise the limit on the size of a file (`ulimit -f`)", limit=resource.RLIMIT_FSIZE),
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES._replace(may_pass=True, limit=None),
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
    **dict.fromkeys(
        (errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT), _AWAY
    ),
    **dict.fromkeys((errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL), _NETWORK),
    errno.ECHILD: _ENDED,
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.EBUSY), _DEVICE),
    **dict.fromkeys((errno.ENOSYS, errno.EOPNOTSUPP, errno.ENODEV, errno.EAFNOSUPPORT), _MISSING),
}

_TEXTS = {
    # Texts in errors that libraries raise as their own.
    **{os.strerror(number): number for number in (*_KINDS,) if number not in {errno.EPERM, errno.EBUSY}},
    "can't start new thread": errno.EAGAIN,
    "Timed out": errno.ETIMEDOUT,  # Dask
    "can't allocate memory": errno.ENOMEM,  # torch
    "failed to map segment": errno.ENOMEM,  # a shared library
    "Cannot allocate memory": errno.ENOMEM,
}

_LIMITS = {
    resource.RLIMIT_NOFILE: "open files",
    resource.RLIMIT_AS: "bytes of memory",
    resource.RLIMIT_FSIZE: "bytes of a file",
}


class _Settings(NamedTuple):
    """Settings that a library reads by itself, in any function of some modules or in one function."""

    whose: str
    hint: str
    modules: tuple[str, ...]
    function: str | None = None

    def is_read_at(self, module: object, function: str) -> bool:
        """Return whether a function reads them."""
        return module in self.modules and self.function in {None, function}


_SETTINGS = (
    _Settings(
        "Dask's",
        "fix them in /etc/dask, ~/.config/dask, the folder in DASK_CONFIG, or variables that begin with DASK_",
        ("dask.config", "distributed.config"),
    ),
    _Settings(
        "matplotlib's",
        "fix them in `matplotlibrc` in the working directory, in ~/.config/matplotlib, or at the path in MATPLOTLIBRC",
        ("matplotlib",),
        "_rc_params_in_file",
    ),
)


def system_error(error: BaseException, *, through_failures: bool = False) -> JobError | None:
    """Return ``error`` as a :class:`JobError` if it or one of its causes is an error of the system, else ``None``.

    With ``through_failures``, errors that were being handled when this one was raised count as causes too: a library
    may fail while it handles an error of the system.
    """
    if settings := _settings_being_read(error):
        text = " ".join(str(error.__cause__ or error).split())
        return SurroundingsError(
            f"{settings.whose} settings on this machine cannot be used: {text}", settings.hint
        )
    return next(filter(None, map(_explain, _with_causes(error, through_failures=through_failures))), None)


def _settings_being_read(error: BaseException) -> _Settings | None:
    """Return the library settings that were being read when the error was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        place = (frame.f_globals.get("__name__"), frame.f_code.co_name)
        if found := next((each for each in _SETTINGS if each.is_read_at(*place)), None):
            return found
    return None


def _with_causes(error: BaseException | None, *, through_failures: bool) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (error.__context__ if through_failures else None)


def _explain(error: BaseException) -> JobError | None:
    number = _number(error)
    if number is None:
        return None
    if number == errno.ENOENT and not getattr(error, "filename", None) and _is_nowhere():
        return SurroundingsError("the working directory no longer exists", "change to an existing one")
    kind = _KINDS.get(number, _NAMED)
    limit = _limit(kind)
    may_pass = kind.may_pass and not (kind is _MEMORY and limit)  # a process's own limit stays as it is
    what = f"{_what(error)}{f' (the limit is {limit})' if limit else ''}"
    return (TryAgain if may_pass else SurroundingsError)(what, kind.hint)


def _number(error: BaseException) -> int | None:
    """Return the errno of an error, 0 if it has none, and ``None`` if it is not an error of the system."""
    match error:
        case MemoryError():
            return errno.ENOMEM
        case EOFError():
            return errno.ECHILD
        case TimeoutError() | socket.gaierror():
            return errno.ETIMEDOUT
        case OSError():
            return next((number for text, number in _TEXTS.items() if text in str(error)), error.errno or 0)
    return next((number for text, number in _TEXTS.items() if text in str(error)), None)


def _what(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return f"a process that this command had started died: {error}"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        names = [
            os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
        ]
        return f"{' -> '.join(names)}: {error.strerror}"
    return f"{error}" if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"


def _is_nowhere() -> bool:
    with suppress(OSError):
        os.getcwd()  # noqa: PTH109 - whether there is one
        return False
    return True


def _limit(kind: _Kind) -> str:
    if kind.limit is None or (soft := resource.getrlimit(kind.limit)[0]) == resource.RLIM_INFINITY:
        return ""
    return f"{soft:,} {_LIMITS[kind.limit]}"
