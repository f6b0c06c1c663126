"""One run at a time over an output folder of this machine.

The rule: the lock falls with the process that holds it, however it ends, so that a rerun never waits for the dead.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import IO, TYPE_CHECKING

from lvm_batch.io.commit import PRIVATE
from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.locations import Location

_TRIES, _RETRY_S = 5, 0.1  # is_held takes the lock for an instant, and is no run


@contextmanager
def lock_output(text: str) -> Iterator[None]:
    """Hold the output folder at ``text``; raises :class:`OutputLocked` if another process does.

    Object stores have no such lock: there nothing is held.
    """
    place = locate(text)
    if not place.is_local:
        yield
        return
    path = _lock_path(place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise OutputError(f"{text} cannot be written: {error.strerror}", "choose another --output") from error
    with file:
        if not _take_patiently(file):
            raise OutputLocked(
                f"another run is writing to {text}",
                "wait for it to end, then run again; `lvm-batch status` shows it",
            )
        yield


def is_held(text: str) -> bool:
    """Whether a run is writing to the output folder at ``text`` now."""
    place = locate(text)
    if not place.is_local:
        return False
    try:
        with _lock_path(place).open("a") as file:
            return not _take(file)
    except OSError:
        return False  # no lock file, or none that may be opened: nobody here holds it


def _lock_path(place: Location) -> Path:
    return Path(place.path) / PRIVATE / "lock"


def _take_patiently(file: IO[str]) -> bool:
    for _ in range(_TRIES):
        if _take(file):
            return True
        sleep(_RETRY_S)
    return False


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
