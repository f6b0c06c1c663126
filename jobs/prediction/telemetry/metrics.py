"""A file for node_exporter with the outcome of the last run.

The rule: a run that ends writes the file, however it ends, and a file that cannot be written changes nothing about the
run. The time of the last success stays until the next success.

The file is Prometheus' text format, for node_exporter's textfile collector
(https://github.com/prometheus/node_exporter#textfile-collector), which reads ``*.prom`` in one folder.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.prediction.observers import RunObserver

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.jobs.prediction.observers import RunOutcome
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


class Metrics(RunObserver):
    """Writes ``--metrics-file``; ``tell`` gets a note if the file is not written, or if nobody reads it.

    ``started`` is the reading of ``time.monotonic`` from which the run's time counts.
    """

    def __init__(self, settings: RunSettings, *, started: float, tell: Callable[[str], object]) -> None:
        self._settings = settings
        self._started = started
        self._tell = tell

    def conclude(self, outcome: RunOutcome) -> None:
        """Write the figures of the summary."""
        self._write(outcome.summary, outcome.error)

    def fail(self, error: BaseException) -> None:
        """Write the error; there is no summary."""
        self._write(None, error)

    def _write(self, summary: Summary | None, error: BaseException | None) -> None:
        if not find_spec("prometheus_client"):
            return  # the run has been refused for it
        wall_s = time.monotonic() - self._started
        if note := _written(self._settings, summary, error, wall_s=wall_s):
            self._tell(note)


def _written(
    settings: RunSettings, summary: Summary | None, error: BaseException | None, *, wall_s: float
) -> str | None:
    """Write the file; return the note about it, if any."""
    # Only here, as both take their time to import.
    from prometheus_client import write_to_textfile

    from lvm_batch.jobs.prediction.planning.places import metrics_file_is_misplaced
    from lvm_batch.jobs.prediction.telemetry.gauges import make_gauges

    if metrics_file_is_misplaced(settings):
        return None  # the run has been refused for it
    path = Path(str(settings.metrics_file))
    try:
        gauges = make_gauges(
            settings, summary, error, wall_s=wall_s, now=time.time(), before=last_success(path)
        )
        write_to_textfile(str(path), gauges)
    except (OSError, ValueError) as problem:  # the latter of a name with a null character
        return f"the metrics file {path} was not written: {redact(str(problem))}"
    if path.suffix != ".prom":
        return f"node_exporter reads only files whose names end in .prom, unlike {path}"
    return None


def last_success(path: Path) -> float:
    """Return when the last success was, in seconds since 1970, as the file at ``path`` says; 0 if it does not."""
    from prometheus_client.parser import text_string_to_metric_families

    from lvm_batch.jobs.prediction.telemetry.gauges import LAST_SUCCESS

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError):
        return 0.0
    return max(
        (sample.value for family in families for sample in family.samples if sample.name == LAST_SUCCESS),
        default=0.0,
    )
