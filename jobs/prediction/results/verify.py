"""Verifies an output folder: reads every file again, counts every row, and compares with the records.

The rule: everything is read from the folder alone, and nothing in it is changed; files to remove are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.output.commit import SUCCESS, OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.unit_files import DONE
from lvm_batch.io.output.verification import Fault, file_faults
from lvm_batch.io.schema import NEIGHBOUR_COLUMNS, OUTPUT_COLUMNS, PREDICTION
from lvm_batch.jobs.console.text import as_lines, plural
from lvm_batch.jobs.errors import NotVerified

if TYPE_CHECKING:
    from lvm_batch.io.output.job_documents import JobDocument

_SHOWN = 10


def verify(output: str) -> tuple[dict[str, Any], str, NotVerified | None]:
    """Read the job in ``output`` again: values, text, and the error that names what is wrong, if anything is.

    Raises :class:`InputNotFound` if there is no job.
    """
    folder = OutputFolder(output)
    job = folder.required_job()
    records = folder.recorded()
    units = dict.fromkeys(unit.output for unit in job.units)
    answered = answering(job, records)
    why = f"its record in {DONE} belongs to no unit of the job, or to an earlier state of its input"
    strangers = [Fault(name, why) for name in records if name not in answered]
    if folder.success_is_stray:
        strangers.append(
            Fault(SUCCESS, "it was written by a run after another run had taken over the output")
        )
    columns = [
        *(name for name in OUTPUT_COLUMNS if name != PREDICTION or job.identity.writes_prediction),
        *(NEIGHBOUR_COLUMNS if job.identity.writes_neighbours else ()),
    ]
    faults = [*strangers, *file_faults(folder, records, job.fingerprint, columns=columns)]
    missing = [name for name in units if name not in records]
    values = {
        "output": output,
        "job_id": job.job_id,
        "units": len(records),
        "rows": sum(record.tally.rows_out for record in records.values()),
        "bytes": sum(record.bytes for record in records.values()),
        "faults": [{"file": fault.output, "what": fault.what} for fault in faults],
        "units_missing": missing,
        "success_stands": folder.succeeded,
        **({"not_checked": unchecked} if (unchecked := _not_checked(job)) else {}),
    }
    return values, _as_text(values), _error(folder, faults, missing)


def _not_checked(job: JobDocument) -> list[str]:
    """Return what the files do not hold, and nobody can check."""
    without = (
        []
        if job.identity.writes_prediction
        else ["predictions, which the job does not write (--no-prediction)"]
    )
    behind = (
        []
        if job.identity.limit is None
        else [f"rows after the first {job.identity.limit:,}, which the job does not read (--limit)"]
    )
    return [*without, *behind]


def _error(folder: OutputFolder, faults: list[Fault], missing: list[str]) -> NotVerified | None:
    if faults:
        named = "; ".join(f"{fault.output}: {fault.what}" for fault in faults[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        return NotVerified(
            f"{plural(len(faults), 'file', ('is', 'are'))} not as recorded: {named}{more}",
            f"remove them from {folder.text}, then run the same command again: it computes what is missing",
        )
    if missing:
        return NotVerified(
            f"{plural(len(missing), 'unit', ('is', 'are'))} not done, {missing[0]} first",
            "run the command that started the job again: it computes what is missing",
        )
    return None


def _as_text(values: dict[str, Any]) -> str:
    damaged = {fault["file"] for fault in values["faults"]}
    lines = {
        "job": f"{values['job_id']}, {'_SUCCESS written' if values['success_stands'] else 'without _SUCCESS'}",
        "units": f"{values['units']:,} read again, {plural(len(damaged), 'fault')}, "
        f"{len(values['units_missing']):,} not done",
        "rows": f"{values['rows']:,}, {values['bytes'] / 2**20:,.1f} MiB",
        "unchecked": "; ".join(values.get("not_checked", ())),
    }
    return as_lines(lines)
