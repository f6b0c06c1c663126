"""Who may write to a folder of an object store: a lease that outlives nobody for long.

The rule: a holder changes the lease's object every few seconds, and who waits takes it over once it has not seen a
change for the whole time to live. Only the waiting one's own clock counts, for how long it has looked; what the clocks
of the holder or the store say does not matter. Every change is conditional on the version that was seen, so that of
two that take the lease one gets it, and what a holder tells by it is told by nobody who has lost it.
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
from lvm_batch.io.storage.hold import owner_in, told_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.io.storage.bucket import Bucket
    from lvm_batch.io.storage.bucket_objects import StoredObject
    from lvm_batch.io.storage.hold import Told

BEAT_S = 3.0
"""How often a holder changes the lease."""

TTL_S = 30.0
"""How long it stands unchanged before it is taken over."""

_LOOKS = 3  # a beat
_PATIENCE_S = 60.0
"""How long the store may be away while a holder wants to know whether it still is one."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # it goes on while a machine sleeps


@contextmanager
def hold_lease(bucket: Bucket, key: str, *, text: str, on_wait: Callable[[str], None]) -> Iterator[_Lease]:
    """Hold the lease at ``key`` while the block runs, and give it; ``text`` is what errors call the folder.

    ``on_wait`` is told if another holder has to be watched first. Raises :class:`OutputLocked` if it lives, or if the
    lease was lost to another at the end of the block, and :class:`OutputError` if the store does not do it.
    """
    lease = _Lease(bucket, key, text)
    with lease.naming_errors():
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
    """Whether somebody holds the lease, seen by a change within a few beats; raises ``OSError``."""
    first = bucket.standing(key)
    since = monotonic()
    while not _is_free(first) and monotonic() - since < _LOOKS * BEAT_S:
        sleep(BEAT_S / _LOOKS)
        now = bucket.standing(key)
        if now != first:
            return not _is_free(now)
    return False


class _Lease:
    """One try to hold the lease; ``mine`` is what this holder wrote last."""

    def __init__(self, bucket: Bucket, key: str, text: str) -> None:
        self.ended = threading.Event()
        self.lost = False
        self.told: Told = {}
        self._changing = threading.Lock()
        self._bucket = bucket
        self._key = key
        self._text = text
        self._beats = 0
        self._owner = {"holder": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._mine: StoredObject | None = None

    def take(self, on_wait: Callable[[str], None]) -> None:
        """Write the lease once nobody holds it."""
        seen: StoredObject | None = None
        since = monotonic()
        while True:
            standing = self._bucket.standing(self._key)
            is_dead = standing == seen and monotonic() - since > TTL_S
            if standing is None or is_dead or _is_free(standing):
                if self._inherit(standing):
                    return
            elif seen is None:
                seen, since = standing, monotonic()
                on_wait(
                    f"{self._text} is held by {_holder(standing)}; watching for up to {TTL_S:.0f} s if it lives"
                )
            elif standing != seen:
                raise OutputLocked(
                    f"another run is writing to {self._text}: {_holder(standing)}",
                    "wait for it to end, then run again; `lvm-batch status` shows it",
                )
            sleep(BEAT_S / _LOOKS)

    def _inherit(self, standing: StoredObject | None) -> bool:
        """Take the lease in place of ``standing``, with what its holder told."""
        self.told = told_by(standing.content if standing else None)
        self._changed_at = _now()
        self._mine = self._bucket.swap(self._key, self._next(), standing)
        return self._mine is not None

    def beat(self) -> None:
        """Change the lease until the end, or until another has it."""
        while not self.lost and not self.ended.wait(BEAT_S):
            try:
                self._renew(self._next)
            except OSError:
                continue  # the store is away: it may be back at the next beat

    def check(self) -> None:
        """Raise :class:`OutputLocked` if another has the lease; ask the store where no beat got through for long."""
        if not self.lost and _now() - self._changed_at > TTL_S / 2:
            self._renew_patiently()
        self.refuse_if_lost()

    def tell(self, told: Told) -> None:
        """Change the lease to tell this too; raises :class:`OutputLocked` if another has it."""
        if self.told != (more := {**self.told, **told}):
            self.told = more
            self._renew_patiently()
        self.check()

    def refuse_if_lost(self) -> None:
        """Raise :class:`OutputLocked` if another is known to have the lease."""
        if self.lost:
            raise OutputLocked(
                f"another run has taken over {self._text}, since this one had stood still for {TTL_S:.0f} s",
                "wait for it to end, then run again",
            )

    def give_back(self) -> None:
        """Say that nobody holds the lease, if it is still this holder's."""
        try:
            if not self.lost:
                self._renew(self._free, self._bucket)
        except OSError:
            return  # it ends by itself

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Turn what the store raises into an error that names the folder."""
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._text} cannot be written: {error}", "check access to the store"
            ) from error

    def _renew_patiently(self) -> None:
        """Change the lease, or learn that it is lost, if that takes a while; beats go on in between."""
        deadline = monotonic() + _PATIENCE_S
        while not self.lost:
            try:
                self._renew(self._next)
            except OSError:
                if monotonic() > deadline:
                    with self.naming_errors():
                        raise
                sleep(BEAT_S / _LOOKS)
            else:
                return

    def _renew(self, next_content: Callable[[], bytes], bucket: Bucket | None = None) -> None:
        """Change the lease; raises ``OSError`` soon: who waited long for one answer would be late for the next beat."""
        bucket = bucket or self._bucket.hasty
        with self._changing:
            content, started = next_content(), _now()
            mine = bucket.swap(self._key, content, self._mine)
            if mine is None:
                # A beat that failed here may have reached the store all the same.
                standing = bucket.standing(self._key)
                if standing is not None and owner_in(standing.content).get("holder") == self._owner["holder"]:
                    mine = bucket.swap(self._key, content, standing)
            self._mine, self._changed_at = mine, started
            self.lost = mine is None

    def _next(self) -> bytes:
        self._beats += 1
        return self._telling({**self._owner, "beat": self._beats})

    def _free(self) -> bytes:
        return self._telling({"holder": None})

    def _telling(self, values: dict[str, object]) -> bytes:
        return json.dumps(values | ({"told": self.told} if self.told else {})).encode()


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _is_free(standing: StoredObject | None) -> bool:
    return standing is None or owner_in(standing.content).get("holder", "") is None


def _holder(standing: StoredObject) -> str:
    owner = owner_in(standing.content)
    return f"process {owner.get('pid')} on {owner.get('host')}"
