"""Who may write to a folder of an object store: a lease that outlives nobody for long.

The rule: a holder changes the lease's object every few seconds, and who waits takes it over once it has not seen a
change for the whole time to live. Only the waiting one's own clock counts, for how long it has looked; what the clocks
of the holder or the store say does not matter. Every change is conditional on the version that was seen, so that of
two that take the lease one gets it.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import OutputError, OutputLocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.io.bucket import Bucket, Standing

BEAT_S = 3.0
"""How often a holder changes the lease."""

TTL_S = 30.0
"""How long it stands unchanged before it is taken over."""

_LOOKS = 3  # a beat
_FREE = json.dumps({"holder": None}).encode()


@contextmanager
def hold_lease(bucket: Bucket, key: str, *, text: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lease at ``key`` while the block runs; ``text`` is what errors call the folder.

    ``on_wait`` is told if another holder has to be watched first. Raises :class:`OutputLocked` if it lives, or if the
    lease was lost to another at the end of the block, and :class:`OutputError` if the store does not do it.
    """
    lease = _Lease(bucket, key, text)
    with lease.naming_errors():
        lease.take(on_wait)
    beating = threading.Thread(target=lease.beat, name="lvm-batch-lease", daemon=True)
    beating.start()
    try:
        yield
    finally:
        lease.ended.set()
        beating.join()
        lease.give_back()
    if lease.lost:
        raise OutputLocked(
            f"another run has taken over {text}, since this one had stood still for {TTL_S:.0f} s",
            "wait for it to end, then run again",
        )


def lease_is_alive(bucket: Bucket, key: str) -> bool:
    """Whether somebody holds the lease, seen by a change within a few beats; raises ``OSError``."""
    first = _standing(bucket, key)
    since = monotonic()
    while first is not None and first.content != _FREE and monotonic() - since < _LOOKS * BEAT_S:
        sleep(BEAT_S / _LOOKS)
        now = _standing(bucket, key)
        if now != first:
            return now is not None and now.content != _FREE
    return False


class _Lease:
    """One try to hold the lease; ``mine`` is what this holder wrote last."""

    def __init__(self, bucket: Bucket, key: str, text: str) -> None:
        self.ended = threading.Event()
        self.lost = False
        self._bucket = bucket
        self._key = key
        self._text = text
        self._beats = 0
        self._owner = {"holder": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._mine: Standing | None = None

    def take(self, on_wait: Callable[[str], None]) -> None:
        """Write the lease once nobody holds it."""
        seen: Standing | None = None
        since = monotonic()
        while True:
            standing = _standing(self._bucket, self._key)
            is_dead = standing == seen and monotonic() - since > TTL_S
            if standing is None or standing.content == _FREE or is_dead:
                self._mine = self._bucket.swap(self._key, self._next(), standing)
                if self._mine is not None:
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

    def beat(self) -> None:
        """Change the lease until the end, or until another has it."""
        hasty = self._bucket.hasty  # a beat that waited for its answer would be late
        while not self.lost and not self.ended.wait(BEAT_S):
            try:
                self._renew(self._next(), hasty)
            except OSError:
                continue  # the store is away: it may be back at the next beat

    def give_back(self) -> None:
        """Say that nobody holds the lease, if it is still this holder's."""
        try:
            if not self.lost:
                self._renew(_FREE, self._bucket)
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

    def _renew(self, content: bytes, bucket: Bucket) -> None:
        mine = bucket.swap(self._key, content, self._mine)
        if mine is None:
            # A beat that failed here may have reached the store all the same.
            standing = _standing(bucket, self._key)
            if standing is not None and _owner(standing).get("holder") == self._owner["holder"]:
                mine = bucket.swap(self._key, content, standing)
        self._mine = mine
        self.lost = mine is None

    def _next(self) -> bytes:
        self._beats += 1
        return json.dumps({**self._owner, "beat": self._beats}).encode()


def _standing(bucket: Bucket, key: str) -> Standing | None:
    try:
        return bucket.read(key)
    except FileNotFoundError:
        return None


def _owner(standing: Standing) -> dict[str, Any]:
    try:
        owner = json.loads(standing.content)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _holder(standing: Standing) -> str:
    owner = _owner(standing)
    return f"process {owner.get('pid')} on {owner.get('host')}"
