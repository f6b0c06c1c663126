"""One run at a time over an output folder.

The rule: the lock falls with the process that holds it, however it ends. On this machine that is at once; in an object
store it is when the holder has not been heard of for a while; a holder that goes on after that finds out.
"""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import IO, TYPE_CHECKING

from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.output.commit import LOCK
from lvm_batch.io.storage.locations import bucket_of, locate
from lvm_batch.io.storage.lock_guard import LocalLockGuard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.storage.lock_guard import LockGuard

_TRIES, _RETRY_S = 5, 0.1  # is_held takes the lock for an instant, and is no run


@contextmanager
def lock_output(text: str, *, on_wait: Callable[[str], None] = lambda _: None) -> Iterator[LockGuard]:
    """Hold the output folder at ``text``; raises :class:`OutputLocked` if another process does.

    What is written there is written through an ``OutputFolder`` that is given the hold, which knows when it is lost.

    ``on_wait`` is called with a note where that takes longer: in an object store, to see whether a holder lives.
    """
    place = locate(text)
    if place.is_local:
        with _locked_folder(place, text):
            yield LocalLockGuard()
        return
    from lvm_batch.io.storage.lease import hold_lease  # noqa: PLC0415 - it needs an extra

    bucket, key = bucket_of(place.child(LOCK))
    with hold_lease(bucket, key, text=text, on_wait=on_wait) as lease:
        yield lease


@contextmanager
def _locked_folder(place: Location, text: str) -> Iterator[None]:
    path = Path(place.path) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise OutputError(f"{text} cannot be written: {error.strerror}", "choose another --output") from error
    with file:
        if not _take_patiently(file, text):
            raise OutputLocked(
                f"another run is writing to {text}",
                "wait until it ends, then run again; `lvm-batch status` shows its progress",
            )
        file.truncate(0)  # of an output that was copied from a store it still names what counted there
        yield


def is_held(text: str) -> bool:
    """Whether a run is writing to the output folder at ``text``."""
    place = locate(text)
    try:
        if place.is_local:
            with (Path(place.path) / LOCK).open("a") as file:
                return not _take(file)
        from lvm_batch.io.storage.lease import lease_is_alive  # noqa: PLC0415 - it needs an extra

        return lease_is_alive(*bucket_of(place.child(LOCK)))
    except OSError:
        return False  # no lock file, or none that may be opened: no run here holds it


def _take_patiently(file: IO[str], text: str) -> bool:
    try:
        for _ in range(_TRIES):
            if _take(file):
                return True
            sleep(_RETRY_S)
    except OSError as error:
        raise OutputError(
            f"the file system of {text} takes no locks: {error.strerror}",
            "put --output on another file system, from which it can be copied",
        ) from error
    return False


def _take(file: IO[str]) -> bool:
    """Take the lock unless another has it; raises ``OSError`` where there are none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
