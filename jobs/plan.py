"""What a run would do, told without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.commit import OutputFolder
from lvm_batch.io.units import row_bytes
from lvm_batch.jobs.cluster import local_workers
from lvm_batch.jobs.prepare import Prepared, prepare
from lvm_batch.jobs.summary import as_lines

if TYPE_CHECKING:
    from lvm_batch.jobs.settings import RunSettings

_MIB = 2**20


def plan(settings: RunSettings) -> tuple[dict[str, Any], str]:
    """Return the plan of a run as values and as text; raises what ``prepare`` raises."""
    prepared = prepare(settings, threads=None)
    values = _values(settings, prepared)
    return values, _as_text(values)


def _values(settings: RunSettings, prepared: Prepared) -> dict[str, Any]:
    job = prepared.job
    done = OutputFolder(job.output).records()
    return {
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "output": job.output,
        "files": len(prepared.footers),
        "rows": prepared.n_rows,
        "decoded_bytes": sum(
            footer.n_rows * row_bytes(footer, job.dataset_format.shape) for footer in prepared.footers
        ),
        "layouts": sorted({footer.roles.layout for footer in prepared.footers}),
        "units": [
            {"output": unit.output, "input": unit.file.path, "rows": unit.n_rows, "done": unit.output in done}
            for unit in prepared.units
        ],
        "workers": settings.scheduler or local_workers(settings.workers)[0],
        "models": {
            route: None if model is None else {"path": model.path, "architecture": model.architecture}
            for route, model in (("amn", job.models.primary), ("gru", job.models.fallback))
        },
        "bank": job.models.bank.path if job.models.bank else None,
        "criteria_not_evaluated": prepared.unavailable,
        "notices": list(prepared.notices),
    }


def _as_text(values: dict[str, Any]) -> str:
    units = values["units"]
    lines = {
        "input": f"{values['rows']:,} rows in {values['files']} files of {' and '.join(values['layouts'])}, "
        f"{values['decoded_bytes'] / _MIB:,.0f} MiB decoded",
        "units": f"{len(units)}, {sum(unit['done'] for unit in units)} of them done; "
        f"the largest has {max(unit['rows'] for unit in units):,} rows",
        "workers": str(values["workers"]),
        "amn": values["models"]["amn"]["path"],
        "gru": values["models"]["gru"]["path"] if values["models"]["gru"] else "none",
        "bank": values["bank"] or "none",
        "output": values["output"],
        **{f"note {number}": notice for number, notice in enumerate(values["notices"], 1)},
    }
    return as_lines(lines)
