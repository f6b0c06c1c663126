"""Tests of a held lease: when its holder contacts the store, what it declares, and when it learns that it
lost the lease.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support import buckets

from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.storage import lease
from lvm_batch.io.storage.lease import _Lease
from lvm_batch.io.storage.lock_guard import digests_in_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.io.storage.bucket import Bucket

KEY, TEXT = "out/_lvm_batch/lock", "s3://bucket/out"


class Time:
    """A clock for the holder that advances only when the holder sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The holder's clock."""
    time = Time()
    monkeypatch.setattr(lease, "_now", lambda: time.now)
    monkeypatch.setattr(lease, "monotonic", lambda: time.now)
    monkeypatch.setattr(lease, "sleep", time.sleep)
    return time


@pytest.fixture
def bucket() -> Bucket:
    """An empty bucket, in memory."""
    buckets.need_the_extra()
    from obstore.store import MemoryStore

    from lvm_batch.io.storage.bucket import Bucket

    return Bucket(MemoryStore())


@pytest.fixture
def held(bucket: Bucket, time: Time) -> _Lease:
    """A lease that was just taken and has no heartbeat."""
    return taken(bucket)


def taken(bucket: Bucket) -> _Lease:
    """Take the lease."""
    found = _Lease(bucket, KEY, TEXT)
    found.take(lambda _: None)
    return found


def content(bucket: Bucket) -> dict[str, Any]:
    """The content of the lease."""
    found: dict[str, Any] = json.loads(bucket.read(KEY).content)
    return found


def take_over(bucket: Bucket) -> None:
    """Let another process take the lease over."""
    bucket.put(KEY, json.dumps({"holder": "heir", "host": "far", "pid": 7, "beat": 1}).encode())


def failing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, *, until: Callable[[], bool]) -> list[float]:
    """Let the store fail until ``until`` is true; return the attempts."""
    swap, tries = bucket.swap, []

    def swapping(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        tries.append(1.0)
        if not until():
            raise OSError("away")
        return swap(*arguments)

    monkeypatch.setattr(bucket, "swap", swapping)
    return tries


def test_the_clock_is_monotonic() -> None:
    """The clock is monotonic."""
    first = lease._now()
    assert 0 < first <= lease._now()


def test_a_recent_holder_sends_no_request(held: _Lease, bucket: Bucket, time: Time) -> None:
    """Requests cost money, so for half the time to live a successful change is enough."""
    time.now += 15.0
    take_over(bucket)
    held.check()
    assert content(bucket)["holder"] == "heir"


def test_a_paused_holder_renews_in_the_store(held: _Lease, bucket: Bucket, time: Time) -> None:
    """After half the time to live, the holder renews the lease in the store, which is valid as long again."""
    time.now += 15.001
    held.check()
    assert content(bucket)["beat"] == 2
    time.now += 15.0
    take_over(bucket)
    held.check()
    time.now += 0.001
    for _ in range(2):
        with pytest.raises(
            OutputLocked, match=f"another run has taken over {TEXT}, because this one made no progress"
        ):
            held.check()
    assert content(bucket)["holder"] == "heir"


def test_a_change_counts_from_its_request(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change counts from its request, not from its response, which may arrive late."""
    swap = bucket.swap

    def slow(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        done = swap(*arguments)
        time.now += 16.0
        return done

    monkeypatch.setattr(bucket, "swap", slow)
    held.declare({"a": "1"})
    assert content(bucket)["beat"] == 3  # one for the declaration, and one because that took so long
    fresh = _Lease(bucket, KEY, TEXT)
    monkeypatch.setattr(bucket, "swap", swap)
    bucket.remove(KEY)
    fresh.take(lambda _: None)
    time.now += 15.0
    fresh.check()
    assert content(bucket)["beat"] == 1


def test_a_lost_lease_fails_without_a_request(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the lease is lost, the holder fails without another request."""
    held.lost = True
    time.now += 100.0
    tries = failing(bucket, monkeypatch, until=lambda: False)
    with pytest.raises(OutputLocked):
        held.check()
    with pytest.raises(OutputLocked):
        held.declare({"a": "1"})
    assert tries == []


def test_declarations_are_written_to_the_lease(held: _Lease, bucket: Bucket) -> None:
    """Each declaration is one write of all values; repeating a value writes nothing."""
    held.declare({"a": "1", "b": None})
    held.declare({"b": "2"})
    assert digests_in_lock(bucket.read(KEY).content) == {"a": "1", "b": "2"} == held.digests
    beat = content(bucket)["beat"]
    held.declare({"a": "1"})
    assert content(bucket)["beat"] == beat == 3
    held.give_back()
    assert content(bucket) == {"holder": None, "told": {"a": "1", "b": "2"}}
    heir = taken(bucket)
    assert heir.digests == {"a": "1", "b": "2"}
    assert digests_in_lock(bucket.read(KEY).content) == {"a": "1", "b": "2"}


def test_declarations_of_a_dead_holder_are_inherited(held: _Lease, bucket: Bucket, time: Time) -> None:
    """Readers use the earlier declarations until the new holder changes them."""
    held.declare({"a": "1"})
    heir = taken(bucket)
    assert time.slept
    assert (heir.digests, content(bucket)["told"]) == ({"a": "1"}, {"a": "1"})
    with pytest.raises(OutputLocked):
        held.declare({"a": "2"})
    assert content(bucket)["told"] == {"a": "1"}


def test_a_declaration_is_retried_for_a_minute(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails for less than a minute is retried once a second; after that its error is raised."""
    began = time.now
    failing(bucket, monkeypatch, until=lambda: time.now >= began + 59)
    held.declare({"a": "1"})
    assert content(bucket)["told"] == {"a": "1"}
    assert set(time.slept) == {1.0}
    monkeypatch.undo()
    monkeypatch.setattr(lease, "_now", lambda: time.now)
    monkeypatch.setattr(lease, "monotonic", lambda: time.now)
    monkeypatch.setattr(lease, "sleep", time.sleep)
    began = time.now
    failing(bucket, monkeypatch, until=lambda: False)
    with pytest.raises(OutputError, match=f"{TEXT} cannot be written: away"):
        held.declare({"a": "2"})
    assert 60 < time.now - began <= 61


def test_retries_end_when_the_lease_is_lost(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat may find out between two retries that the lease is lost."""
    tries = failing(bucket, monkeypatch, until=lambda: False)

    def learn(_: float) -> None:
        held.lost = True

    monkeypatch.setattr(lease, "sleep", learn)
    with pytest.raises(OutputLocked):
        held.declare({"a": "1"})
    assert len(tries) == 1


def test_heartbeats_and_declarations_do_not_collide(
    held: _Lease, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat and a declaration wait for each other, so each uses the version that the other left."""
    under_way, go_on, swap = threading.Event(), threading.Event(), bucket.swap
    swaps: list[object] = []

    def slow(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        swaps.append(arguments)
        under_way.set()
        go_on.wait()
        return swap(*arguments)

    monkeypatch.setattr(bucket, "swap", slow)
    beat = threading.Thread(target=held._renew, args=(held._next,))
    beat.start()
    under_way.wait()
    declaring = threading.Thread(target=held.declare, args=({"a": "1"},))
    declaring.start()
    declaring.join(0.05)
    assert declaring.is_alive()
    go_on.set()
    beat.join()
    declaring.join()
    assert (content(bucket)["beat"], content(bucket)["told"]) == (3, {"a": "1"})
    assert len(swaps) == 2  # no write met another version than it expected


def test_a_lease_is_given_back_by_patient_requests(held: _Lease, bucket: Bucket) -> None:
    """Heartbeats use a short request timeout; giving the lease back does not."""
    hasty: list[Any] = []

    class Hasty:
        def swap(self, *arguments: Any) -> Any:  # noqa: ANN401 - as it is
            hasty.append(arguments)
            return bucket.swap(*arguments)

    bucket.__dict__["hasty"] = Hasty()
    held.declare({"a": "1"})
    assert len(hasty) == 1
    held.give_back()
    assert len(hasty) == 1
