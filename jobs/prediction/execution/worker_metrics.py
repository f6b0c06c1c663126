"""Counters of what a worker has done since it started, on the page ``/metrics`` that Dask serves for each worker.

The rule: counting costs microseconds a unit, and nothing if prometheus_client is not installed: then Dask serves no
such page.

Dask's page shows the default registry of the process, so the counters only register there.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.io.output.commit_record import CommitRecord

_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)


def count_unit(record: CommitRecord, duration_s: float) -> None:
    """Count a unit that this process has computed in ``duration_s`` seconds."""
    if counters := _counters():
        counters.add(record, duration_s)


def count_failure(kind: str) -> None:
    """Count a unit that failed with an error of ``kind``."""
    if counters := _counters():
        counters.failed.labels(kind).inc()


class _Counters:
    """The counters of this process; they can be made only once."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram

        name = "lvm_batch_worker_{}".format
        self._computed = Counter(name("units_computed"), "Work units that this worker has computed.")
        self.failed = Counter(
            name("units_failed"), "Work units that failed here, by kind of error.", ["kind"]
        )
        self._routes = Counter(name("rows_by_route"), "Rows answered by each model.", ["route"])
        self._statuses = Counter(name("rows_by_status"), "Rows by status.", ["status"])
        self._parts = Counter(name("part_seconds"), "Time spent on each part of the work.", ["part"])
        self._durations = Histogram(
            name("unit_duration_seconds"), "Time from a unit's first row to its commit.", buckets=_BUCKETS_S
        )

    def add(self, record: CommitRecord, duration_s: float) -> None:
        self._computed.inc()
        self._durations.observe(duration_s)
        for counter, amounts in (
            (self._routes, record.tally.rows_by_route),
            (self._statuses, record.tally.rows_by_status),
            (self._parts, record.seconds or {}),
        ):
            for label, amount in amounts.items():
                counter.labels(label).inc(amount)


@cache
def _counters() -> _Counters | None:
    try:
        return _Counters()
    except ImportError:
        return None


_counters()  # before a worker is forked: importing prometheus_client takes 0.05 s
