"""Who may write to an output folder: one run alone, or parts of its job beside each other.

The rule: a run keeps out every part, a part every run, and no part is computed by two processes. A lock falls with the
process that holds it, however it ends. On this machine that is at once; in an object store it is when the holder has
not been heard of for a while; a holder that goes on after that finds out.
"""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import sleep
from typing import IO, TYPE_CHECKING

from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.output.commit import LOCK, PARTS, TMP
from lvm_batch.io.schema import Part
from lvm_batch.io.storage.locations import bucket_of, locate
from lvm_batch.io.storage.lock_guard import LocalLockGuard
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lvm_batch.io.storage.locations import Location
    from lvm_batch.io.storage.lock_guard import LockGuard

    Tell = Callable[[str], None]

_TRIES, _RETRY_S = 5, 0.1  # is_held takes the lock for an instant, and is no run
_AT_ONCE = 32  # leases, which take a round trip each
_SUFFIX = ".lock"
_WAIT = "wait until it ends, then run again; `lvm-batch status` shows its progress"


@contextmanager
def lock_output(text: str, *, on_wait: Tell = lambda _: None) -> Iterator[LockGuard]:
    """Hold the output folder at ``text`` alone; raises :class:`OutputLocked` if another process writes to it.

    What is written there is written through an ``OutputFolder`` that is given the hold, which knows when it is lost.

    ``on_wait`` is called with a note where that takes longer: in an object store, to see whether a holder lives.
    """
    place = locate(text)
    if place.is_local:
        with _opened(place, LOCK, text) as file:
            if not _take_patiently(file, fcntl.LOCK_EX, text):
                raise _refused_by(running_parts(text), text)
            file.truncate(0)  # of an output that was copied from a store it still names what counted there
            yield LocalLockGuard()
        return
    from lvm_batch.io.storage.lease import hold_lease  # noqa: PLC0415 - it needs an extra

    bucket, key = bucket_of(place.child(LOCK))
    with hold_lease(bucket, key, text=text, on_wait=on_wait) as lease:
        _end_dead_parts(place, text, on_wait)
        yield lease


@contextmanager
def lock_part(text: str, part: Part, *, on_wait: Tell = lambda _: None) -> Iterator[LockGuard]:
    """Hold one part of the output folder at ``text``, beside others; otherwise as :func:`lock_output`."""
    place, name = locate(text), _lock_of(part)
    if place.is_local:
        with _opened(place, name, text) as own, _opened(place, LOCK, text) as shared:
            if not _take_patiently(own, fcntl.LOCK_EX, text):
                raise _refused_by([part], text)
            if not _take_patiently(shared, fcntl.LOCK_SH, text):
                raise _refused_by([], text)
            yield LocalLockGuard()
        return
    from lvm_batch.io.storage.lease import end_dead_lease, hold_lease  # noqa: PLC0415 - it needs an extra

    bucket, key = bucket_of(place.child(name))
    with hold_lease(bucket, key, text=f"part {part} of {text}", on_wait=on_wait) as lease:
        # After its own lease is there: of a run and a part that begin together, at least one sees the other.
        end_dead_lease(bucket, bucket_of(place.child(LOCK))[1], text=text, on_wait=on_wait)
        yield lease


def is_held(text: str) -> bool:
    """Whether a run, or a part of one, is writing to the output folder at ``text``."""
    place = locate(text)
    try:
        if place.is_local:
            with (Path(place.path) / LOCK).open("a") as file:
                return not _take(file, fcntl.LOCK_EX)
        return any(_are_alive(place, [LOCK, *map(_lock_of, started_parts(text))]))
    except OSError:
        return False  # no lock file, or none that may be opened: no run here holds it


def started_parts(text: str) -> list[Part]:
    """Return the parts that have ever begun in the output folder at ``text``, in order."""
    names = open_store(text, staging=TMP).names(PARTS)
    parts = (Part.named(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX))
    return sorted(filter(None, parts))


def running_parts(text: str) -> list[Part]:
    """Return the parts that are being computed in the output folder at ``text``, in order."""
    place, parts = locate(text), started_parts(text)
    try:
        alive = _are_alive(place, list(map(_lock_of, parts)))
    except OSError:
        return []  # as in is_held
    return [part for part, is_alive in zip(parts, alive, strict=True) if is_alive]


def _are_alive(place: Location, names: Sequence[str]) -> list[bool]:
    """Return for each of the locks of an output whether a process holds it; raises ``OSError``."""
    if place.is_local:
        return [_is_taken(Path(place.path) / name) for name in names]
    from lvm_batch.io.storage.lease import lease_is_alive  # noqa: PLC0415 - it needs an extra

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda name: lease_is_alive(*bucket_of(place.child(name))), names))


def _is_taken(path: Path) -> bool:
    with path.open("a") as file:
        return not _take(file, fcntl.LOCK_EX)


def _lock_of(part: Part) -> str:
    return f"{PARTS}/{part.file_name}{_SUFFIX}"


def _end_dead_parts(place: Location, text: str, on_wait: Tell) -> None:
    """Take their leases from parts that have died; raises :class:`OutputLocked` if one lives."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        alive = list(pool.map(partial(_end_unless_alive, place, text, on_wait), started_parts(text)))
    if any(alive):
        raise _refused_by(list(filter(None, alive)), text)


def _end_unless_alive(place: Location, text: str, on_wait: Tell, part: Part) -> Part | None:
    """Return the part if a process computes it; otherwise one that comes back to life finds its lease lost."""
    from lvm_batch.io.storage.lease import end_dead_lease  # noqa: PLC0415 - it needs an extra

    try:
        end_dead_lease(
            *bucket_of(place.child(_lock_of(part))), text=f"part {part} of {text}", on_wait=on_wait
        )
    except OutputLocked:
        return part
    return None


def _refused_by(parts: Sequence[Part], text: str) -> OutputLocked:
    """Return the error that another run, or these parts of one, write to the output at ``text``."""
    if not parts:
        return OutputLocked(f"another run is writing to {text}", _WAIT)
    named = " and ".join(filter(None, (", ".join(map(str, parts[:-1])), str(parts[-1]))))
    who, end = (f"part {named} is", "it ends") if len(parts) == 1 else (f"parts {named} are", "they end")
    return OutputLocked(
        f"{who} being computed in {text}",
        f"wait until {end}, then run again; `lvm-batch status` shows how far they are",
    )


@contextmanager
def _opened(place: Location, name: str, text: str) -> Iterator[IO[str]]:
    """Open a lock file; NFS takes a shared lock only of what may be read, and another only of what may be written."""
    path = Path(place.path) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise OutputError(f"{text} cannot be written: {error.strerror}", "choose another --output") from error
    with file:
        yield file


def _take_patiently(file: IO[str], how: int, text: str) -> bool:
    try:
        for _ in range(_TRIES):
            if _take(file, how):
                return True
            sleep(_RETRY_S)
    except OSError as error:
        raise OutputError(
            f"the file system of {text} does not support locks: {error.strerror}",
            "choose an --output on another file system, and copy it from there",
        ) from error
    return False


def _take(file: IO[str], how: int) -> bool:
    """Take the lock unless another has it; raises ``OSError`` where there are none."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
