"""One work unit from its rows to its committed predictions.

The rule: what a unit's file holds follows from the job and the unit alone. Batches and blocks are cut at fixed
rows, so that any worker, at any time, computes the same. This module does not know Dask, or how a page is decoded
or a gate computed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lvm_batch.io.commit import RECORD_KEY
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.predictions import PredictionBlock, PredictionWriter
from lvm_batch.io.reading import open_unit
from lvm_batch.jobs.job import BATCH_ROWS
from lvm_batch.jobs.passes import FirstPass, first_pass, join, second_pass
from lvm_batch.jobs.stopwatch import Stopwatch
from lvm_batch.jobs.tally import Tally, add_tallies, tally_block
from lvm_batch.lvm.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.batches import Batch
    from lvm_batch.io.commit import OutputFolder, Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.job import Job
    from lvm_batch.lvm.cascade import Cascade

BLOCK_BATCHES = 4
"""Batches whose escalated rows go through the fallback together, and which make one row group of the output."""


def compute_unit(job: Job, unit: Unit, cascade: Cascade, folder: OutputFolder) -> Record:
    """Read, answer, write and commit ``unit``; return its commit record.

    Raises ``UnreadableFile`` if the input breaks, has changed, or has not the rows that its footer promised.
    """
    watch = Stopwatch()
    with folder.stage() as staged:
        with (
            open_unit(unit, job.dataset_format, batch_rows=BATCH_ROWS, pad=job.pad) as rows,
            PredictionWriter(
                staged,
                rows.carried_schema,
                dim=job.dataset_format.shape.dim,
                dtype=job.output_dtype,
                reasons=REASONS,
            ) as writer,
        ):
            tally = _write_blocks(_blocks(job, unit, cascade, rows.batches, watch), unit, writer, watch)
            record = _record(unit, tally)
            with watch.timing("write"):
                writer.close(job.footer | {RECORD_KEY: json.dumps(record)})
        record |= {"seconds": watch.seconds, "bytes": staged.stat().st_size}
        folder.commit(staged, record)
    return record


def _write_blocks(
    blocks: Iterator[PredictionBlock], unit: Unit, writer: PredictionWriter, watch: Stopwatch
) -> Tally:
    tallies = []
    for block in blocks:
        tallies.append(tally_block(block, unit.first_row + writer.n_rows))
        with watch.timing("write"):
            writer.write(block)
    return add_tallies(tallies)


def _record(unit: Unit, tally: dict[str, Any]) -> Record:
    if tally["rows_out"] != unit.n_rows:
        raise UnreadableFile(
            f"{unit.file.path} gave {tally['rows_out']} rows from row {unit.first_row} on, but its footer promises "
            f"{unit.n_rows}",
            "write the file again",
        )
    place = {"first_row": unit.first_row, "row_groups": [unit.first_row_group, unit.last_row_group]}
    return {"output": unit.output, "input": unit.file.path, **place, "rows_in": unit.n_rows, **tally}


def _blocks(
    job: Job, unit: Unit, cascade: Cascade, batches: Iterator[Batch], watch: Stopwatch
) -> Iterator[PredictionBlock]:
    """Yield the unit's predictions in blocks; under a cap the unit is one block, since the cap is the unit's."""
    waiting: list[FirstPass] = []
    while True:
        with watch.timing("read"):
            batch = next(batches, None)
        if batch is not None:
            waiting.append(
                first_pass(batch, cascade, key=unit.file.name, shadow_rate=job.shadow_rate, watch=watch)
            )
        if waiting and (batch is None or (len(waiting) == BLOCK_BATCHES and job.cap_rate is None)):
            yield second_pass(join(waiting), cascade, cap_rate=job.cap_rate, watch=watch)
            waiting = []
        if batch is None:
            return
