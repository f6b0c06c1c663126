"""The state of a job, read from its output folder: how far it is, and its figures so far.

The rule: everything is read from the folder alone, so that the command works on any machine that can read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.lock import is_held, running_parts, started_parts
from lvm_batch.jobs.console.text import as_lines
from lvm_batch.jobs.prediction.results.job_parts import parts_to_do, shortened
from lvm_batch.jobs.prediction.results.next_commands import NextCommands
from lvm_batch.jobs.prediction.results.run_warnings import warnings_of
from lvm_batch.jobs.prediction.results.summary_text import limit_text, totals_lines
from lvm_batch.jobs.prediction.results.totals import totals_of
from lvm_batch.jobs.prediction.results.verdict import Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.schema import Part
    from lvm_batch.jobs.prediction.results.summary import RunWarning
    from lvm_batch.jobs.prediction.results.totals import Totals


def status(output: str) -> tuple[dict[str, Any], str]:
    """Return the state of the job in ``output`` as values and as text; raises :class:`InputNotFound` without one."""
    folder = OutputFolder(output)
    job = folder.required_job()
    n_units = len({unit.output for unit in job.units})
    records = answering(job, folder.records())
    totals = totals_of(records.values())
    running = running_parts(output)
    values = {
        "output": output,
        "job_id": job.job_id,
        "state": state_of(
            is_running=bool(running) or is_held(output),
            succeeded=folder.succeeded,
            n_missing=n_units - len(records),
            is_summarised=(folder.summary() or {}).get("units_done") == n_units,
        ),
        "units": n_units,
        "units_done": len(records),
        "rows": job.rows,
        "rows_done": totals.rows_in,
        **_parts(job, records, started_parts(output), running),
        **({} if job.identity.limit is None else {"limit": job.identity.limit}),
        "unreadable_files": job.unreadable,
        **totals.to_json(),
        "warnings": [warning.as_dict for warning in _warnings(folder, job, totals)],
    }
    return values, _as_text(values, totals)


def _parts(
    job: JobDocument, done: Container[str], started: Collection[Part], running: Collection[Part]
) -> dict[str, dict[str, list[str]]]:
    """Return which parts are being computed, and which others have units to do; nothing of a job without parts."""
    if not started:
        return {}
    to_do = [part for part in parts_to_do(job, done, started) if part not in running]
    return {"parts": {"running": list(map(str, running)), "to_do": list(map(str, to_do))}}


def _warnings(folder: OutputFolder, job: JobDocument, totals: Totals) -> tuple[RunWarning, ...]:
    """Return the warnings about the rows so far, by the limits of the last run that came to its end."""
    last = (folder.summary() or {}).get("settings", job.settings)
    return warnings_of(totals, Limits.of(last), NextCommands.of_job(job))


def state_of(*, is_running: bool, succeeded: bool, n_missing: int, is_summarised: bool) -> str:
    """``done`` needs ``_SUCCESS``, as a job whose units are all there may have failed a gate, and all units.

    Such a job is ``not finished`` if no run has come to its end since its last unit was done.
    """
    if is_running:
        return "running"
    if n_missing:
        return "incomplete"
    if succeeded:
        return "done"
    return "not accepted" if is_summarised else "not finished"


def _as_text(values: dict[str, Any], totals: Totals) -> str:
    advice = {
        "incomplete": "; run the command that started it to finish it",
        "not finished": "; run the command that started it to end it, that of parts with --finish instead of --part",
        "not accepted": "; a gate failed, or files were left out: see _lvm_batch/summary.json",
    }
    lines = {
        "job": f"{values['job_id']}, {values['state']}{advice.get(values['state'], '')}",
        "units": f"{values['units_done']:,} of {values['units']:,} done",
        "rows": f"{values['rows_done']:,} of {values['rows']:,} done",
    }
    lines["parts"] = _parts_text(values.get("parts", {}))
    lines["limit"] = limit_text(values.get("limit"))
    warnings = [
        f"{warning['message']}\n{'':10}what to do: {warning['hint']}" for warning in values["warnings"]
    ]
    numbered = {f"warning {number}": text for number, text in enumerate(warnings, 1)}
    return as_lines(lines | totals_lines(totals) | numbered)


def _parts_text(parts: Mapping[str, list[str]]) -> str:
    texts = {"running": "being computed", "to_do": "with units to do"}
    return "; ".join(f"{shortened(names)} {texts[kind]}" for kind, names in parts.items() if names)
