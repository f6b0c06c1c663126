"""Threads that compute: a worker goes on computing while it commits."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client
from distributed.utils import key_split
from support.documents import record_of
from support.quick_cluster import quick_cluster
from support.waiting import HANG_S

from lvm_batch.jobs.prediction.execution import drive as driving
from lvm_batch.jobs.prediction.execution import worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.slow


class Units:
    """Units that are committed only when the next one is being computed, and the threads they were computed on."""

    def __init__(self, names: Sequence[str]) -> None:
        self.units = [SimpleNamespace(output=name, n_rows=5000) for name in names]
        self.computing = {name: threading.Event() for name in names}
        self.computing["last"] = threading.Event()
        self.computing["last"].set()
        self.after = dict(zip(names, [*names[1:], "last"], strict=True))
        self.threads: set[int] = set()

    def compute(self, _: object, unit: Any) -> Any:  # noqa: ANN401 - a stand-in
        """Note the thread, and let the unit before be committed."""
        self.threads.add(threading.get_ident())
        self.computing[unit.output].set()
        return record_of(output=unit.output)

    def commit(self, _: object, unit: Any, record: Any) -> Any:  # noqa: ANN401 - a stand-in
        """Wait until the next unit is computed."""
        assert self.computing[self.after[unit.output]].wait(HANG_S), f"{unit.output} held the worker up"
        return record


@pytest.fixture
def client() -> Iterator[Client]:
    """A cluster of one worker, which computes one task at a time."""
    with quick_cluster(1) as cluster, Client(cluster.scheduler_address, set_as_default=False) as client:
        yield client


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Units:
    """Units that the worker computes instead of real ones."""
    made = Units([f"u{number}" for number in range(6)])
    monkeypatch.setattr(worker, "_find_or_compute", made.compute)
    monkeypatch.setattr(worker, "_commit", made.commit)
    return made


def test_a_worker_computes_its_next_task_while_it_commits(client: Client, made: Units) -> None:
    """All of them on one thread, for which memory is kept."""
    made.computing["u5"].set()  # the last task is submitted when the one before it has been committed
    job = SimpleNamespace(job_id="j")
    outcomes = driving.drive(client, job, made.units, unit_timeout_s=HANG_S)  # type: ignore[arg-type]
    assert sorted(unit.output for unit, _ in outcomes) == sorted(made.after)
    assert len(made.threads) == 1


def test_a_group_of_units_is_committed_while_it_is_computed(made: Units) -> None:
    """Each unit of a task is committed while the next one is computed, also in a process that is no worker."""
    outcomes = worker.run_units(None, made.units)  # type: ignore[arg-type]
    assert [outcome.output for outcome in outcomes] == list(made.after)  # type: ignore[union-attr]
    assert len(made.threads) == 1


def test_tasks_have_one_name_for_the_scheduler() -> None:
    """So it knows how long they take, and gives each worker as many: it averages over tasks of one name."""
    key = "lvm-batch-abc123/0f3a/0.7/shard-003-00001.parquet"
    assert key_split(key) == "lvm-batch"
