"""Telling OpenLineage what a run reads and writes.

The rule: events change nothing about a run; one that does not arrive is told in one note, and waited for no longer than
some seconds. Where they go, and with which key, OpenLineage's client finds out by itself (``OPENLINEAGE_URL``,
``openlineage.yml``). This module does not know how a run is made.

Events and facets are those of https://openlineage.io/docs/spec/: START once the output is held, then COMPLETE, FAIL, or
ABORT where somebody stopped the run.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from lvm_batch.io.storage.redaction import redacted
from lvm_batch.jobs.console.exit_codes import error_of
from lvm_batch.jobs.errors import Interrupted, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from openlineage.client.event_v2 import OutputDataset, RunEvent
    from openlineage.client.generated.base import RunFacet

    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.planning.plan import Prepared
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings

TIMEOUT_S = 10.0
"""For one event, whatever takes the time."""

PRODUCER = f"lvm-batch/{version('lvm-batch')}"
_FILES = "file"  # OpenLineage's namespace of local files


class Lineage:
    """The events of one run; none where no name is given."""

    def __init__(self, settings: RunSettings, *, tell: Callable[[str], object]) -> None:
        self._settings = settings
        self._tell = tell
        self._run_id = str(uuid4())
        self._began = self._told = False

    def begin(self, _: Prepared) -> None:
        """Tell that the output is held and work begins."""
        self._began = True
        self._emit("START", {})

    def conclude(self, summary: Summary, error: JobError | None) -> None:
        """Tell how a run ended that came to its end."""
        if self._settings.openlineage is None:
            return
        rows = {"rowCount": summary.totals.rows_out, "fileCount": summary.units_done}
        self._emit("FAIL" if error else "COMPLETE", rows, error)

    def fail(self, error: BaseException) -> None:
        """Tell what ended a run; one that never held the output has no lineage."""
        if self._began:
            stopped = isinstance(error, (KeyboardInterrupt, Interrupted, Terminated))
            self._emit("ABORT" if stopped else "FAIL", {}, error)

    def _emit(self, state: str, rows: Mapping[str, int], error: BaseException | None = None) -> None:
        if self._settings.openlineage is None:
            return
        problem = _problem(lambda: _send(self._event(state, rows, error)))
        if problem and not self._told:
            self._told = True
            self._tell(f"the OpenLineage event {state} did not arrive: {redacted(problem)}")

    def _event(self, state: str, rows: Mapping[str, int], error: BaseException | None) -> RunEvent:
        from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState
        from openlineage.client.facet_v2 import error_message_run

        facets: dict[str, RunFacet] = {}
        if error is not None:
            message = error_of(error)["message"]
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message, "Python", producer=PRODUCER
            )
        return RunEvent(
            eventType=RunState[state],
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(self._run_id, facets=facets),
            job=Job("lvm-batch", str(self._settings.openlineage)),
            inputs=[InputDataset(*_named(path)) for path in self._settings.dataset],
            outputs=[self._output(rows)],
            producer=PRODUCER,
        )

    def _output(self, rows: Mapping[str, int]) -> OutputDataset:
        from openlineage.client.event_v2 import OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

        facet = statistics.OutputStatisticsOutputDatasetFacet(**rows, producer=PRODUCER) if rows else None
        return OutputDataset(
            *_named(self._settings.output), outputFacets={"outputStatistics": facet} if facet else {}
        )


@contextmanager
def lineage_of(settings: RunSettings, *, tell: Callable[[str], object]) -> Iterator[Lineage]:
    """Emit what the block says, and ``FAIL`` or ``ABORT`` with whatever it raises."""
    lineage = Lineage(settings, tell=tell)
    try:
        yield lineage
    except BaseException as error:
        lineage.fail(error)
        raise


def _named(path: str) -> tuple[str, str]:
    """Return a dataset's namespace and name, as OpenLineage names files and buckets."""
    scheme, url, rest = redacted(path).partition("://")
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
