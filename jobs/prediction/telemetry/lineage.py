"""Tells OpenLineage what a run reads and writes.

The rule: events change nothing about a run; events that do not arrive are one note, and are waited for no longer than
some seconds. OpenLineage's client finds out by itself where they go, and with which key (``OPENLINEAGE_URL``,
``openlineage.yml``).

Events and facets are those of https://openlineage.io/docs/spec/: START once the output is held, then COMPLETE, FAIL, or
ABORT where somebody stopped the run.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.errors import Interrupted, Terminated
from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.telemetry import lineage_facets as facets
from lvm_batch.jobs.prediction.telemetry.delivery import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

    from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome
    from lvm_batch.jobs.prediction.results.summary import Summary

TIMEOUT_S = 10.0
"""For one event, whatever takes the time."""

_FILES = "file"  # OpenLineage's namespace of local files


class Lineage(RunObserver):
    """Emits the events of one run of the job ``name``; ``tell`` gets one note if they do not arrive.

    ``parent`` is the run that started this one, as ``NAMESPACE/JOB/RUN-ID``.
    """

    def __init__(self, name: str, *, tell: Callable[[str], object], parent: str | None = None) -> None:
        self._name = name
        self._tell = tell
        self._run_id = str(uuid4())
        self._run: RunBeginning | None = None
        self._told = False
        self._parent = parent or None
        if self._parent and not facets.is_parent(self._parent):
            tell(
                f"{facets.PARENT} is left out: {redact(self._parent)!r} is not NAMESPACE/JOB/RUN-ID with a UUID"
            )
            self._parent = None

    def begin(self, run: RunBeginning) -> None:
        """Emit that the output is held and work begins."""
        self._run = run
        self._emit("START")

    def conclude(self, outcome: RunOutcome) -> None:
        """Emit how a run ended that came to its end."""
        self._emit("FAIL" if outcome.error else "COMPLETE", outcome.error, outcome.summary)

    def fail(self, error: BaseException) -> None:
        """Emit what ended a run; one that never held the output has no lineage."""
        stopped = isinstance(error, (KeyboardInterrupt, Interrupted, Terminated))
        self._emit("ABORT" if stopped else "FAIL", error)

    def _emit(self, state: str, error: BaseException | None = None, summary: Summary | None = None) -> None:
        if (run := self._run) is None:
            return
        problem = problem_of(lambda: _send(self._event(run, state, error, summary)), timeout_s=TIMEOUT_S)
        if problem and not self._told:
            self._told = True
            self._tell(f"the OpenLineage event {state} was not delivered: {redact(problem)}")

    def _event(
        self, run: RunBeginning, state: str, error: BaseException | None, summary: Summary | None
    ) -> RunEvent:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

        return RunEvent(
            eventType=RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(self._run_id, facets=facets.run_facets(self._parent, error)),
            job=Job("lvm-batch", self._name),
            inputs=_inputs(run, summary),
            outputs=[_output(run, summary)],
            producer=facets.PRODUCER,
        )


def _inputs(run: RunBeginning, summary: Summary | None) -> list[InputDataset]:
    """Return the datasets, with their columns; quality is known of all of them together."""
    from openlineage.client.event_v2 import InputDataset

    quality = facets.quality_facets(run.plan, run.settings, summary) if summary else {}
    return [
        InputDataset(*dataset_name(path), facets=facets.input_schema(run.plan), inputFacets=quality)
        for path in run.settings.dataset
    ]


def _output(run: RunBeginning, summary: Summary | None) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset

    is_written = summary is not None and summary.units_done == summary.units
    return OutputDataset(
        *dataset_name(run.settings.output),
        facets=facets.output_schema(run.plan, run.settings) if is_written else {},
        outputFacets=facets.statistics(summary) if summary else {},
    )


def dataset_name(path: str) -> tuple[str, str]:
    """Return a dataset's namespace and name, as OpenLineage names files and buckets.

    A Delta table is named by its place, as its other readers and writers name it, an Iceberg table by its catalog.
    """
    from lvm_batch.io.tables.names import DELTA, dataset_table

    table = dataset_table(path)
    if table is not None and table.kind != DELTA:
        return f"iceberg://{table.catalog}", ".".join(table.identifier)
    path = table.place if table else path
    scheme, url, rest = redact(path).partition("://")
    if not url or scheme == _FILES:
        return _FILES, str(Path(rest if url else path).absolute())
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key


def _send(event: RunEvent) -> None:
    from openlineage.client import OpenLineageClient

    client = OpenLineageClient()
    client.emit(event)
    client.close()
