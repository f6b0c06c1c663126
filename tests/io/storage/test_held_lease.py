"""A lease that is held: when its holder asks the store, what it tells by it, and when it learns that it is lost."""

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
    """Time as a holder sees it, by either of its clocks: it passes when it sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The holder's time."""
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
    """A lease that was just taken, and does not beat."""
    return taken(bucket)


def taken(bucket: Bucket) -> _Lease:
    """Take the lease."""
    found = _Lease(bucket, KEY, TEXT)
    found.take(lambda _: None)
    return found


def content(bucket: Bucket) -> dict[str, Any]:
    """What the lease says."""
    found: dict[str, Any] = json.loads(bucket.read(KEY).content)
    return found


def take_over(bucket: Bucket) -> None:
    """Let another process have it."""
    bucket.put(KEY, json.dumps({"holder": "heir", "host": "far", "pid": 7, "beat": 1}).encode())


def failing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, *, until: Callable[[], bool]) -> list[float]:
    """Let the store be away ``until`` something; return the tries."""
    swap, tries = bucket.swap, []

    def swapping(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        tries.append(1.0)
        if not until():
            raise OSError("away")
        return swap(*arguments)

    monkeypatch.setattr(bucket, "swap", swapping)
    return tries


def test_time_passes() -> None:
    """By a clock that is not set back."""
    first = lease._now()
    assert 0 < first <= lease._now()


def test_a_holder_that_is_heard_of_asks_nobody(held: _Lease, bucket: Bucket, time: Time) -> None:
    """A store charges for each question: for half of the time to live a change that got through will do."""
    time.now += 15.0
    take_over(bucket)
    held.check()
    assert content(bucket)["holder"] == "heir"


def test_a_holder_that_stood_still_asks_the_store(held: _Lease, bucket: Bucket, time: Time) -> None:
    """After half of the time to live; still having it, it has it for as long again."""
    time.now += 15.001
    held.check()
    assert content(bucket)["beat"] == 2
    time.now += 15.0
    take_over(bucket)
    held.check()
    time.now += 0.001
    for _ in range(2):
        with pytest.raises(
            OutputLocked, match=f"another run has taken over {TEXT}, since this one had stood still"
        ):
            held.check()
    assert content(bucket)["holder"] == "heir"


def test_the_time_of_a_change_is_that_at_which_it_was_asked_for(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the answer, which may have waited while somebody else counted."""
    swap = bucket.swap

    def slow(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        done = swap(*arguments)
        time.now += 16.0
        return done

    monkeypatch.setattr(bucket, "swap", slow)
    held.declare({"a": "1"})
    assert content(bucket)["beat"] == 3  # one to tell, and one because that took so long
    fresh = _Lease(bucket, KEY, TEXT)
    monkeypatch.setattr(bucket, "swap", swap)
    bucket.remove(KEY)
    fresh.take(lambda _: None)
    time.now += 15.0
    fresh.check()
    assert content(bucket)["beat"] == 1


def test_who_has_lost_it_is_told_without_asking(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once is enough."""
    held.lost = True
    time.now += 100.0
    tries = failing(bucket, monkeypatch, until=lambda: False)
    with pytest.raises(OutputLocked):
        held.check()
    with pytest.raises(OutputLocked):
        held.declare({"a": "1"})
    assert tries == []


def test_what_is_told_stands_in_the_lease(held: _Lease, bucket: Bucket) -> None:
    """All of it, each time in one step; the same again is no step."""
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


def test_what_a_dead_holder_told_is_inherited(held: _Lease, bucket: Bucket, time: Time) -> None:
    """Readers go by it until the heir tells them otherwise."""
    held.declare({"a": "1"})
    heir = taken(bucket)
    assert time.slept
    assert (heir.digests, content(bucket)["told"]) == ({"a": "1"}, {"a": "1"})
    with pytest.raises(OutputLocked):
        held.declare({"a": "2"})
    assert content(bucket)["told"] == {"a": "1"}


def test_nothing_is_told_by_one_who_is_not_heard(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away for less than a minute is waited for, a look a second; else that is the error."""
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


def test_it_is_lost_while_the_store_is_away(
    held: _Lease, bucket: Bucket, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat may learn of it in between."""
    tries = failing(bucket, monkeypatch, until=lambda: False)

    def learn(_: float) -> None:
        held.lost = True

    monkeypatch.setattr(lease, "sleep", learn)
    with pytest.raises(OutputLocked):
        held.declare({"a": "1"})
    assert len(tries) == 1


def test_a_beat_and_what_is_told_do_not_meet(
    held: _Lease, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change goes by the version that the one before it left."""
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
    tell = threading.Thread(target=held.declare, args=({"a": "1"},))
    tell.start()
    tell.join(0.05)
    assert tell.is_alive()
    go_on.set()
    beat.join()
    tell.join()
    assert (content(bucket)["beat"], content(bucket)["told"]) == (3, {"a": "1"})
    assert len(swaps) == 2  # nobody met a version that was not his own


def test_a_lease_is_given_back_by_patient_requests(held: _Lease, bucket: Bucket) -> None:
    """Beats are given up soon; the last word is not."""
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
