"""Units are retried when workers fail: over a scripted cluster that ends one task after another."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from distributed.scheduler import KilledWorker
from support.documents import record_of

from lvm_batch.jobs.clusters.backend import WorkerExpectations
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.models.self_check import Refusal
from lvm_batch.jobs.prediction.execution import drive as driving
from lvm_batch.jobs.prediction.execution.worker import Failure, run_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LARGE = 5000
"""Rows of a unit that is large enough for a task of its own."""


@dataclass(frozen=True)
class Unit:
    """The parts of a unit that the driver reads."""

    output: str
    n_rows: int = LARGE


@dataclass(eq=False)
class Task:
    """A submitted task, as a client sees it."""

    key: str
    units: tuple[Unit, ...]
    workers: list[str] | None
    behaviour: str
    status: str = "pending"
    released: bool = False
    cancelled: bool = False
    fetched_within: float | None = None
    _listeners: list[Callable[[Task], None]] = field(default_factory=list)

    def add_done_callback(self, listener: Callable[[Task], None]) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def end(self, status: str) -> None:
        """Notify the listeners, once, that the task has ended."""
        self.status = status
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener(self)

    def result(self, timeout: float) -> list[Any]:
        """Return the outcome of each unit."""
        self.fetched_within = timeout
        if self.behaviour == "unfetched":
            raise TimeoutError
        if self.behaviour == "scheduler gone":
            raise OSError("connection closed")
        worker = (self.workers or ["w1"])[0]
        done = [replace(record_of(output=unit.output), worker=worker) for unit in self.units]
        if self.behaviour == "failing":
            return [Failure(unit.output, "os", "it broke", worker=worker) for unit in self.units]
        if self.behaviour.startswith("refused"):
            n_done = int(self.behaviour.removeprefix("refused after "))
            refusal = Refusal("it is off", "cpu", worker="w1", host="h")
            return [*done[:n_done], *[refusal] * (len(done) - n_done)]
        return done

    def exception(self) -> Exception | None:
        """Return the error of a failed task."""
        assert self.status == "error"
        if self.behaviour == "killed":
            return KilledWorker(self.key, SimpleNamespace(address="w1"), 1)  # type: ignore[no-untyped-call]
        return RuntimeError("odd") if self.behaviour == "odd" else None

    def cancel(self) -> None:
        """Cancel the task; listeners are notified that it has ended."""
        self.cancelled = True
        self.end("cancelled")

    def release(self) -> None:
        """Release the task."""
        self.released = True


_ENDS = {"killed": "error", "odd": "error", "dropped": "cancelled"}


@dataclass
class Cluster:
    """A client, its scheduler and workers: each task behaves as its first unit's script says for that try."""

    scripts: dict[str, list[str]] = field(default_factory=dict)
    workers: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"w1": {"nthreads": 1}, "w2": {"nthreads": 1}}
    )
    tasks: list[Task] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    _tries: Counter[str] = field(default_factory=Counter)
    _queue: SimpleQueue[Task | None] = field(default_factory=SimpleQueue)

    def submit(
        self,
        work: object,
        job: object,
        units: tuple[Unit, ...],
        *,
        key: str,
        pure: bool,
        workers: list[str] | None,
    ) -> Task:
        """Accept a task."""
        assert work is run_units
        assert job is JOB
        assert not pure
        first = units[0].output
        script = self.scripts.get(first, [])
        behaviour = script[self._tries[first]] if self._tries[first] < len(script) else "done"
        self._tries[first] += 1
        task = Task(key, units, workers, behaviour)
        self.tasks.append(task)
        self.at_once.append(sum(not (each.released or each.cancelled) for each in self.tasks))
        if behaviour == "stuck":
            self.lines.setdefault("w1", []).append(key)
        else:
            self._queue.put(task)
        return task

    def work(self) -> None:
        """End tasks one after the other, each a little later."""
        while task := self._queue.get():
            time.sleep(0.002)
            if task.behaviour == "lost result":
                task.end("pending")
                time.sleep(0.002)
            task.end(_ENDS.get(task.behaviour, "finished"))

    def stop(self) -> None:
        """Stop ending tasks."""
        self._queue.put(None)

    def processing(self) -> dict[str, list[str]]:
        """Return the keys of the tasks in each worker's line."""
        return self.lines

    def restart_workers(self, addresses: list[str], **_: object) -> None:
        """Record the workers to restart."""
        self.restarted += addresses

    def submitted(self) -> list[tuple[str, ...]]:
        """The outputs of the units of each task."""
        return [tuple(unit.output for unit in task.units) for task in self.tasks]


JOB = SimpleNamespace(job_id="abc123")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of two workers, one task each."""
    cluster = Cluster()
    monkeypatch.setattr(
        "lvm_batch.jobs.prediction.execution.workers.workers_of", lambda client: client.workers
    )
    monkeypatch.setattr(
        "lvm_batch.jobs.prediction.execution.workers.worker_memory", lambda _: "1 GiB of 2 GiB"
    )
    monkeypatch.setattr(driving, "_PATIENCE_S", 0.05)
    working = threading.Thread(target=cluster.work)
    working.start()
    yield cluster
    cluster.stop()
    working.join()


def drive(cluster: Cluster, units: Sequence[Unit], **options: Any) -> dict[str, Any]:  # noqa: ANN401 - those of the original
    """Drive units; return each outcome, of which there is one a unit."""
    ended: dict[str, Any] = {}
    for unit, outcome in driving.drive(cluster, JOB, units, **{"unit_timeout_s": 60} | options):  # type: ignore[arg-type]
        assert unit.output not in ended
        ended[unit.output] = outcome
    assert all(task.released or task.cancelled for task in cluster.tasks)
    return ended


def units(*names: str, n_rows: int = LARGE) -> list[Unit]:
    """Units with these outputs."""
    return [Unit(name, n_rows) for name in names]


def test_every_unit_ends_as_its_own_record_or_failure(cluster: Cluster) -> None:
    """Many more units than slots change nothing, and an ended unit is never retried."""
    names = [f"u{number:02d}" for number in range(30)]
    cluster.scripts = {"u07": ["failing"]}
    ended = drive(cluster, units(*names))
    assert sorted(ended) == names
    failure = ended.pop("u07")
    assert (failure.output, failure.kind, failure.message) == ("u07", "os", "it broke")
    assert all(outcome.output == name for name, outcome in ended.items())
    assert sorted(cluster.submitted()) == [(name,) for name in names]


def test_nothing_to_do_is_done(cluster: Cluster) -> None:
    """No task is submitted."""
    assert drive(cluster, []) == {}
    assert cluster.tasks == []


@pytest.mark.parametrize("loss", ["killed", "dropped", "odd", "unfetched"])
def test_a_unit_that_was_lost_is_tried_again(cluster: Cluster, loss: str) -> None:
    """It is retried twice, since another unit may have caused its worker's death."""
    cluster.scripts = {"a": [loss, loss]}
    ended = drive(cluster, units("a", "b"))
    assert {name: outcome.output for name, outcome in ended.items()} == {"a": "a", "b": "b"}
    assert sorted(cluster.submitted()) == [("a",), ("a",), ("a",), ("b",)]


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ("killed", "its worker w1 died; it last held 1 GiB of 2 GiB"),
        ("dropped", "the cluster dropped it: cancelled"),
        ("odd", "the cluster dropped it: odd"),
        ("unfetched", "its worker did not return the result within 10 s"),
    ],
)
def test_a_unit_that_is_lost_alone_too_fails_by_name(cluster: Cluster, loss: str, why: str) -> None:
    """The error has its last loss and a hint; the others are done."""
    cluster.scripts = {"a": [loss] * 9, "c": [loss] * 9}
    ended = drive(cluster, units("a", "b", "c"))
    assert ended["b"].output == "b"
    for name in ("a", "c"):
        failure = ended[name]
        assert (failure.output, failure.kind) == (name, "worker_lost")
        assert failure.message == f"{name}: tried 3 times, the last time alone; {why}"
        assert "workers' logs" in failure.hint
    assert len(cluster.submitted()) == 7


def test_memory_of_an_unknown_worker_is_unknown(cluster: Cluster) -> None:
    """The worker joined and died between two polls."""
    cluster.workers = {"w2": {"nthreads": 1}}
    cluster.scripts = {"a": ["killed"] * 9}
    assert drive(cluster, units("a"))["a"].message.endswith(
        "w1 died; it last held an unknown amount of memory"
    )


def test_rounds_are_ever_more_careful(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first there are two tasks to a slot, then one to a slot, then one in all."""
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers._SHORT_S", 60)
    names = [f"u{number:02d}" for number in range(12)]
    cluster.scripts = {name: ["killed", "killed"] for name in names[2:]}
    drive(cluster, units(*names))
    rounds = [cluster.at_once[:12], cluster.at_once[12:22], cluster.at_once[22:]]
    assert [max(at_once) for at_once in rounds] == [4, 2, 1]


def test_a_task_has_another_behind_it_until_the_last(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins while the first is committed. Near the end it would wait there while another worker is idle."""
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers._SHORT_S", 0.0)
    drive(cluster, units(*"abcdefgh"))
    assert max(cluster.at_once) == 4
    assert cluster.at_once[-2:] == [2, 2]


def test_more_tasks_are_submitted_if_workers_may_join(cluster: Cluster) -> None:
    """There are five tasks for each slot that may join."""
    drive(
        cluster,
        units(*(f"u{number:02d}" for number in range(40))),
        expectations=WorkerExpectations(most_workers=3),
    )
    assert max(cluster.at_once) == 15


def test_workers_are_polled_twice_a_second_while_no_unit_ends() -> None:
    """So a run soon notices a lost scheduler, and a terminal shows the time."""
    assert driving._PATIENCE_S == 0.5


def test_small_units_share_a_task_until_one_is_lost(cluster: Cluster) -> None:
    """After a loss each unit of the group is tried alone, since any of them may be the cause."""
    names = [f"u{number:02d}" for number in range(24)]
    cluster.scripts = {"u03": ["killed"]}
    ended = drive(cluster, units(*names, n_rows=10))
    assert sorted(ended) == names
    groups = cluster.submitted()
    assert groups[:8] == [tuple(names[first : first + 3]) for first in range(0, 24, 3)]
    assert sorted(groups[8:]) == [("u03",), ("u04",), ("u05",)]
    assert all(task.key.endswith(f"/{task.units[0].output}") for task in cluster.tasks)


def test_each_try_has_a_key_of_its_own(cluster: Cluster) -> None:
    """A scheduler treats tasks with one key as one, so runs, rounds and tries never share a key."""
    cluster.scripts = {"a": ["killed", "refused after 0"]}
    drive(cluster, units("a", "b"))
    drive(cluster, units("a", "b"))
    keys = [task.key for task in cluster.tasks]
    assert len(set(keys)) == len(keys) == 6
    assert all(re.fullmatch(r"lvm-batch-abc123/[0-9a-f]+/[0-2]\.\d+/[ab]", key) for key in keys)


def test_units_of_a_refused_worker_go_to_others(cluster: Cluster) -> None:
    """They are submitted at once, before waiting units; later tasks name the workers that are allowed."""
    refused: list[Refusal] = []
    cluster.scripts = {"a": ["refused after 0"]}
    names = list("abcdefgh")
    ended = drive(cluster, units(*names), on_refused=refused.append)
    assert sorted(ended) == names
    assert [refusal.worker for refusal in refused] == ["w1"]
    again = [number for number, each in enumerate(cluster.submitted()) if each == ("a",)]
    assert again == [0, 4]
    assert [task.workers for task in cluster.tasks] == [None] * 4 + [["w2"]] * 5


def test_what_a_group_had_done_before_its_worker_was_refused_is_kept(cluster: Cluster) -> None:
    """Only the other units are submitted again, together."""
    names = [f"u{number:02d}" for number in range(24)]
    cluster.scripts = {"u00": ["refused after 1"]}
    assert sorted(drive(cluster, units(*names, n_rows=10))) == names
    assert cluster.submitted().count(("u01", "u02")) == 1
    assert len(cluster.submitted()) == 9


def test_without_a_worker_left_the_run_is_to_be_tried_again(cluster: Cluster) -> None:
    """The error shows why the last worker was refused."""
    cluster.workers.pop("w2")
    cluster.scripts = {"a": ["refused after 0"]}
    with pytest.raises(TryAgain, match="it is off"):
        drive(cluster, units("a"))


def test_a_scheduler_that_goes_away_is_to_be_tried_again(cluster: Cluster) -> None:
    """It shows when a result is fetched; the task is released."""
    cluster.scripts = {"a": ["scheduler gone"]}
    with pytest.raises(TryAgain):
        drive(cluster, units("a"))
    assert cluster.tasks[0].released


def test_a_result_that_was_lost_with_its_worker_is_awaited_again(cluster: Cluster) -> None:
    """The scheduler recomputes it by itself: the unit is neither submitted nor yielded twice."""
    cluster.scripts = {"a": ["lost result"]}
    assert sorted(drive(cluster, units("a", "b"))) == ["a", "b"]
    assert sorted(cluster.submitted()) == [("a",), ("b",)]


def test_waiting_for_a_result_has_a_limit(cluster: Cluster) -> None:
    """A worker has ten seconds to send a result."""
    drive(cluster, units("a"))
    assert cluster.tasks[0].fetched_within == 10


def test_tasks_whose_workers_have_all_gone_are_submitted_again(cluster: Cluster) -> None:
    """The scheduler would wait for these workers for ever; ``on_waiting`` is called meanwhile."""
    waits: list[float] = []

    def arrive() -> None:
        waits.append(time.monotonic())
        if cluster.workers.keys() == {"w1", "w2"} and len(cluster.tasks) == 3:
            cluster.workers = {"w3": {"nthreads": 1}}

    cluster.scripts = {"a": ["refused after 0", "stuck"]}
    ended = drive(cluster, units("a", "b"), on_waiting=arrive)
    assert sorted(ended) == ["a", "b"]
    stuck = next(task for task in cluster.tasks if task.behaviour == "stuck")
    assert (stuck.workers, stuck.cancelled) == (["w2"], True)
    assert cluster.tasks[-1].workers == ["w3"]
    assert waits


@dataclass
class Clock:
    """A clock that advances by itself a little, and further on demand."""

    ahead: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead


def test_a_unit_that_takes_too_long_loses_its_worker(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is restarted each time; at last the unit is named with the limit. Other workers are kept."""
    clock = Clock()
    monkeypatch.setattr(driving, "monotonic", clock)
    cluster.scripts = {"a": ["stuck"] * 9}

    def wait() -> None:
        clock.ahead += 6
        cluster.lines["w1"] = cluster.lines["w1"][-1:]

    ended = drive(cluster, units("a", "b"), unit_timeout_s=10, on_waiting=wait)
    assert ended["b"].output == "b"
    failure = ended["a"]
    assert (failure.kind, failure.output) == ("unit_timeout", "a")
    assert failure.message == "a: tried 3 times, the last time alone; it ran longer than 10 s on w1"
    assert "--unit-timeout" in failure.hint
    assert cluster.restarted == ["w1"] * 3
    assert [task.cancelled for task in cluster.tasks if task.behaviour == "stuck"] == [True] * 3


class Line:
    """One attempt with a task in flight, at a worker whose line the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.is_first = True
        self.seen: list[str] = []
        self.took: list[float] = []
        self.workers = SimpleNamespace(
            holder=self._holder,
            finished_at={},
            restart=lambda address: self.seen.append(f"restarted {address}"),
            note_duration=self.took.append,
            is_stranded=lambda allowed: allowed == {"gone"},
        )
        self.attempt = driving._Round(
            self.workers,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            "key",
            unit_timeout_s=10,
            on_waiting=lambda: None,
        )
        monkeypatch.setattr(driving, "monotonic", lambda: self.now)

    def _holder(self, key: str) -> tuple[str, bool]:
        self.seen.append(f"asked for {key}")
        return "w1", self.is_first

    def fly(self, *names: str, since: float = 1000.0, allowed: frozenset[str] | None = None) -> Task:
        """Put a task with these units in flight."""
        task = Task(names[0], tuple(units(*names)), None, "done")
        task.cancel = lambda: self.seen.append(f"cancelled {task.key}")  # type: ignore[method-assign]
        self.attempt._pending[task.key] = driving._PendingGroup(task.units, task, allowed, since=since)  # type: ignore[arg-type]
        return task

    def overdue(self, now: float) -> list[str]:
        """The units that are given up at a time."""
        self.now = now
        return [lost.unit.output for lost in self.attempt._give_up_overdue()]


def test_a_unit_has_all_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the limit the scheduler is not asked; after it the task is cancelled once, then its worker restarted."""
    line = Line(monkeypatch)
    line.fly("a", "b")
    assert line.overdue(1010.0) == []
    assert line.seen == []
    assert line.overdue(1010.1) == ["a", "b"]
    assert line.overdue(1020.0) == []
    assert line.seen == ["asked for a", "cancelled a", "restarted w1"]


def test_the_time_of_a_unit_begins_when_its_worker_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time in the line does not count; it starts when the task before has ended."""
    line = Line(monkeypatch)
    line.fly("a")
    line.is_first = False
    assert line.overdue(1011.0) == []
    line.is_first = True
    line.workers.finished_at["w1"] = 1005.0
    assert line.overdue(1015.0) == []
    assert line.overdue(1015.1) == ["a"]


def test_a_worker_that_joins_late_has_all_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a unit that waited for any worker begins when one is first seen, also between two looks."""
    clock = SimpleNamespace(now=1000.0)
    known: dict[str, dict[str, Any]] = {}
    client = SimpleNamespace(processing=lambda: {"w1": ["key"]} if known else {})
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers.monotonic", lambda: clock.now)
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers.workers_of", lambda _: known)
    workers = driving.Workers(client)  # type: ignore[arg-type]
    workers.look()
    known["w1"] = {"nthreads": 1, "metrics": {}, "memory_limit": 0}
    clock.now = 1000.5
    assert workers.holder("key") == ("w1", True)
    assert workers.finished_at == {"w1": 1000.5}
    clock.now = 1030.0
    workers.look()
    assert workers.finished_at == {"w1": 1000.5}


def test_all_that_are_overdue_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that has time left, or waits in a line, does not hide those after it."""
    line = Line(monkeypatch)
    for name, since in (("young", 1100.0), ("behind", 1000.0), ("c", 1000.0), ("d", 1000.0)):
        line.fly(name, since=since)
    line.workers.holder = lambda key: ("w1", key != "behind")
    assert line.overdue(1100.0) == ["c", "d"]


def test_all_that_are_stranded_are_submitted_again_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come before units that were never tried; tasks with a worker left stay."""
    line = Line(monkeypatch)
    line.attempt._waiting.append(tuple(units("z")))
    for name, workers in (("a", {"gone"}), ("b", {"here"}), ("c", {"gone"}), ("d", None)):
        line.fly(name, allowed=frozenset(workers) if workers else None)
    line.attempt._resubmit_stranded()
    assert [group[0].output for group in line.attempt._waiting] == ["c", "a", "z"]
    assert list(line.attempt._pending) == ["b", "d"]
    assert line.seen == ["cancelled a", "cancelled c"]


def test_the_time_of_a_task_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the consumer spends on the results does not count."""
    line = Line(monkeypatch)
    task = line.fly("a", "b")
    task.end("finished")
    line.now = 1002.0
    ended = line.attempt._finish(task)  # type: ignore[arg-type]
    next(ended)
    assert line.took == [2.0]
    line.now = 1005.0
    assert len(list(ended)) == 1
    assert line.took == [2.0]


def test_a_dropped_task_makes_the_driver_check_the_scheduler(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler is checked at once, since it may be the scheduler that is gone."""

    def workers_of(client: Cluster) -> dict[str, dict[str, int]]:
        if any(task.status == "cancelled" for task in client.tasks):
            raise TryAgain("the scheduler is gone", "start it again")
        return client.workers

    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers.workers_of", workers_of)
    cluster.scripts = {"a": ["dropped"]}
    with pytest.raises(TryAgain, match="is gone"):
        drive(cluster, units("a"))


def test_a_worker_starts_its_next_task_when_one_has_ended(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next task counts from then, after a record, a failure or a refusal."""
    seen: dict[str, list[float]] = defaultdict(list)

    class Noted(dict[str, float]):
        def __setitem__(self, worker: str, at: float) -> None:
            seen[worker].append(at)
            super().__setitem__(worker, at)

    made = driving.Workers

    def noting(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of the original
        workers = made(*arguments, **options)
        workers.finished_at = Noted()
        return workers

    monkeypatch.setattr(driving, "Workers", noting)
    before = time.monotonic()
    cluster.scripts = {"b": ["failing"], "c": ["refused after 0"]}
    drive(cluster, units("a", "b", "c"))
    assert {worker: len(times) for worker, times in seen.items()} == {"w1": 3, "w2": 1}
    assert all(before <= at <= time.monotonic() for times in seen.values() for at in times)
