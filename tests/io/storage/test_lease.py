"""Tests of the lease of an output in a store: who gets it, after how long, and how a holder learns that it lost it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support import buckets
from support.waiting import HANG_S, wait_until

from lvm_batch.io.errors import OutputError, OutputLocked
from lvm_batch.io.storage import lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.io.storage.bucket import Bucket

KEY, TEXT = "out/_lvm_batch/lock", "s3://bucket/out"
FREE = b'{"holder": null}'


@pytest.fixture
def bucket() -> Bucket:
    """An empty bucket, in memory."""
    buckets.need_the_extra()
    from obstore.store import MemoryStore

    from lvm_batch.io.storage.bucket import Bucket

    return Bucket(MemoryStore())


class Clock:
    """A clock for a waiting run: it advances when the run sleeps, and triggers scheduled events."""

    def __init__(self) -> None:
        self.now = 100.0
        self._events: list[tuple[float, Callable[[], object]]] = []

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """Schedule an event, in seconds from the start."""
        self._events.append((100.0 + seconds, event))

    def sleep(self, seconds: float) -> None:
        """Advance the clock, and run the events due meanwhile."""
        self.now += seconds
        for due in [each for each in self._events if each[0] <= self.now]:
            self._events.remove(due)
            due[1]()

    @property
    def passed_s(self) -> float:
        """Seconds since the start."""
        return round(self.now - 100.0, 6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the waiting run."""
    clock = Clock()
    monkeypatch.setattr(lease, "monotonic", lambda: clock.now)
    monkeypatch.setattr(lease, "sleep", clock.sleep)
    return clock


def put(bucket: Bucket, beat: int, holder: str = "other") -> None:
    """Let another process write to the lease."""
    bucket.put(KEY, json.dumps({"holder": holder, "host": "far", "pid": 7, "beat": beat}).encode())


def content(bucket: Bucket) -> dict[str, Any]:
    """The content of the lease."""
    found: dict[str, Any] = json.loads(bucket.read(KEY).content)
    return found


def held(bucket: Bucket, on_wait: Callable[[str], None] = lambda _: None) -> Any:  # noqa: ANN401
    """Hold the lease, as a context manager."""
    return lease.hold_lease(bucket, KEY, text=TEXT, on_wait=on_wait)


def test_a_holder_beats_every_three_seconds_and_has_thirty() -> None:
    """Runs of other versions use the same times."""
    assert (lease.BEAT_S, lease.TTL_S) == (3, 30)


def test_a_lease_that_nobody_holds_is_taken_at_once(bucket: Bucket, clock: Clock) -> None:
    """The lease names its holder; when given back, it has none, and the next run takes it at once."""
    waited: list[str] = []
    for _ in range(2):
        with held(bucket, waited.append):
            document = content(bucket)
            assert (document["host"], document["pid"], document["beat"]) == (
                socket.gethostname(),
                os.getpid(),
                1,
            )
            assert document["holder"]
        assert bucket.read(KEY).content == FREE
    assert (waited, clock.passed_s) == ([], 0)


def test_two_runs_of_one_process_are_two_holders(bucket: Bucket) -> None:
    """Two runs in one process on one machine are two holders."""
    holders = set()
    for _ in range(2):
        with held(bucket):
            holders.add(content(bucket)["holder"])
    assert len(holders) == 2


def test_a_lease_that_does_not_change_is_taken_over_after_its_time(bucket: Bucket, clock: Clock) -> None:
    """The waiting run uses its own clock from its first look on, and reports once whom it waits for."""
    put(bucket, 5)
    waited: list[str] = []
    with held(bucket, waited.append):
        assert 30 < clock.passed_s <= 31
        assert content(bucket)["pid"] == os.getpid()
    assert len(waited) == 1
    assert waited[0].startswith(f"{TEXT} is held by process 7 on far; waiting up to 30 s")


@pytest.mark.parametrize("beats_at", [0.5, 20, 29, 30.5])
def test_the_lease_of_a_living_holder_is_not_taken_over(
    bucket: Bucket, clock: Clock, beats_at: float
) -> None:
    """One change, at any time, shows that the holder lives; the error names the holder."""
    put(bucket, 5)
    clock.at(beats_at, lambda: put(bucket, 6))
    with (
        pytest.raises(OutputLocked, match=f"another run is writing to {TEXT}: process 7 on far"),
        held(bucket),
    ):
        pass
    assert beats_at <= clock.passed_s <= beats_at + 1
    assert content(bucket)["beat"] == 6


@pytest.mark.parametrize("ends", ["given back", "removed"])
def test_a_lease_that_is_given_back_meanwhile_is_taken(bucket: Bucket, clock: Clock, ends: str) -> None:
    """The lease is taken as soon as the waiting run sees that it is free."""
    put(bucket, 5)
    clock.at(10, lambda: bucket.put(KEY, FREE) if ends == "given back" else bucket.remove(KEY))
    with held(bucket):
        assert clock.passed_s <= 11
        assert content(bucket)["pid"] == os.getpid()


@pytest.mark.parametrize("rubbish", [b"", b"{", b"12", b"null", b"\xff", b"[]"])
def test_an_unreadable_lease_is_taken_over_after_its_time(
    bucket: Bucket, clock: Clock, rubbish: bytes
) -> None:
    """An unreadable lease is taken over like that of a dead holder."""
    bucket.put(KEY, rubbish)
    waited: list[str] = []
    with held(bucket, waited.append):
        assert clock.passed_s > 30
    assert "process None on None" in waited[0]


def test_one_of_two_simultaneous_runs_gets_the_lease(bucket: Bucket, clock: Clock) -> None:
    """The other run sees that the lease has changed, and watches the new holder."""
    swap = bucket.swap

    def come_second(*arguments: Any) -> Any:  # noqa: ANN401 - as it is
        put(bucket, 1, "heir")
        clock.at(clock.passed_s + 3, lambda: put(bucket, 2, "heir"))
        bucket.swap = swap  # type: ignore[method-assign]
        return swap(*arguments)

    bucket.swap = come_second  # type: ignore[method-assign]
    with pytest.raises(OutputLocked, match="process 7 on far"), held(bucket):
        pass
    assert content(bucket)["holder"] == "heir"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the heartbeat to a hundred times a second."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)


def test_a_holder_changes_the_lease_repeatedly(bucket: Bucket, quick: None) -> None:
    """A daemon thread increments a counter in the lease and changes nothing else."""
    with held(bucket):
        first = content(bucket)
        wait_until(lambda: content(bucket)["beat"] >= first["beat"] + 3, "it is changed again and again")
        assert content(bucket) | {"beat": first["beat"]} == first
        threads = [thread for thread in threading.enumerate() if "lease" in thread.name]
        assert [thread.daemon for thread in threads] == [True]
    assert not any("lease" in thread.name for thread in threading.enumerate())


class Stumbling:
    """A bucket whose heartbeats fail as ``how`` decides, which is called with each write."""

    def __init__(self, bucket: Bucket, how: Callable[[Callable[[], Any]], Any]) -> None:
        self._bucket = bucket
        self._how = how
        self.beats = self.reads = 0

    def swap(self, *arguments: Any) -> Any:  # noqa: ANN401 - as it is
        """Pass the write to ``how``."""
        self.beats += 1
        return self._how(lambda: self._bucket.swap(*arguments))

    def read_if_there(self, key: str) -> Any:  # noqa: ANN401 - as it is
        """Read without failing."""
        self.reads += 1
        return self._bucket.read_if_there(key)


def stumbling(bucket: Bucket, how: Callable[[Callable[[], Any]], Any]) -> Stumbling:
    """Make a bucket's heartbeats fail as ``how`` decides."""
    bucket.__dict__["hasty"] = Stumbling(bucket, how)
    return bucket.__dict__["hasty"]  # type: ignore[no-any-return]


def test_a_beat_is_one_request(bucket: Bucket, quick: None) -> None:
    """Requests cost money, so a heartbeat reads nothing unless its write fails."""
    beats = stumbling(bucket, lambda beat: beat())
    with held(bucket):
        wait_until(lambda: beats.beats > 3, "it beats on")
    assert beats.reads == 0


def test_a_failed_heartbeat_is_repeated(bucket: Bucket, quick: None) -> None:
    """The store may answer the next attempt; the lease is not lost."""
    failures = iter([OSError("away")] * 3)

    def fail(beat: Callable[[], Any]) -> Any:  # noqa: ANN401 - as it is
        if failure := next(failures, None):
            raise failure
        return beat()

    beats = stumbling(bucket, fail)
    with held(bucket):
        wait_until(lambda: beats.beats > 5, "it beats on")
        assert content(bucket)["beat"] > 3
    assert bucket.read(KEY).content == FREE


def test_a_heartbeat_whose_response_is_lost_is_recognised(bucket: Bucket, quick: None) -> None:
    """The write reached the store, so the next one meets an unexpected version and recognises it as its own."""
    lost = iter([True] * 2)

    def lose(beat: Callable[[], Any]) -> Any:  # noqa: ANN401 - as it is
        done = beat()
        if next(lost, None):
            raise OSError("no answer")
        return done

    beats = stumbling(bucket, lose)
    with held(bucket):
        wait_until(lambda: beats.beats > 5, "it beats on")
    assert bucket.read(KEY).content == FREE


def test_the_end_waits_for_a_heartbeat_under_way(bucket: Bucket, quick: None) -> None:
    """Otherwise it would arrive after the lease is given back, and look like another holder's."""
    under_way = threading.Event()

    def tarry(beat: Callable[[], Any]) -> Any:  # noqa: ANN401 - as it is
        under_way.set()
        time.sleep(0.1)
        return beat()

    stumbling(bucket, tarry)
    with held(bucket):
        assert under_way.wait(HANG_S)
    assert not any("lease" in thread.name for thread in threading.enumerate())
    assert bucket.read(KEY).content == FREE


@pytest.mark.parametrize("heir", [b'{"holder": "heir", "beat": 1}', b"rubbish"])
def test_a_holder_learns_that_its_lease_was_taken_over(bucket: Bucket, quick: None, heir: bytes) -> None:
    """The old holder gets the error at its end, and does not change the new holder's lease."""
    taken_over = f"another run has taken over {TEXT}, because this one made no progress"
    with pytest.raises(OutputLocked, match=taken_over), held(bucket):  # noqa: PT012 - its end raises
        bucket.put(KEY, heir)
        wait_until(lambda: not any("lease" in thread.name for thread in threading.enumerate()), "beats end")
    assert bucket.read(KEY).content == heir


def test_a_removed_lease_is_lost(bucket: Bucket, quick: None) -> None:
    """Another run may have started after somebody removed the lease."""
    with pytest.raises(OutputLocked, match="has taken over"), held(bucket):  # noqa: PT012 - its end raises
        bucket.remove(KEY)
        wait_until(lambda: not any("lease" in thread.name for thread in threading.enumerate()), "beats end")


def test_a_takeover_between_two_heartbeats_is_noticed(bucket: Bucket) -> None:
    """The end checks the lease even if no heartbeat has noticed the takeover."""
    with pytest.raises(OutputLocked, match="has taken over"), held(bucket):
        put(bucket, 1, "heir")
    assert content(bucket)["holder"] == "heir"


def test_an_exception_of_the_work_is_not_hidden(bucket: Bucket) -> None:
    """The lease is given back, and the original exception is raised."""
    with pytest.raises(ZeroDivisionError), held(bucket):
        raise ZeroDivisionError
    assert bucket.read(KEY).content == FREE


def test_an_unreachable_store_at_the_end_does_not_fail_the_work(bucket: Bucket) -> None:
    """No error is raised, since the lease expires by itself."""

    def away(*_: object) -> None:
        raise OSError("away")

    with held(bucket):
        bucket.swap = away  # type: ignore[method-assign, assignment]
    assert content(bucket)["pid"] == os.getpid()


def test_a_store_that_refuses_is_an_error_that_names_the_folder(bucket: Bucket) -> None:
    """The error is raised before any work is done."""

    def refuse(*_: object) -> None:
        raise PermissionError("the store answers 403")

    bucket.swap = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(OutputError, match=f"{TEXT} cannot be written: the store answers 403"), held(bucket):
        pass


@pytest.mark.parametrize("document", [None, FREE])
def test_a_lease_that_nobody_holds_is_not_alive(bucket: Bucket, clock: Clock, document: bytes | None) -> None:
    """The first look shows that a free lease is not alive."""
    if document is not None:
        bucket.put(KEY, document)
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 0


def test_a_lease_that_changes_is_alive(bucket: Bucket, clock: Clock) -> None:
    """It is known within a second of the change."""
    put(bucket, 5)
    clock.at(2.5, lambda: put(bucket, 6))
    assert lease.lease_is_alive(bucket, KEY)
    assert clock.passed_s == 3


def test_a_lease_that_does_not_change_for_three_beats_is_dead(bucket: Bucket, clock: Clock) -> None:
    """A holder may miss one heartbeat."""
    put(bucket, 5)
    clock.at(9.5, lambda: put(bucket, 6))
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 9


@pytest.mark.parametrize("ends", ["given back", "removed"])
def test_a_lease_that_ends_while_it_is_watched_is_not_alive(bucket: Bucket, clock: Clock, ends: str) -> None:
    """The lease has changed, but no longer has a holder."""
    put(bucket, 5)
    clock.at(4, lambda: bucket.put(KEY, FREE) if ends == "given back" else bucket.remove(KEY))
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 4
