"""The plan of a run, as ``lvm-batch plan`` shows it.

The rule: a preview writes nothing. An output or a limit of memory that a run would refuse is reported, not raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lvm_batch.io.dataset.units import row_bytes
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import answering
from lvm_batch.io.output.growth import refused_growth
from lvm_batch.jobs.console.text import as_lines, plural
from lvm_batch.jobs.prediction.planning.memory import MIB, NotEnoughMemory, check_memory, memory_limit
from lvm_batch.jobs.prediction.planning.plan import Plan, job_document, make_plan
from lvm_batch.jobs.prediction.planning.rerun import inputs_left_out, units_to_repeat
from lvm_batch.jobs.prediction.planning.shares import share_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.models.facts import ModelRef
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.jobs.settings.run import RunSettings


def preview_job(settings: RunSettings, *, console: Console | None = None) -> tuple[dict[str, Any], str]:
    """Return the plan of a run as JSON values and as text; raises what a run raises before it locks its output."""
    plan = make_plan(settings, threads=None, console=console, prepare=lambda: _check_cluster(settings))
    values = _values(settings, plan)
    return values, _describe(values)


def _check_cluster(settings: RunSettings) -> None:
    """Check the cluster; this loads Dask, which a refused plan does without."""
    from lvm_batch.jobs.clusters.check import check_cluster

    check_cluster(settings)


def _values(settings: RunSettings, plan: Plan) -> dict[str, Any]:
    job, refusal, done = _continue(settings, plan)
    from lvm_batch.jobs.clusters.kinds import backend_of

    cluster = backend_of(settings).preview()
    return {
        "job_id": job.job_id,
        "fingerprint": job.fingerprint,
        "output": job.output,
        "refusal": refusal,
        "files": len(plan.footers),
        "rows": plan.n_rows,
        "limit": settings.limit,
        "decoded_bytes": _decoded_bytes(plan),
        "layouts": sorted({footer.roles.layout for footer in plan.footers if footer.n_rows}),
        "units": [
            {"output": unit.output, "input": unit.file.path, "rows": unit.n_rows, "done": unit.output in done}
            for unit in plan.units
        ],
        **_share(settings, plan, done),
        "workers": cluster.workers or plan.fleet.n_workers,
        "asked_of_cluster": cluster.request,
        "memory": _memory(settings, plan),
        "models": {"amn": _model(job.models.primary), "gru": _model(job.models.fallback)},
        "bank": job.models.bank.path if job.models.bank else None,
        "router": job.models.router.path if job.models.router else None,
        "criteria_not_evaluated": plan.unavailable,
        "notices": list(plan.notices),
    }


def _share(settings: RunSettings, plan: Plan, done: Collection[str]) -> dict[str, Any]:
    """Return the units of the part that the settings ask for; nothing if they ask for the whole job."""
    if settings.share is None:
        return {}
    job = OutputFolder(plan.job.output).job() or job_document(plan, settings)
    mine, _ = share_of(settings.share, plan, job)
    outputs = [unit.output for unit in mine.units]
    n_done = sum(output in done for output in outputs)
    return {"part": {"part": settings.part, "rows": mine.n_rows, "units_done": n_done, "units": outputs}}


def _decoded_bytes(plan: Plan) -> int:
    """Return the bytes of the vectors of all rows that are read."""
    shape = plan.job.dataset_format.shape
    each = {footer.file.path: row_bytes(footer, shape) for footer in plan.footers}
    return sum(unit.n_rows * each[unit.file.path] for unit in plan.units)


def _continue(settings: RunSettings, plan: Plan) -> tuple[Job, dict[str, str] | None, Collection[str]]:
    """Return the job as a run would continue it, the refusal if it would not, and the outputs that are done."""
    folder = OutputFolder(plan.job.output)
    existing = folder.job()
    if existing is None:
        return plan.job, _refusal_of_strangers(folder), ()
    again = units_to_repeat(folder, plan, settings.reprocess)
    kept = inputs_left_out(folder, plan, settings)
    if refusal := _refusal(
        folder, job_document(plan, settings), kept, again, shares_job=bool(settings.part or settings.finish)
    ):
        return plan.job, refusal, ()
    # A dataset that has grown keeps the fingerprint that its job began with.
    job = replace(plan.job, fingerprint=existing.fingerprint)
    return job, None, answering(existing, folder.records()).keys() - again


def _model(model: ModelRef | None) -> dict[str, str] | None:
    return None if model is None else {"path": model.path, "architecture": model.architecture}


def _refusal(
    folder: OutputFolder,
    document: JobDocument,
    kept: Collection[str],
    again: Collection[str],
    *,
    shares_job: bool,
) -> dict[str, str] | None:
    """Return how a run would refuse an output folder that holds another job; ``None`` if it would not.

    One that ``shares_job`` with other parts of it may add nothing to it.
    """
    if difference := folder.difference(document, kept=kept, again=again):
        return {"message": f"{folder.text} holds another job: {difference.text}", "hint": difference.hint}
    added = refused_growth(folder.required_job(), document) if shares_job else None
    return added and {
        "message": f"{folder.text} holds the job without what is new: {added.text}",
        "hint": added.hint,
    }


def _refusal_of_strangers(folder: OutputFolder) -> dict[str, str] | None:
    """Return how a run would refuse an output folder that holds files, but no job; ``None`` if it would not."""
    stranger = next(iter(folder.published()), None)
    if stranger is None:
        return None
    return {
        "message": f"{folder.text} is not empty and holds no lvm-batch job: it has {stranger}",
        "hint": "choose a new or empty folder",
    }


def _memory(settings: RunSettings, plan: Plan) -> dict[str, Any]:
    """Return what a worker needs at its peak and may use, in bytes, and how a run would refuse it."""
    projection = plan.memory
    values = {
        "peak": projection.peak,
        "limit": memory_limit(settings, projection.n_workers),
        "unit": projection.unit,
        "parts": dict(projection.parts),
        "mapped": projection.mapped,
        "refusal": None,
    }
    try:
        check_memory(projection, settings)
    except NotEnoughMemory as error:
        values["refusal"] = {"message": error.args[0], "hint": error.args[1]}
    return values


def _memory_text(memory: dict[str, Any]) -> str:
    limit = "" if memory["limit"] is None else f" of {memory['limit'] / MIB:,.0f} MiB"
    mapped = f", and {memory['mapped'] / MIB:,.0f} MiB of the bank mapped" if memory["mapped"] else ""
    refused = f"; run will refuse it: {memory['refusal']['hint']}" if memory["refusal"] else ""
    return f"{memory['peak'] / MIB:,.0f} MiB{limit} for each worker at its peak{mapped}{refused}"


def _refusal_text(refusal: dict[str, str] | None) -> str:
    return f"run will refuse it: {refusal['message']}; {refusal['hint']}" if refusal else ""


def _part_text(part: dict[str, Any] | None) -> dict[str, str]:
    if part is None:
        return {}
    units, rows = plural(len(part["units"]), "unit"), plural(part["rows"], "row")
    return {"part": f"{part['part']}: {units}, {part['units_done']} of them done; {rows}"}


def _describe(values: dict[str, Any]) -> str:
    units = values["units"]
    lines = {
        "input": f"{plural(values['rows'], 'row')} in {plural(values['files'], 'file')} of "
        f"{' and '.join(values['layouts'])}, {values['decoded_bytes'] / MIB:,.0f} MiB decoded",
        "units": f"{len(units)}, {sum(unit['done'] for unit in units)} of them done; "
        f"the largest has {plural(max((unit['rows'] for unit in units), default=0), 'row')}",
        **_part_text(values.get("part")),
        "workers": str(values["workers"]),
        "memory": _memory_text(values["memory"]),
        "amn": values["models"]["amn"]["path"],
        "gru": values["models"]["gru"]["path"] if values["models"]["gru"] else "none",
        "bank": values["bank"] or "none",
        **({"router": values["router"]} if values["router"] else {}),
        "output": values["output"],
        "refusal": _refusal_text(values["refusal"]),
        **{f"note {number}": notice for number, notice in enumerate(values["notices"], 1)},
    }
    request = values["asked_of_cluster"]
    return as_lines(lines) + (f"\n\nwould be requested:\n\n{request}" if request else "")
