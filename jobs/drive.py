"""Units over a cluster, a bounded number at a time.

The rule: the client keeps twice as many tasks submitted as the cluster has slots, whatever the number of units,
and every unit ends as a record or a failure. Tasks with ``resources=`` would pass by the scheduler's own queue
(distributed#9164), so the window is kept here.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from distributed import as_completed

from lvm_batch.jobs.cluster import n_slots
from lvm_batch.jobs.worker import Failure, run_unit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dask.typing import Key
    from distributed import Client, Future

    from lvm_batch.io.commit import Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.job import Job

_IN_FLIGHT_PER_SLOT = 2


def drive(client: Client, job: Job, units: Iterable[Unit]) -> Iterator[tuple[Unit, Record | Failure]]:
    """Compute ``units`` on the cluster; yield each with its record or failure, as they end."""
    waiting = iter(units)
    in_flight: dict[Key, Unit] = {}

    def submit(unit: Unit) -> Future[Record | Failure]:
        future = client.submit(run_unit, job, unit, key=f"{job.job_id}/{unit.output}", pure=False)
        in_flight[future.key] = unit
        return future

    window = _IN_FLIGHT_PER_SLOT * n_slots(client)
    completed = as_completed([submit(unit) for unit in islice(waiting, window)], loop=client.loop)
    for future in completed:
        unit = in_flight.pop(future.key)
        outcome = _outcome(future, unit)
        future.release()
        for following in islice(waiting, 1):
            completed.add(submit(following))
        yield unit, outcome


def _outcome(future: Future[Record | Failure], unit: Unit) -> Record | Failure:
    """A task returns its failures; what it raises comes from the cluster, which lost it."""
    if future.status == "finished":
        result: Record | Failure = future.result()
        return result
    error = future.exception() if future.status == "error" else None
    return Failure(
        unit.output,
        "worker_lost",
        f"{unit.output}: no worker could finish it: {error or future.status}",
        "look into the workers' logs; with less memory than a unit needs, choose a smaller --unit-size",
    )
