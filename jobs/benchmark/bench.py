"""Measures how fast this machine is at the job: each part, the whole, and the whole compared with its limit.

The rule: the whole is the command in a process of its own, as a user runs it. The limit is the speed of one undisturbed
worker times the number of workers, with the same settings. The user's own dataset, if given, says only what other
precisions change.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import WindowShape
from lvm_batch.jobs.benchmark.inputs import write_fresh_model, write_windows
from lvm_batch.jobs.benchmark.part_timings import PartTimings, measure_parts, measure_query
from lvm_batch.jobs.benchmark.precision_runs import PrecisionRun, run_precisions
from lvm_batch.jobs.benchmark.precisions import PRECISIONS, as_values, compare_precisions
from lvm_batch.jobs.benchmark.precisions import as_text as precisions_as_text
from lvm_batch.jobs.console.text import as_lines, as_table, plural
from lvm_batch.jobs.errors import JobError
from lvm_batch.jobs.models.files import fallback_path, find_model_files, model_file
from lvm_batch.jobs.models.query_table import QUERY_REMARK, query_rows
from lvm_batch.jobs.prediction.planning.fleet import local_fleet
from lvm_batch.jobs.processes.child_processes import PYTHON
from lvm_batch.jobs.processes.forkserver import in_forked_process, start_forkserver
from lvm_batch.jobs.settings.run import MACHINE_SETTINGS, RunSettings
from lvm_batch.jobs.settings.sources import PREFIX, flag_of
from lvm_batch.lvm.architectures.catalog import ARCHITECTURES
from lvm_batch.lvm.devices.devices import find_device
from lvm_batch.lvm.registry.registry import resolve_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.jobs.console.console import Console

ESCALATED = 0.1
QUERIES = 1000
_FEW_ROWS = 10
_STARTS = 3  # the median counts
_PARTS_ROWS = 15_000
SAMPLED_ROWS = 4000
_BY_LANE_ALONE = {"min_confidence": -1.0, "min_margin": 0.0, "shadow_rate": 0.0}
"""Settings by which only the lane escalates rows: confidence and margin of random vectors mean nothing."""

CARD_P95_MS = {"target": 1.0, "objective": 1.2, "alert": 1.5}
"""The cards' limits for the primary model's p95 of a single query, in milliseconds."""


def bench(settings: RunSettings, *, n_rows: int, console: Console) -> tuple[dict[str, Any], str]:
    """Measure, and return the figures as values and as text."""
    start_forkserver()
    with tempfile.TemporaryDirectory(prefix="lvm-batch-bench-") as folder:
        root = Path(folder)
        console.note(f"writing {plural(n_rows, 'window')} of random vectors to {root}")
        base = _with_models(settings, root)
        shape = find_model_files(base).shape or WindowShape()
        make_job = partial(_job, base, root, shape)
        precisions = _compare_precisions(settings, make_job("precisions", _PARTS_ROWS), console)
        parts = in_forked_process(measure_parts, make_job("parts", _PARTS_ROWS))
        costs = {name: in_forked_process(measure_query, name, QUERIES).as_dict for name in ARCHITECTURES}
        n_workers = local_fleet(settings.workers, None).n_workers
        starts_s = [_timed_run(make_job(f"start-{turn}", _FEW_ROWS)) for turn in range(_STARTS)]
        whole_s = _timed_run(make_job("whole", n_rows))
    values = _values(parts, n_workers, n_rows, starts_s, whole_s) | _queries(costs) | precisions
    return values, f"{_as_text(values)}\n\n{precisions_as_text(precisions)}"


def _queries(costs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a query to each architecture takes; its latency also by itself."""
    return {"queries": costs, "latency_ms": {name: cost["latency_ms"] for name, cost in costs.items()}}


def _compare_precisions(settings: RunSettings, timed: RunSettings, console: Console) -> dict[str, Any]:
    """Return how fast each precision is on the rows of ``timed``, and what it changes on the user's own, if given."""
    names = PRECISIONS[in_forked_process(find_device, settings.device).kind]
    sample, n_sampled = None, None
    if settings.dataset:
        console.note(
            f"comparing {', '.join(names)} on the first {plural(SAMPLED_ROWS, 'row')} of your dataset"
        )
        own = {"output": f"{timed.output}-own", "limit": SAMPLED_ROWS, "shadow_rate": 0.0}
        sample = in_forked_process(run_precisions, settings.model_copy(update=own), names)
        n_sampled = max(len(run.routes) for run in sample.values() if isinstance(run, PrecisionRun))
    figures = compare_precisions(in_forked_process(run_precisions, timed, names), sample)
    return as_values(figures, n_sampled=n_sampled)


def _with_models(settings: RunSettings, root: Path) -> RunSettings:
    """Return the settings with their models, or with fresh models of the same shape where there are none."""
    models_dir = Path(settings.models_dir)
    model = resolve_model(settings.model, role="production_model", models_dir=models_dir)
    fallback = fallback_path(settings)
    shape = next(filter(None, (model_file(path).shape for path in (model, fallback) if path)), WindowShape())
    taken = {name: getattr(settings, name) for name in MACHINE_SETTINGS}
    models = {
        "model": model or str(write_fresh_model(root / "amn.pt", "amn", shape)),
        "fallback": fallback or str(write_fresh_model(root / "gru.pt", "gru", shape)),
    }
    return RunSettings.model_validate(taken | models | _BY_LANE_ALONE)


def _job(base: RunSettings, root: Path, shape: WindowShape, name: str, n_rows: int) -> RunSettings:
    dataset = write_windows(root / name / "in", n_rows, shape=shape, escalated=ESCALATED)
    return base.model_copy(update={"dataset": (str(dataset),), "output": str(root / name / "out")})


def _timed_run(settings: RunSettings) -> float:
    """Run the command over a dataset and return the seconds of the whole process."""
    code = "import sys; from lvm_batch.jobs.cli import command; sys.exit(command())"
    values = settings.model_dump(mode="json", exclude={"dataset"}, exclude_unset=True, exclude_none=True)
    options = [part for name, value in values.items() for part in (flag_of(name), str(value))]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    start = perf_counter()
    finished = subprocess.run(  # noqa: S603 - this very command
        [*PYTHON, "-c", code, "run", *settings.dataset, *options, "--json"],
        capture_output=True,
        check=False,
        env=environ,
        text=True,
    )
    took_s = perf_counter() - start
    if finished.returncode:
        raise JobError(f"the timed run ended with exit code {finished.returncode}: {finished.stdout.strip()}")
    return took_s


def _values(
    parts: PartTimings, n_workers: int, n_rows: int, starts_s: Sequence[float], whole_s: float
) -> dict[str, Any]:
    """Return the figures as values; the rate of a run that took no longer than the longest start is unknown."""
    rows_s = {
        part: (parts.escalated if part == "gru" else parts.rows) / seconds
        for part, seconds in parts.seconds.items()
        if part != "bank" or parts.has_bank
    }
    limit = n_workers * parts.rows / parts.total_s
    start_s = median(starts_s)
    reached = n_rows / (whole_s - start_s) if whole_s > max(starts_s) else None
    return {
        "rows": n_rows,
        "workers": n_workers,
        "rows_per_s_of_a_core": {part: round(rate) for part, rate in rows_s.items()},
        "share_of_time": {part: round(seconds / parts.total_s, 4) for part, seconds in parts.seconds.items()},
        "escalated": parts.escalated / parts.rows,
        "limit_rows_per_s": round(limit),
        "rows_per_s": None if reached is None else round(reached),
        "share_of_limit": None if reached is None else round(reached / limit, 4),
        "start_s": round(start_s, 2),
        "whole_s": round(whole_s, 2),
        "card_p95_ms": CARD_P95_MS,
    }


def _as_text(values: Mapping[str, Any]) -> str:
    lines = {
        part: f"{rate:>9,} rows/s of a core, {values['share_of_time'][part]:.0%} of its time"
        for part, rate in values["rows_per_s_of_a_core"].items()
    }
    lines |= {
        "limit": f"{values['limit_rows_per_s']:>9,} rows/s: {plural(values['workers'], 'worker')}, "
        "each as fast as one alone",
        "reached": _reached(values),
        "whole": f"{values['whole_s']:>9.1f} s for {plural(values['rows'], 'row')}, {values['start_s']:.1f} s of it "
        "to start",
    }
    card = ", ".join(f"{name} {value:g}" for name, value in values["card_p95_ms"].items())
    queries = [(name, name, cost) for name, cost in values["queries"].items()]
    return (
        f"{as_lines(lines)}\n\none query, one thread, over {QUERIES:,} queries (the cards' p95 of amn in ms: {card})\n"
        f"{as_table(query_rows(queries))}\n{QUERY_REMARK}"
    )


def _reached(values: Mapping[str, Any]) -> str:
    if values["rows_per_s"] is None:
        return f"{'-':>9} the run took no longer than a run of {_FEW_ROWS} rows: give more --rows"
    return (
        f"{values['rows_per_s']:>9,} rows/s once started, {values['share_of_limit']:.0%} of the limit, "
        f"{values['escalated']:.0%} of the rows escalated"
    )
