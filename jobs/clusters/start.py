"""A cluster of the run's own: how every kind of them is checked, started and ended.

The rule: whatever ends a run, nothing of its cluster is left. What was asked for is given back when the block is left,
also after an error or a signal; if this process is killed, workers end by themselves once their scheduler is away, and
a scheduler elsewhere once it has had nothing to do for ``IDLE_S``.
"""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import dask
from distributed import Client

from lvm_batch.jobs.clusters.backend import ENGINE, Backend, Preview, WorkerExpectations
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import JobError, Problem, TryAgain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.jobs.clusters.backend import WorkerRequest
    from lvm_batch.jobs.clusters.tables import TableSchema
    from lvm_batch.jobs.settings.run import RunSettings

IDLE_S = 300
"""How long a scheduler elsewhere that has nothing to do stays after the run that started it was killed."""

_TARGET_S = "1s"
"""Dask requests enough workers to do the submitted tasks in this time; the driver submits few at a time."""


class OwnCluster(Backend):
    """A cluster that is started for one run, as the table of its name says."""

    schema: ClassVar[TableSchema]
    """The table that it takes."""

    wait_s = 600.0  # its queue may be long

    scheduler_is_here: ClassVar[bool] = False
    """Whether its scheduler is on this machine, and serves ``--dashboard``."""

    adapt_options: ClassVar[Mapping[str, Any]] = {"target_duration": _TARGET_S}
    """What ``adapt`` of Dask's class takes besides the bounds."""

    if_not_started: ClassVar[str]
    if_no_worker: ClassVar[str]
    """What to do if the cluster does not start, and if no worker comes."""

    def __init__(self, settings: RunSettings) -> None:
        super().__init__(settings)
        self.refused: list[str] = []
        """Why workers could not be requested, if so."""

    @property
    def table(self) -> dict[str, Any]:
        """The table in the job's file."""
        return dict(getattr(self.settings, self.name))

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """The workers that ``--adapt`` allows, at least and at most, or ``None``.

        At least one: a run has work until it ends, so that a worker that goes would only have to be waited for again.
        """
        if self.settings.adapt is None:
            return None
        least, most = self.settings.adapt.split(":")
        return max(1, int(least)), int(most)

    @property
    def first_workers(self) -> int:
        """How many workers to begin with."""
        allowed = self.worker_range
        return allowed[0] if allowed else self.settings.workers or 1

    def check(self) -> Iterator[Problem]:
        """Yield options that are not for this kind, and what is wrong with keys and values of its table."""
        if self.adapts and not (self.settings.adapt or self.settings.workers):
            yield Problem(
                f"--cluster {self.name} has no number of workers",
                "give --workers N or --adapt MIN:MAX",
            )
        if self.settings.dashboard and not self.scheduler_is_here:
            yield Problem(
                f"--dashboard cannot be used with --cluster {self.name}, because its scheduler is not on this machine",
                "leave it out: the scheduler serves a dashboard of its own",
            )
        yield from self.schema.check(self.table)

    def check_request(self) -> Iterator[Problem]:
        """Yield what is missing from the table, or why Dask's class refuses it."""
        if problem := self.missing():
            yield problem
            return
        try:
            self.request()
        except (ValueError, TypeError, OSError, KeyError) as error:
            taken = f"fix it: its keys are the arguments of {self.schema.module}.{self.schema.class_name}"
            yield Problem(f"[{self.name}] cannot be used: {error}", taken)

    @abstractmethod
    def missing(self) -> Problem | None:
        """Return what the table does not say and must, ``None`` if it says everything."""

    @abstractmethod
    def request(self) -> str:
        """Return what would be submitted, as text, without credentials."""

    def preview(self) -> Preview:
        """Return how many workers are requested, and the request."""
        return Preview(f"{self.name}, {self.how_many()}", self.request())

    def how_many(self) -> str:
        """Describe how many workers are requested."""
        return f"{(self.settings.adapt or str(self.settings.workers)).replace(':', ' to ')} of them"

    def memory_each(self, _: int, /) -> int | None:
        """Return the bytes that the table gives to each worker process, else ``--memory-limit``."""
        return self.table_memory() or self.settings.memory_limit

    def table_memory(self) -> int | None:
        """Return the bytes that the table gives to each worker process, ``None`` if it does not say."""
        return None

    def expectations(self) -> WorkerExpectations:
        """Expect workers that are installed by others, and that a queue may keep back."""
        allowed = self.worker_range
        return WorkerExpectations(self.patience_s, allowed[1] if allowed else None, may_differ=True)

    @contextmanager
    def start(self, request: WorkerRequest) -> Iterator[Client]:
        """Start the cluster and wait for its first worker. It requests no more workers than there are units."""
        with dask.config.set(ENGINE), self._made() as cluster, self._connect(cluster) as client:
            allowed = self.worker_range
            if self.settings.workers or allowed:
                cluster.scale(min(self.first_workers, request.n_units))
            await_workers(
                client,
                self.patience_s,
                tell=request.tell,
                where=f"--cluster {self.name}",
                hint=self.if_no_worker,
                refused=self.refused,
            )
            if allowed:
                least, most = (min(bound, request.n_units) for bound in allowed)
                cluster.adapt(minimum=least, maximum=most, **self.adapt_options)
            yield client

    @abstractmethod
    def make(self) -> Any:  # noqa: ANN401 - of Dask's classes
        """Make Dask's cluster, without workers yet; later refusals of workers are added to ``refused``."""

    def give_up(self) -> None:
        """Clean up after a ``make`` that failed."""

    def _made(self) -> Any:  # noqa: ANN401 - of Dask's classes
        """Return the cluster; raises :class:`TryAgain` for whatever Dask's class raises, after ``give_up``.

        It is made on another thread, so that a signal does not cut it short: nobody could close what has half begun.
        """
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(self.make)
            try:
                return making.result()
            except KeyboardInterrupt:
                if making.exception() is None:
                    making.result().close()
                self.give_up()
                raise
            except JobError:
                raise
            except (
                Exception
            ) as error:  # what Dask's classes raise: `Exception` itself for a host that refuses
                self.give_up()
                why = in_a_line(error) or type(error).__name__
                raise TryAgain(f"--cluster {self.name} did not start: {why}", self.if_not_started) from error

    def _connect(self, cluster: Any) -> Client:  # noqa: ANN401 - of Dask's classes
        try:
            return Client(cluster, set_as_default=False)
        except (OSError, ValueError) as error:
            message = f"the scheduler of --cluster {self.name} cannot be reached: {in_a_line(error)}"
            raise TryAgain(message, self.if_not_started) from error


def in_a_line(error: Exception) -> str:
    """Return an error's text in one line; of what dask-jobqueue raises, only what the command wrote."""
    text = str(error)
    written = text.partition("stderr:\n")[2].strip() or text.strip()
    return " ".join(written.split())
