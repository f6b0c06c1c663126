"""The gauges that say how a run ended.

The rule: names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units, ``ratio`` for
fractions, and no ``_total``, which counters have. All gauges carry the label ``output``, by which the files of
several jobs on one machine differ, and no label that is new with each run, which would be a new series each night; the
job's id is a label of ``lvm_batch_run_info`` alone. What is not known is left out.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import locate
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.console.exit_codes import error_as_dict, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lvm_batch.jobs.settings.run import RunSettings

LAST_SUCCESS = "lvm_batch_last_success_timestamp_seconds"

_COUNTS = {
    "files": ("files", "Input files of the job."),
    "units": ("units", "Work units of the job."),
    "units_done": ("units_done", "Work units that are committed, by this run or an earlier one."),
    "units_computed": ("units_computed", "Work units that the last run computed."),
    "rows_out": ("rows", "Rows of the output."),
    "rows_computed": ("rows_computed", "Rows that the last run computed."),
    "rows_with_reasons": ("rows_with_reasons", "Rows for which at least one escalation criterion held."),
    "shadow_rows": ("shadow_rows", "Rows that both models answered for comparison."),
}
_LISTS = {
    "failed_units": ("units_failed", "Work units that failed in the last run."),
    "unreadable_files": ("files_unreadable", "Input files that were left out."),
}
_PARTS = {
    "rows_by_route": ("route", "Rows answered by each model."),
    "rows_by_status": ("status", "Rows by what became of them."),
    "rows_by_reason": ("reason", "Rows for which an escalation criterion held."),
}
_RATIOS = {
    "fallback_rate": ("fallback_ratio", "Fraction of the answered rows that the fallback answered."),
    "bad_row_rate": ("bad_rows_ratio", "Fraction of the rows that are bad_input."),
}
_SELECTED = {
    "rows_out": ("selected_rows", "Rows of the input files of the time that was asked for."),
    "fallback_rate": ("selected_fallback_ratio", "Fraction of those that the fallback answered."),
    "bad_row_rate": ("selected_bad_rows_ratio", "Fraction of those that are bad_input."),
}
_MEANS = {
    "cosine": "Mean cosine of the predictions with their targets.",
    "escalation_gain": "Mean gain in cosine by escalation, over escalated rows.",
    "shadow_gain": "Mean gain in cosine by the fallback, over shadow rows.",
    "confidence": "Mean confidence.",
    "margin": "Mean margin.",
}
_MEANS_BY_PART = {
    "cosine_by_split": ("split", "Mean cosine of the predictions with their targets, by split."),
    "cosine_by_route": ("route", "Mean cosine of the predictions with their targets, by route."),
}


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

    def add_parts(self, name: str, text: str, label: str, values: Mapping[str, float]) -> None:
        """Add a gauge with a value for each part; none if there are no parts."""
        family = GaugeMetricFamily(f"lvm_batch_{name}", text, labels=["output", label])
        for part, value in values.items():
            family.add_metric([self._output, part], value)
        if values:
            self._families.append(family)


def gauges(
    settings: RunSettings,
    summary: Mapping[str, Any] | None,
    error: BaseException | None,
    *,
    wall_s: float,
    now: float,
    before: float,
) -> Gauges:
    """Return the gauges of a run that ended ``now``, in seconds since 1970.

    ``summary`` is there if the run came to its end; ``error`` is why it is no success; ``before`` is when the last
    success before this run ended.
    """
    told = Gauges(_output(settings))
    state = error_as_dict(error)["kind"] if error else "done"
    job_id = str(summary["job_id"]) if summary else ""
    told.add(
        "run_info", "The last run; always 1.", 1, job_id=job_id, state=state, version=version("lvm-batch")
    )
    told.add(
        "run_exit_code", "Exit code of the last run: 0 for success.", exit_code_of(error) if error else 0
    )
    told.add("run_timestamp_seconds", "When the last run ended.", now)
    told.add(
        LAST_SUCCESS.removeprefix("lvm_batch_"),
        "When the last run that succeeded ended; 0 before the first.",
        before if error else now,
    )
    told.add("run_duration_seconds", "Wall-clock time of the last run.", wall_s)
    if summary:
        _add_figures(told, summary)
    return told


def _add_figures(told: Gauges, summary: Mapping[str, Any]) -> None:
    for name, (gauge, text) in (_COUNTS | _RATIOS).items():
        told.add(gauge, text, summary[name])
    if selected := summary["selected"]:
        for name, (gauge, text) in _SELECTED.items():
            told.add(gauge, text, selected[name])
    for name, (gauge, text) in _LISTS.items():
        told.add(gauge, text, len(summary[name]))
    for name, (label, text) in _PARTS.items():
        told.add_parts(name, text, label, summary[name])
    for name, text in _MEANS.items():
        if (mean := summary[name]["mean"]) is not None:
            told.add(f"{name}_mean", text, mean)
    for name, (label, text) in _MEANS_BY_PART.items():
        told.add_parts(f"{name.replace('_by_', '_mean_by_')}", text, label, dict(_known(summary[name])))
    text = "Time spent on each part of the work, summed over workers and runs."
    told.add_parts("part_duration_seconds", text, "part", summary["seconds"])
    if summary["rows_computed"] and summary["wall_s"]:
        told.add(
            "run_rows_per_second",
            "Rows that the last run computed in each second of its time.",
            summary["rows_computed"] / summary["wall_s"],
        )


def _known(means: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    return ((part, figure["mean"]) for part, figure in means.items() if figure["mean"] is not None)


def _output(settings: RunSettings) -> str:
    """Return the output as the summary names it, also if there is no summary; without surrogates."""
    try:
        text = locate(settings.output).text
    except DataError:
        text = redact(settings.output)
    return text.encode(errors="backslashreplace").decode()
