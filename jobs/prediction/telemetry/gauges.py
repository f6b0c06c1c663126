"""The gauges of how a run ended.

The rule: names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units, ``ratio`` for
fractions, and no ``_total``, which counters have. All gauges carry the label ``output``, by which the files of
several jobs on one machine differ, and no label that is new with each run, which would be a new series each night; the
job's id is a label of ``lvm_batch_run_info`` alone. Unknown values are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.console.exit_codes import error_as_dict, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lvm_batch.jobs.prediction.results.summary import Selection, Summary
    from lvm_batch.jobs.prediction.results.totals import Mean, Totals
    from lvm_batch.jobs.settings.run import RunSettings

LAST_SUCCESS = "lvm_batch_last_success_timestamp_seconds"

Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class _Gauge(Generic[Source]):
    """A gauge of one value: its name, its help text, and how to get the value."""

    name: str
    text: str
    value: Callable[[Source], float | None]


_FIGURES: tuple[_Gauge[Summary], ...] = (
    _Gauge("files", "Input files of the job.", lambda run: run.files),
    _Gauge("units", "Work units of the job.", lambda run: run.units),
    _Gauge(
        "units_done",
        "Work units that are committed, by this run or an earlier one.",
        lambda run: run.units_done,
    ),
    _Gauge("units_computed", "Work units that the last run computed.", lambda run: run.units_computed),
    _Gauge("rows", "Rows of the output.", lambda run: run.totals.rows_out),
    _Gauge("rows_computed", "Rows that the last run computed.", lambda run: run.rows_computed),
    _Gauge(
        "rows_with_reasons",
        "Rows for which at least one escalation criterion held.",
        lambda run: run.totals.rows_with_reasons,
    ),
    _Gauge(
        "shadow_rows", "Rows that both models answered for comparison.", lambda run: run.totals.shadow_rows
    ),
    _Gauge(
        "fallback_ratio",
        "Fraction of the answered rows that the fallback answered.",
        lambda run: run.totals.fallback_rate,
    ),
    _Gauge("bad_rows_ratio", "Fraction of the rows that are bad_input.", lambda run: run.totals.bad_row_rate),
)
_SELECTED: tuple[_Gauge[Selection], ...] = (
    _Gauge(
        "selected_rows", "Rows of the input files of the time that was asked for.", lambda part: part.rows_out
    ),
    _Gauge(
        "selected_fallback_ratio",
        "Fraction of those that the fallback answered.",
        lambda part: part.fallback_rate,
    ),
    _Gauge(
        "selected_bad_rows_ratio", "Fraction of those that are bad_input.", lambda part: part.bad_row_rate
    ),
)
_FAULTS: tuple[_Gauge[Summary], ...] = (
    _Gauge("units_failed", "Work units that failed in the last run.", lambda run: len(run.failed_units)),
    _Gauge("files_unreadable", "Input files that were left out.", lambda run: len(run.unreadable_files)),
)
_MEANS: tuple[_Gauge[Totals], ...] = (
    _Gauge(
        "cosine_mean", "Mean cosine of the predictions with their targets.", lambda totals: totals.cosine.mean
    ),
    _Gauge(
        "escalation_gain_mean",
        "Mean gain in cosine by escalation, over escalated rows.",
        lambda totals: totals.escalation_gain.mean,
    ),
    _Gauge(
        "shadow_gain_mean",
        "Mean gain in cosine by the fallback, over shadow rows.",
        lambda totals: totals.shadow_gain.mean,
    ),
    _Gauge("confidence_mean", "Mean confidence.", lambda totals: totals.confidence.mean),
    _Gauge("margin_mean", "Mean margin.", lambda totals: totals.margin.mean),
)


class Gauges(Collector):
    """The gauges of one run, each labelled with its output."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> list[GaugeMetricFamily]:
        """Return all gauges, as prometheus_client collects them."""
        return self._families

    def add(self, name: str, text: str, value: float, **labels: str) -> None:
        """Add a gauge with one value."""
        family = GaugeMetricFamily(f"lvm_batch_{name}", text, labels=["output", *labels])
        family.add_metric([self._output, *labels.values()], value)
        self._families.append(family)

    def add_all(self, gauges: Iterable[_Gauge[Source]], source: Source) -> None:
        """Add those of ``gauges`` whose value is known."""
        for gauge in gauges:
            if (value := gauge.value(source)) is not None:
                self.add(gauge.name, gauge.text, value)

    def add_parts(self, name: str, text: str, label: str, values: Mapping[str, float]) -> None:
        """Add a gauge with a value for each part; none if there are no parts."""
        family = GaugeMetricFamily(f"lvm_batch_{name}", text, labels=["output", label])
        for part, value in values.items():
            family.add_metric([self._output, part], value)
        if values:
            self._families.append(family)


def make_gauges(
    settings: RunSettings,
    summary: Summary | None,
    error: BaseException | None,
    *,
    wall_s: float,
    now: float,
    before: float,
) -> Gauges:
    """Return the gauges of a run that ended ``now``, in seconds since 1970.

    ``summary`` is that of a run that came to its end, ``error`` why it is not a success, ``before`` when the last
    success before this run was.
    """
    gauges = Gauges(_output(settings))
    state = error_as_dict(error)["kind"] if error else "done"
    job_id = summary.job_id if summary else ""
    gauges.add(
        "run_info", "The last run; always 1.", 1, job_id=job_id, state=state, version=version("lvm-batch")
    )
    gauges.add(
        "run_exit_code", "Exit code of the last run: 0 for success.", exit_code_of(error) if error else 0
    )
    gauges.add("run_timestamp_seconds", "When the last run ended.", now)
    gauges.add(
        LAST_SUCCESS.removeprefix("lvm_batch_"),
        "When the last run that succeeded ended; 0 before the first.",
        before if error else now,
    )
    gauges.add("run_duration_seconds", "Wall-clock time of the last run.", wall_s)
    if summary:
        _add_figures(gauges, summary)
    return gauges


def _add_figures(gauges: Gauges, summary: Summary) -> None:
    gauges.add_all(_FIGURES, summary)
    if summary.selected:
        gauges.add_all(_SELECTED, summary.selected)
    gauges.add_all(_FAULTS, summary)
    warnings = dict.fromkeys((warning.kind for warning in summary.warnings), 1.0)
    gauges.add_parts("run_warning", "Warnings of the last run, by kind; always 1.", "kind", warnings)
    _add_totals(gauges, summary.totals)
    if summary.rows_computed and summary.wall_s:
        gauges.add(
            "run_rows_per_second",
            "Rows that the last run computed in each second of its time.",
            summary.rows_computed / summary.wall_s,
        )


def _add_totals(gauges: Gauges, totals: Totals) -> None:
    gauges.add_parts("rows_by_route", "Rows answered by each model.", "route", totals.rows_by_route)
    gauges.add_parts("rows_by_status", "Rows by status.", "status", totals.rows_by_status)
    gauges.add_parts(
        "rows_by_reason",
        "Rows for which an escalation criterion held.",
        "reason",
        totals.rows_by_reason,
    )
    gauges.add_all(_MEANS, totals)
    text = "Mean cosine of the predictions with their targets, by {}.".format
    gauges.add_parts("cosine_mean_by_split", text("split"), "split", _known(totals.cosine_by_split))
    gauges.add_parts("cosine_mean_by_route", text("route"), "route", _known(totals.cosine_by_route))
    text_of_parts = "Time spent on each part of the work, summed over workers and runs."
    gauges.add_parts("part_duration_seconds", text_of_parts, "part", totals.seconds)


def _known(means: Mapping[str, Mean]) -> dict[str, float]:
    return {part: figure.mean for part, figure in means.items() if figure.mean is not None}


def _output(settings: RunSettings) -> str:
    """Return the output as the summary names it, also if there is no summary; without surrogates."""
    try:
        text = locate(settings.output).text
    except DataError:
        text = redact(settings.output)
    return text.encode(errors="backslashreplace").decode()
