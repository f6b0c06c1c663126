"""Projects the memory that a worker needs, before anything is read.

The rule: project the worst case, every row escalated, so that a job that starts does not run out of memory at its end.
The parts follow what ``execution.unit`` and ``execution.passes`` hold at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.carried import carried_bytes
from lvm_batch.io.dataset.units import row_bytes
from lvm_batch.io.storage.bucket_objects import UPLOAD_BYTES
from lvm_batch.io.storage.object_file import AHEAD_BYTES, IN_TURNS_BYTES
from lvm_batch.jobs.errors import JobError
from lvm_batch.jobs.prediction.batching import BATCH_ROWS, BLOCK_BATCHES, FALLBACK_ROWS
from lvm_batch.jobs.prediction.planning.fleet import local_fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lvm_batch.io.dataset.units import Footer, Unit
    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.models.facts import FixedMemory
    from lvm_batch.jobs.prediction.planning.fleet import Fleet
    from lvm_batch.jobs.settings.run import RunSettings

MIB = 2**20

# Measured on 2026-11-23 with torch 2.13 for CPUs, pyarrow 26 and distributed 2026.8; test_memory.py
# compares projections with peaks.
_PROCESS = 400 * MIB  # torch, Arrow and Dask, with what they allocate at their first use
_CUDA = 2048 * MIB  # added by CUDA's libraries; a generous guess, not measured
_ACTIVATIONS = {"amn": 10 * MIB, "gru": 40 * MIB}  # for the rows that a Predictor takes at once
_BLOCK_ROWS = BATCH_ROWS * BLOCK_BATCHES
_DECODING = 1.5  # Arrow's table of a batch, and the half batch that is being decoded
_BLOCK_COPIES = 3  # predictions of a block's batches, joined, and being written into pages
_CARRIED_COPIES = 3  # rows held, rows read next, and rows being written into pages
_FLOAT32_BYTES = 4


class NotEnoughMemory(JobError):
    """A worker needs more memory than it may use."""

    kind = "memory"


@dataclass(frozen=True, slots=True)
class Projection:
    """The peak memory of one worker, in bytes, by part; ``unit`` is the output path of the unit that needs most.

    ``mapped`` is not part of the peak: pages of the bank that the system takes back when it needs memory.
    ``n_workers`` is the number of workers that share the machine; if ``None``, the settings decide it.
    """

    parts: Mapping[str, int]
    unit: str
    mapped: int
    n_workers: int | None = None

    @property
    def peak(self) -> int:
        """Bytes that a worker needs at its peak."""
        return sum(self.parts.values())


def project_memory(
    footers: Iterable[Footer],
    units: Iterable[Unit],
    fixed: FixedMemory,
    *,
    shape: WindowShape,
    capped: bool,
    uploads: bool = False,
    fleet: Fleet | None = None,
) -> Projection:
    """Return the peak of a worker that computes the most demanding of ``units``; if ``capped``, it holds a whole unit.

    If it ``uploads`` them to a store, it does so while it computes the next one. A worker of a ``fleet`` with a GPU
    computes several units at once, and stages their rows in pinned memory.
    """
    tasks = fleet.slots if fleet else 1
    by_path = {footer.file.path: footer for footer in footers}
    largest: dict[str, Unit] = {}
    for unit in units:
        known = largest.get(unit.file.path)
        if known is None or unit.n_rows > known.n_rows:
            largest[unit.file.path] = unit
    always = {
        "process": _PROCESS + (_CUDA if fleet and fleet.gpus else 0),
        "models": fixed.models
        + fixed.index
        + fixed.ids
        + tasks * (_ACTIVATIONS["amn"] + fixed.has_fallback * _ACTIVATIONS["gru"]),
    }
    if uploads:
        always["upload"] = tasks * UPLOAD_BYTES
    if fleet and fleet.gpus:
        rows = BATCH_ROWS + FALLBACK_ROWS * fixed.has_fallback
        always["staged for the GPU"] = tasks * rows * (shape.length + 1) * shape.dim * _FLOAT32_BYTES
    demands = (
        (unit, _unit_parts(by_path[path], unit.n_rows, fixed, shape=shape, capped=capped))
        for path, unit in largest.items()
    )
    if tasks > 1:
        demands = ((unit, {name: tasks * size for name, size in parts.items()}) for unit, parts in demands)
    named = ((unit.output, parts) for unit, parts in demands)
    output, parts = max(named, key=lambda demand: sum(demand[1].values()), default=("", {}))
    return Projection(always | parts, output, fixed.bank, fleet.n_workers if fleet else None)


def _unit_parts(
    footer: Footer, n_rows: int, fixed: FixedMemory, *, shape: WindowShape, capped: bool
) -> dict[str, int]:
    batch_rows, block_rows = min(BATCH_ROWS, n_rows), min(_BLOCK_ROWS, n_rows)
    vector = shape.dim * _FLOAT32_BYTES
    context = shape.length * vector
    sequences = footer.roles.layout == "sequences"
    target = vector if sequences or footer.roles.target else 0
    sizes = footer.sizes
    table_row = max(sizes.vector_row, row_bytes(footer, shape) + (0 if sequences else target))
    gathered = (n_rows if capped else min(FALLBACK_ROWS + BATCH_ROWS, block_rows)) * fixed.has_fallback
    held_rows = n_rows if capped else 0
    return {
        "pages": sizes.page,
        "batch": sizes.texts
        + int(
            batch_rows * (context + target + vector * sequences + _DECODING * (table_row + sizes.part_row))
        ),
        "escalated rows": gathered * (context + target),
        "block": block_rows * _BLOCK_COPIES * vector,
        "carried": sizes.dictionary + _CARRIED_COPIES * carried_bytes(sizes.carried_row, block_rows),
        "capped unit": max(0, held_rows - block_rows) * vector,
    } | _fetched(footer)


def _fetched(footer: Footer) -> dict[str, int]:
    """Return what is held of a file of a store: of its vectors, what is fetched ahead."""
    if "://" not in footer.file.path:
        return {}
    n_columns = 1 + bool(footer.roles.target)
    return {"fetched ahead": IN_TURNS_BYTES + n_columns * AHEAD_BYTES}


def memory_limit(settings: RunSettings, n_workers: int | None = None) -> int | None:
    """Return the bytes that each worker may use, as its kind of cluster says; ``None`` if that is unknown.

    ``n_workers`` is the number of workers that share this machine; by default, the settings decide it.
    """
    from lvm_batch.jobs.clusters.kinds import backend_of  # loads Dask

    return backend_of(settings).memory_each(_n_sharing(settings, n_workers))


def check_memory(projection: Projection, settings: RunSettings) -> None:
    """Raise :class:`NotEnoughMemory` if a worker needs more than it may use; the hint names what to change."""
    from lvm_batch.jobs.clusters.kinds import backend_of

    limit = memory_limit(settings, projection.n_workers)
    if limit is None or not projection.unit or projection.peak <= limit:
        return
    is_share = not (settings.memory_limit or settings.runs_elsewhere)
    n_workers = _n_sharing(settings, projection.n_workers) if is_share else None
    largest = max(_HOLDERS, key=lambda part: projection.parts.get(part, 0))
    source = backend_of(settings).memory_setting
    raise NotEnoughMemory(
        f"a worker would need {projection.peak / MIB:,.0f} MiB for the unit {projection.unit}, but may use only "
        f"{limit / MIB:,.0f} MiB; {_HOLDERS[largest].format(projection.parts[largest] / MIB)}",
        _advice(projection, largest, limit, n_workers, source=source),
    )


def _n_sharing(settings: RunSettings, n_workers: int | None) -> int:
    return n_workers or local_fleet(settings.workers, None).n_workers


_HOLDERS = {
    "pages": "pages of its columns take {:,.0f} MiB",
    "batch": "a batch of its rows takes {:,.0f} MiB",
    "escalated rows": "contexts that wait for the fallback take {:,.0f} MiB",
    "block": "predictions that wait to be written take {:,.0f} MiB",
    "carried": "rows of its carried columns take {:,.0f} MiB",
    "fetched ahead": "data fetched ahead from the store takes {:,.0f} MiB",
    "capped unit": "rows that wait for the cap take {:,.0f} MiB",
}


def _advice(projection: Projection, largest: str, limit: int, n_workers: int | None, *, source: str) -> str:
    """Return the ways to make the projection smaller or the limit larger."""
    advice = []
    if n_workers is not None and (fitting := limit * n_workers // projection.peak):
        advice.append(f"use fewer workers: --workers {fitting}")
    if largest == "pages":
        advice.append("write the file with smaller pages: lvm-batch pack")
    if largest in {"capped unit", "escalated rows"}:
        advice.append(
            "make units smaller, because --fallback-policy cap holds a whole unit in memory: a smaller "
            "--unit-size, or smaller row groups with lvm-batch pack"
        )
    advice.append(f"give each worker more memory: {source}")
    return "; or ".join(advice)
