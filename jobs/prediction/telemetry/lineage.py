"""Tells OpenLineage what a run reads and writes.

The rule: events change nothing about a run; events that do not arrive are one note, and are waited for no longer than
some seconds. OpenLineage's client finds out by itself where they go, and with which key (``OPENLINEAGE_URL``,
``openlineage.yml``).

Events and facets are those of https://openlineage.io/docs/spec/: START once the output is held, then COMPLETE, FAIL, or
ABORT where somebody stopped the run.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.console.exit_codes import error_as_dict
from lvm_batch.jobs.errors import Interrupted, Terminated
from lvm_batch.jobs.prediction.observers import RunObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openlineage.client.event_v2 import OutputDataset, RunEvent
    from openlineage.client.generated.base import RunFacet

    from lvm_batch.jobs.prediction.observers import RunBeginning, RunOutcome
    from lvm_batch.jobs.settings.run import RunSettings

TIMEOUT_S = 10.0
"""For one event, whatever takes the time."""

PRODUCER = f"lvm-batch/{version('lvm-batch')}"
_FILES = "file"  # OpenLineage's namespace of local files


class Lineage(RunObserver):
    """Emits the events of one run of the job ``name``; ``tell`` gets one note if they do not arrive."""

    def __init__(self, name: str, *, tell: Callable[[str], object]) -> None:
        self._name = name
        self._tell = tell
        self._run_id = str(uuid4())
        self._settings: RunSettings | None = None
        self._told = False

    def begin(self, run: RunBeginning) -> None:
        """Emit that the output is held and work begins."""
        self._settings = run.settings
        self._emit("START", {})

    def conclude(self, outcome: RunOutcome) -> None:
        """Emit how a run ended that came to its end."""
        rows = {"rowCount": outcome.summary.totals.rows_out, "fileCount": outcome.summary.units_done}
        self._emit("FAIL" if outcome.error else "COMPLETE", rows, outcome.error)

    def fail(self, error: BaseException) -> None:
        """Emit what ended a run; one that never held the output has no lineage."""
        stopped = isinstance(error, (KeyboardInterrupt, Interrupted, Terminated))
        self._emit("ABORT" if stopped else "FAIL", {}, error)

    def _emit(self, state: str, rows: Mapping[str, int], error: BaseException | None = None) -> None:
        if (settings := self._settings) is None:
            return
        problem = _problem(lambda: _send(self._event(settings, state, rows, error)))
        if problem and not self._told:
            self._told = True
            self._tell(f"the OpenLineage event {state} was not delivered: {redact(problem)}")

    def _event(
        self, settings: RunSettings, state: str, rows: Mapping[str, int], error: BaseException | None
    ) -> RunEvent:
        from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState

        return RunEvent(
            eventType=RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(self._run_id, facets=_facets(error)),
            job=Job("lvm-batch", self._name),
            inputs=[InputDataset(*_named(path)) for path in settings.dataset],
            outputs=[_output(settings, rows)],
            producer=PRODUCER,
        )


def _facets(error: BaseException | None) -> dict[str, RunFacet]:
    from openlineage.client.facet_v2 import error_message_run

    if error is None:
        return {}
    message = error_as_dict(error)["message"]
    return {
        "errorMessage": error_message_run.ErrorMessageRunFacet(message, "Python", producer=PRODUCER),
    }


def _output(settings: RunSettings, rows: Mapping[str, int]) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    facet = statistics.OutputStatisticsOutputDatasetFacet(**rows, producer=PRODUCER) if rows else None
    return OutputDataset(*_named(settings.output), outputFacets={"outputStatistics": facet} if facet else {})


def _named(path: str) -> tuple[str, str]:
    """Return a dataset's namespace and name, as OpenLineage names files and buckets."""
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


def _problem(action: Callable[[], None]) -> str | None:
    """Return why ``action`` did not work, in time or at all; it may go on on its thread."""
    ended: SimpleQueue[str | None] = SimpleQueue()

    def act() -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a transport of the user's choice may raise
            ended.put(f"{type(error).__name__}: {error}")
        else:
            ended.put(None)

    Thread(target=act, name="lineage", daemon=True).start()
    try:
        return ended.get(timeout=TIMEOUT_S)
    except Empty:
        return f"no answer within {TIMEOUT_S:g} s"
