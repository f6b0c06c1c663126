"""The lease of an output in a store: who gets it, after how long, and what a holder hears of it."""

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
    """Time as who waits for a lease sees it: it passes when he sleeps, and things happen at times."""

    def __init__(self) -> None:
        self.now = 100.0
        self._events: list[tuple[float, Callable[[], object]]] = []

    def at(self, seconds: float, event: Callable[[], object]) -> None:
        """Let something happen so many seconds from the beginning."""
        self._events.append((100.0 + seconds, event))

    def sleep(self, seconds: float) -> None:
        """Let time pass, and happen what was to happen meanwhile."""
        self.now += seconds
        for due in [each for each in self._events if each[0] <= self.now]:
            self._events.remove(due)
            due[1]()

    @property
    def passed_s(self) -> float:
        """Seconds since the beginning."""
        return round(self.now - 100.0, 6)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of whoever waits."""
    clock = Clock()
    monkeypatch.setattr(lease, "monotonic", lambda: clock.now)
    monkeypatch.setattr(lease, "sleep", clock.sleep)
    return clock


def put(bucket: Bucket, beat: int, holder: str = "other") -> None:
    """Let another process write to the lease."""
    bucket.put(KEY, json.dumps({"holder": holder, "host": "far", "pid": 7, "beat": beat}).encode())


def content(bucket: Bucket) -> dict[str, Any]:
    """What the lease says."""
    found: dict[str, Any] = json.loads(bucket.read(KEY).content)
    return found


def held(bucket: Bucket, on_wait: Callable[[str], None] = lambda _: None) -> Any:  # noqa: ANN401
    """Hold the lease, as a context manager."""
    return lease.hold_lease(bucket, KEY, text=TEXT, on_wait=on_wait)


def test_a_holder_beats_every_three_seconds_and_has_thirty() -> None:
    """Runs of other versions go by the same times."""
    assert (lease.BEAT_S, lease.TTL_S) == (3, 30)


def test_a_lease_that_nobody_holds_is_taken_at_once(bucket: Bucket, clock: Clock) -> None:
    """It says who holds it, and that nobody does once it is given back; then the next one gets it as soon."""
    waited: list[str] = []
    for _ in range(2):
        with held(bucket, waited.append):
            said = content(bucket)
            assert (said["host"], said["pid"], said["beat"]) == (socket.gethostname(), os.getpid(), 1)
            assert said["holder"]
        assert bucket.read(KEY).content == FREE
    assert (waited, clock.passed_s) == ([], 0)


def test_two_holders_are_never_one(bucket: Bucket) -> None:
    """Two runs of one process on one machine are still two."""
    holders = set()
    for _ in range(2):
        with held(bucket):
            holders.add(content(bucket)["holder"])
    assert len(holders) == 2


def test_a_lease_that_stands_still_is_taken_over_after_its_time(bucket: Bucket, clock: Clock) -> None:
    """By the watcher's own clock, from its first look on; who waits is told for whom, once."""
    put(bucket, 5)
    waited: list[str] = []
    with held(bucket, waited.append):
        assert 30 < clock.passed_s <= 31
        assert content(bucket)["pid"] == os.getpid()
    assert len(waited) == 1
    assert waited[0].startswith(f"{TEXT} is held by process 7 on far; watching for up to 30 s")


@pytest.mark.parametrize("beats_at", [0.5, 20, 29, 30.5])
def test_a_holder_that_is_seen_to_live_is_left_alone(bucket: Bucket, clock: Clock, beats_at: float) -> None:
    """One change is enough, whenever it comes; it is named."""
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
    """As soon as it is seen."""
    put(bucket, 5)
    clock.at(10, lambda: bucket.put(KEY, FREE) if ends == "given back" else bucket.remove(KEY))
    with held(bucket):
        assert clock.passed_s <= 11
        assert content(bucket)["pid"] == os.getpid()


@pytest.mark.parametrize("rubbish", [b"", b"{", b"12", b"null", b"\xff", b"[]"])
def test_what_is_no_lease_is_held_by_nobody_known(bucket: Bucket, clock: Clock, rubbish: bytes) -> None:
    """It is taken over like that of a dead holder."""
    bucket.put(KEY, rubbish)
    waited: list[str] = []
    with held(bucket, waited.append):
        assert clock.passed_s > 30
    assert "process None on None" in waited[0]


def test_of_two_that_take_it_at_once_one_gets_it(bucket: Bucket, clock: Clock) -> None:
    """The other sees that it has changed since, and watches the new holder."""
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
    """A holder that beats a hundred times a second."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)


def test_a_holder_changes_the_lease_again_and_again(bucket: Bucket, quick: None) -> None:
    """By a counter, from a thread that keeps no process alive; nothing else of it changes."""
    with held(bucket):
        first = content(bucket)
        wait_until(lambda: content(bucket)["beat"] >= first["beat"] + 3, "it is changed again and again")
        assert content(bucket) | {"beat": first["beat"]} == first
        threads = [thread for thread in threading.enumerate() if "lease" in thread.name]
        assert [thread.daemon for thread in threads] == [True]
    assert not any("lease" in thread.name for thread in threading.enumerate())


class Stumbling:
    """A bucket for beats that fails as it is told: ``how`` is called for each, with what it would do."""

    def __init__(self, bucket: Bucket, how: Callable[[Callable[[], Any]], Any]) -> None:
        self._bucket = bucket
        self._how = how
        self.beats = self.reads = 0

    def swap(self, *arguments: Any) -> Any:  # noqa: ANN401 - as it is
        """Do it, or not."""
        self.beats += 1
        return self._how(lambda: self._bucket.swap(*arguments))

    def read_if_there(self, key: str) -> Any:  # noqa: ANN401 - as it is
        """Read, which goes well."""
        self.reads += 1
        return self._bucket.read_if_there(key)


def stumbling(bucket: Bucket, how: Callable[[Callable[[], Any]], Any]) -> Stumbling:
    """Let a bucket's beats go wrong."""
    bucket.__dict__["hasty"] = Stumbling(bucket, how)
    return bucket.__dict__["hasty"]  # type: ignore[no-any-return]


def test_a_beat_is_one_request(bucket: Bucket, quick: None) -> None:
    """Nothing is read as long as nothing is in the way: a store charges for each."""
    beats = stumbling(bucket, lambda beat: beat())
    with held(bucket):
        wait_until(lambda: beats.beats > 3, "it beats on")
    assert beats.reads == 0


def test_a_beat_that_fails_is_made_again(bucket: Bucket, quick: None) -> None:
    """The store may be back at the next; nobody has lost anything."""
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


def test_a_beat_whose_answer_is_lost_is_known_again(bucket: Bucket, quick: None) -> None:
    """It has reached the store, so that the next one meets another version than it expects: its own."""
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


def test_a_beat_that_is_under_way_at_the_end_is_waited_for(bucket: Bucket, quick: None) -> None:
    """Else it would meet what was given back, and be taken for another's."""
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
def test_who_was_taken_over_hears_of_it_and_writes_no_more(bucket: Bucket, quick: None, heir: bytes) -> None:
    """At its end, which leaves the heir what it has."""
    taken_over = f"another run has taken over {TEXT}, since this one had stood still"
    with pytest.raises(OutputLocked, match=taken_over), held(bucket):  # noqa: PT012 - its end raises
        bucket.put(KEY, heir)
        wait_until(lambda: not any("lease" in thread.name for thread in threading.enumerate()), "beats end")
    assert bucket.read(KEY).content == heir


def test_a_lease_that_is_gone_is_lost(bucket: Bucket, quick: None) -> None:
    """Somebody has removed it: another may have begun."""
    with pytest.raises(OutputLocked, match="has taken over"), held(bucket):  # noqa: PT012 - its end raises
        bucket.remove(KEY)
        wait_until(lambda: not any("lease" in thread.name for thread in threading.enumerate()), "beats end")


def test_who_was_taken_over_between_two_beats_hears_of_it_too(bucket: Bucket) -> None:
    """Where the end comes before the next beat would."""
    with pytest.raises(OutputLocked, match="has taken over"), held(bucket):
        put(bucket, 1, "heir")
    assert content(bucket)["holder"] == "heir"


def test_a_fault_of_the_work_is_not_hidden(bucket: Bucket) -> None:
    """The lease is given back all the same."""
    with pytest.raises(ZeroDivisionError), held(bucket):
        raise ZeroDivisionError
    assert bucket.read(KEY).content == FREE


def test_a_store_that_is_away_at_the_end_is_no_fault_of_the_work(bucket: Bucket) -> None:
    """The lease ends by itself."""

    def away(*_: object) -> None:
        raise OSError("away")

    with held(bucket):
        bucket.swap = away  # type: ignore[method-assign, assignment]
    assert content(bucket)["pid"] == os.getpid()


def test_a_store_that_refuses_is_an_error_that_names_the_folder(bucket: Bucket) -> None:
    """Before any work is done."""

    def refuse(*_: object) -> None:
        raise PermissionError("the store answers 403")

    bucket.swap = refuse  # type: ignore[method-assign, assignment]
    with pytest.raises(OutputError, match=f"{TEXT} cannot be written: the store answers 403"), held(bucket):
        pass


@pytest.mark.parametrize("said", [None, FREE])
def test_a_lease_that_nobody_holds_is_not_alive(bucket: Bucket, clock: Clock, said: bytes | None) -> None:
    """That is known at the first look."""
    if said is not None:
        bucket.put(KEY, said)
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 0


def test_a_lease_that_changes_is_alive(bucket: Bucket, clock: Clock) -> None:
    """That is known a second after the change."""
    put(bucket, 5)
    clock.at(2.5, lambda: put(bucket, 6))
    assert lease.lease_is_alive(bucket, KEY)
    assert clock.passed_s == 3


def test_a_lease_that_does_not_change_for_three_beats_is_dead(bucket: Bucket, clock: Clock) -> None:
    """A holder may miss one."""
    put(bucket, 5)
    clock.at(9.5, lambda: put(bucket, 6))
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 9


@pytest.mark.parametrize("ends", ["given back", "removed"])
def test_a_lease_that_ends_while_it_is_watched_is_not_alive(bucket: Bucket, clock: Clock, ends: str) -> None:
    """It has changed, but nobody holds it any more."""
    put(bucket, 5)
    clock.at(4, lambda: bucket.put(KEY, FREE) if ends == "given back" else bucket.remove(KEY))
    assert lease.lease_is_alive(bucket, KEY) is False
    assert clock.passed_s == 4
