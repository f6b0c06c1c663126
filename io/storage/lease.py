"""The lease of a folder in an object store: one process at a time may write there.

The rule: the holder changes the lease's object every few seconds, and a process that waits takes the lease over once
it has seen no change for the whole time to live. Only the waiting process's own clock counts; the clocks of the holder
and the store do not matter. Every change is conditional on the version that was seen, so that only one of two
processes gets the lease, and a holder that has lost it can no longer declare documents valid.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.storage.lock_guard import digests_in_lock, owner_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import StoredObject
    from lvm_batch.io.storage.lock_guard import Digests

BEAT_S = 3.0
"""How often the holder changes the lease."""

TTL_S = 30.0
"""How long the lease is unchanged before it is taken over."""

_LOOKS = 3  # a beat
_PATIENCE_S = 60.0
"""How long the store may be unreachable while a holder checks that it still has the lease."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # this clock goes on while a machine sleeps


@contextmanager
def hold_lease(bucket: Bucket, key: str, *, text: str, on_wait: Callable[[str], None]) -> Iterator[_Lease]:
    """Hold the lease at ``key`` while the block runs; errors call the folder ``text``.

    ``on_wait`` is called with a message if another holder has to be watched first. Raises :class:`OutputLocked` if
    that holder is alive, or if the lease was lost by the end of the block, and :class:`OutputError` if the store fails.
    """
    lease = _Lease(bucket, key, text)
    with _naming_errors(text):
        lease.take(on_wait)
    beating = threading.Thread(target=lease.beat, name="lvm-batch-lease", daemon=True)
    beating.start()
    try:
        yield lease
    finally:
        lease.ended.set()
        beating.join()
        lease.give_back()
    lease.refuse_if_lost()


def lease_is_alive(bucket: Bucket, key: str) -> bool:
    """Whether the lease is held and changes within a few beats; raises ``OSError``."""
    first = bucket.read_if_there(key)
    since = monotonic()
    while not _is_free(first) and monotonic() - since < _LOOKS * BEAT_S:
        sleep(BEAT_S / _LOOKS)
        now = bucket.read_if_there(key)
        if now != first:
            return not _is_free(now)
    return False


def end_dead_lease(bucket: Bucket, key: str, *, text: str, on_wait: Callable[[str], None]) -> None:
    """Free the lease at ``key`` if its holder has died; what the holder may still do finds the lease lost.

    Raises :class:`OutputLocked` if the holder is alive, and :class:`OutputError` if the store fails.
    """
    with _naming_errors(text):
        while (current := _await_free(bucket, key, text, on_wait)) is not None and not _is_free(current):
            bucket.swap(key, _telling({"holder": None}, digests_in_lock(current.content)), current)


def _await_free(bucket: Bucket, key: str, text: str, on_wait: Callable[[str], None]) -> StoredObject | None:
    """Return the lease once it is free, or once its holder is dead; raises :class:`OutputLocked` if it is alive."""
    seen: StoredObject | None = None
    since = monotonic()
    while True:
        current = bucket.read_if_there(key)
        if current is None or _is_free(current) or (current == seen and monotonic() - since > TTL_S):
            return current
        if seen is None:
            seen, since = current, monotonic()
            on_wait(
                f"{text} is held by {_holder(current)}; waiting up to {TTL_S:.0f} s to see if it is alive"
            )
        elif current != seen:
            raise OutputLocked(
                f"another run is writing to {text}: {_holder(current)}",
                "wait until it ends, then run again; `lvm-batch status` shows its progress",
            )
        sleep(BEAT_S / _LOOKS)


@contextmanager
def _naming_errors(text: str) -> Iterator[None]:
    """Turn errors of the store into one that names the folder."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{text} cannot be written: {error}", "check access to the store") from error


class _Lease:
    """The lease as one process sees it; ``_mine`` is what this process wrote last."""

    def __init__(self, bucket: Bucket, key: str, text: str) -> None:
        self.ended = threading.Event()
        self.lost = False
        self.digests: Digests = {}
        self._changing = threading.Lock()
        self._bucket = bucket
        self._key = key
        self._text = text
        self._beats = 0
        self._owner = {"holder": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._mine: StoredObject | None = None

    def take(self, on_wait: Callable[[str], None]) -> None:
        """Wait until the lease is free, then take it."""
        while not self._inherit(_await_free(self._bucket, self._key, self._text, on_wait)):
            sleep(BEAT_S / _LOOKS)

    def _inherit(self, current: StoredObject | None) -> bool:
        """Replace the lease ``current``, and keep the digests declared in it; return whether that succeeded."""
        self.digests = digests_in_lock(current.content if current else None)
        self._changed_at = _now()
        self._mine = self._bucket.swap(self._key, self._next(), current)
        return self._mine is not None

    def beat(self) -> None:
        """Change the lease regularly until the end, or until it is lost."""
        while not self.lost and not self.ended.wait(BEAT_S):
            try:
                self._renew(self._next)
            except OSError:
                continue  # the store may be back at the next beat

    def check(self) -> None:
        """Raise :class:`OutputLocked` if the lease is lost; ask the store if no beat has succeeded for long."""
        if not self.lost and _now() - self._changed_at > TTL_S / 2:
            self._renew_patiently()
        self.refuse_if_lost()

    def declare(self, digests: Digests) -> None:
        """Declare documents valid, as part of the lease; raises :class:`OutputLocked` if the lease is lost."""
        if self.digests != (more := {**self.digests, **digests}):
            self.digests = more
            self._renew_patiently()
        self.check()

    def refuse_if_lost(self) -> None:
        """Raise :class:`OutputLocked` if the lease is known to be lost."""
        if self.lost:
            raise OutputLocked(
                f"another run has taken over {self._text}, because this one made no progress for {TTL_S:.0f} s",
                "wait for it to end, then run again",
            )

    def give_back(self) -> None:
        """Free the lease if this process still holds it."""
        try:
            if not self.lost:
                self._renew(self._free, self._bucket)
        except OSError:
            return  # it expires by itself

    def _renew_patiently(self) -> None:
        """Change the lease or learn that it is lost, retrying for a while; beats go on in between."""
        deadline = monotonic() + _PATIENCE_S
        while not self.lost:
            try:
                self._renew(self._next)
            except OSError:
                if monotonic() > deadline:
                    with _naming_errors(self._text):
                        raise
                sleep(BEAT_S / _LOOKS)
            else:
                return

    def _renew(self, next_content: Callable[[], bytes], bucket: Bucket | None = None) -> None:
        """Change the lease; raises ``OSError`` soon, since a long wait for one answer would delay the next beat."""
        bucket = bucket or self._bucket.hasty
        with self._changing:
            content, started = next_content(), _now()
            mine = bucket.swap(self._key, content, self._mine)
            if mine is None:
                # A beat that failed here may have reached the store.
                current = bucket.read_if_there(self._key)
                if current is not None and owner_in(current.content).get("holder") == self._owner["holder"]:
                    mine = bucket.swap(self._key, content, current)
            self._mine, self._changed_at = mine, started
            self.lost = mine is None

    def _next(self) -> bytes:
        self._beats += 1
        return _telling({**self._owner, "beat": self._beats}, self.digests)

    def _free(self) -> bytes:
        return _telling({"holder": None}, self.digests)


def _telling(values: dict[str, object], digests: Digests) -> bytes:
    return json.dumps(values | ({"told": digests} if digests else {})).encode()


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _is_free(current: StoredObject | None) -> bool:
    return current is None or owner_in(current.content).get("holder", "") is None


def _holder(current: StoredObject) -> str:
    owner = owner_in(current.content)
    return f"process {owner.get('pid')} on {owner.get('host')}"
