"""Tests of runs that pause, die and overlap, on a store that delivers their requests in any order.

Each request waits until the gate lets it through at random, some for very long. Between any two requests the
test checks what a reader sees.
"""

from __future__ import annotations

import hashlib
import random
import threading
from contextlib import contextmanager, suppress
from time import sleep
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from support import buckets
from support.documents import success_of
from support.held_outputs import NAMES, commit, conclude, job
from support.waiting import HANG_S

from lvm_batch.io.errors import JobChanged, OutputError, OutputLocked
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.lock import lock_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lvm_batch.io.storage.lock_guard import LockGuard

pytestmark = pytest.mark.slow

buckets.need_the_extra()

ADDRESS = "s3://bucket/out"
N_RUNS = 4


class Killed(BaseException):
    """Raised where the process dies."""


class Gate:
    """Holds requests back until they are let through."""

    def __init__(self, chance: random.Random, look: Callable[[], None]) -> None:
        self.chance = chance
        self.dead: set[threading.Thread] = set()
        self._look = look
        self._waiting: list[tuple[threading.Event, threading.Event, bool]] = []
        self._threads: list[threading.Thread] = []

    def start(self, act: Callable[[], None]) -> threading.Thread:
        """Start a run or a worker."""

        def acting() -> None:
            with suppress(Killed):
                act()

        thread = threading.Thread(target=acting, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Wait until this thread's request is let through; a reader's request does not wait."""
        thread = threading.current_thread()
        if thread not in self._threads:
            yield
            return
        let, done = threading.Event(), threading.Event()
        self._waiting.append((let, done, self.chance.random() < 0.2))
        assert let.wait(HANG_S)
        try:
            yield
        finally:
            done.set()
        if thread in self.dead:  # its earlier request is delivered all the same
            raise Killed

    def let_through(self) -> None:
        """Let all requests through, one by one, until every thread has ended."""
        while any(thread.is_alive() for thread in list(self._threads)):
            sleep(0.001)
            waiting = list(self._waiting)
            quick = [one for one in waiting if not one[2] or self.chance.random() < 0.03]
            if quick:
                one = self.chance.choice(quick)
                self._waiting.remove(one)
                one[0].set()
                assert one[1].wait(HANG_S)
                self._look()


class Gated:
    """A store in memory whose requests wait at a gate; ``gate`` may be none."""

    def __init__(self) -> None:
        from obstore.store import MemoryStore

        self._store = MemoryStore()
        self.gate: Gate | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a store does
        method = getattr(self._store, name)

        def asked(*arguments: object, **options: object) -> object:
            if self.gate is None:
                return method(*arguments, **options)
            with self.gate.passing():
                return method(*arguments, **options)

        return asked


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    """A store that s3:// addresses open; leases expire quickly."""
    from lvm_batch.io.storage import locations
    from lvm_batch.io.storage.bucket import Bucket

    monkeypatch.setattr("lvm_batch.io.storage.lease.BEAT_S", 0.01)
    monkeypatch.setattr("lvm_batch.io.storage.lease.TTL_S", 0.06)
    gated = Gated()
    buckets.forget()
    with patch.object(locations, "open_bucket", lambda *_: Bucket(gated)):
        yield gated
    gated.gate = None
    buckets.forget()


class Runs:
    """Runs of a job over one output; later runs have more inputs and, if inputs change, different ones."""

    def __init__(self, store: Gated, seed: int, *, changing: bool) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - no secret
        self.changing = changing
        self.seen: dict[str, str] = {}
        self.n_held = 0
        self.gate = store.gate = Gate(self.chance, self.look)

    def sizes(self, number: int) -> dict[str, int]:
        """The input sizes at the start of a run."""
        return {"b": 1 + number} if self.changing else {}

    def run(self) -> None:
        """One run, which may pause or die at any moment while its workers continue."""
        for _ in range(500):  # a scheduler retries
            with suppress(OutputLocked), lock_output(ADDRESS) as hold:
                number, self.n_held = self.n_held, self.n_held + 1
                self.befall(hold)
                with suppress(OutputLocked, JobChanged):
                    self.work(OutputFolder(ADDRESS, hold=hold), NAMES[: 2 + number], number)
                return
            sleep(0.01)

    def befall(self, hold: LockGuard) -> None:
        """Let a holder live, pause or die."""
        fate = self.chance.choice(["lives", "stands still", "dies"])
        if fate == "dies":
            thread = threading.current_thread()
            threading.Timer(self.chance.uniform(0, 0.5), self.gate.dead.add, [thread]).start()
        if fate != "lives":
            hold.ended.set()

    def work(self, folder: OutputFolder, names: tuple[str, ...], number: int) -> None:
        """Do the work of a run, with a worker for each unit."""
        asked = job(names, **self.sizes(number))
        standing = folder.job()
        done = {} if standing is None else answering(asked, folder.recorded())
        again = folder.recorded().keys() - done.keys() if self.changing else ()
        folder.begin(asked, again=again)
        folder.mark_success(None)
        done = answering(asked, folder.records())
        workers = [
            self.gate.start(lambda name=name: self.commit(name, number))
            for name in names
            if f"{name}.parquet" not in done
        ]
        for worker in workers:
            worker.join()
        if len(answering(asked, folder.records())) == len(names):
            conclude(folder, by=str(number), names=names)
        else:
            folder.mark_refused()

    def commit(self, name: str, number: int) -> None:
        """Commit a unit, as a worker does."""
        with suppress(OutputError):
            commit(OutputFolder(ADDRESS), name, size=self.sizes(number).get(name, 1), by=str(number))

    def look(self) -> None:
        """Check that what readers see is consistent."""
        reader = OutputFolder(ADDRESS)
        if (standing := reader.job()) is None:
            return
        counted = answering(standing, reader.records())
        if reader.succeeded and len(counted) == len(standing.units):
            assert reader.success() == success_of(len(counted))
        elif reader.succeeded:
            assert self.changing, "a unit is missing, and nothing was ever taken back"
        contents = {output: hashed(reader, output) for output in counted}
        wrong = {output for output, record in counted.items() if contents[output] != record.sha256}
        assert not wrong
        if not self.changing:  # committed files do not change
            assert self.seen.items() <= contents.items()
            self.seen = contents


def hashed(reader: OutputFolder, output: str) -> str:
    """The digest of a published file."""
    with reader.open(output) as file:
        return hashlib.sha256(file.read()).hexdigest()


def check(store: Gated, seed: int, *, changing: bool) -> None:
    """Let runs overlap; at the end one run does the rest."""
    runs = Runs(store, seed, changing=changing)
    for _ in range(N_RUNS):
        runs.gate.start(runs.run)
    runs.gate.let_through()
    store.gate = None
    last = runs.n_held
    with lock_output(ADDRESS) as hold:
        runs.gate = Gate(runs.chance, lambda: None)
        runs.work(OutputFolder(ADDRESS, hold=hold), NAMES, last)
    reader = OutputFolder(ADDRESS)
    assert (reader.success(), reader.summary()) == (
        success_of(len(NAMES)),
        {"by": str(last), "units": len(NAMES)},
    )
    runs.look()


@pytest.mark.parametrize("changing", [False, True], ids=["a dataset grows", "inputs change"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
def test_any_order_of_requests_is_consistent(store: Gated, seed: int, changing: bool) -> None:  # noqa: FBT001
    """Records match their files, `_SUCCESS` counts only if all units are done, and no committed file is replaced."""
    check(store, seed, changing=changing)


@pytest.mark.soak
@pytest.mark.parametrize("changing", [False, True], ids=["a dataset grows", "inputs change"])
@pytest.mark.parametrize("seed", range(3, 53))
def test_many_orders_of_requests_are_consistent(store: Gated, seed: int, changing: bool) -> None:  # noqa: FBT001
    """The same rules hold over many more orders."""
    check(store, seed, changing=changing)
