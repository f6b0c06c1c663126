"""Computes one unit, from its rows to a whole file of predictions, and commits it.

The rule: the file of a unit depends on the job and the unit alone. Batches and blocks are cut at fixed rows, so that
any worker, at any time, computes the same. Committing mostly waits for a disk or a store, so it is a step of its own:
another unit may be computed meanwhile.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace
from lvm_batch.io.output.unit_files import RECORD_KEY
from lvm_batch.io.output.writer import PredictionBlock, PredictionWriter
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.batching import BATCH_ROWS, BLOCK_BATCHES, FALLBACK_ROWS
from lvm_batch.jobs.prediction.execution.blocks import make_block
from lvm_batch.jobs.prediction.execution.passes import AnsweredBatch, first_pass, second_pass
from lvm_batch.jobs.prediction.execution.row_sampling import UnitSampler
from lvm_batch.jobs.prediction.execution.stopwatch import Stopwatch
from lvm_batch.jobs.prediction.execution.tally import tally_block, total_of
from lvm_batch.jobs.processes.resources import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from lvm_batch.io.bank.keys import BankKeys
    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.carried import CarriedRows
    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.tally import Tally
    from lvm_batch.jobs.prediction.planning.job import Job
    from lvm_batch.lvm.inference.cascade import Cascade


@dataclass(frozen=True, slots=True)
class BankNames:
    """What a bank knows of its vectors: ``ids`` for a job that writes neighbours, ``keys`` if it compares places."""

    ids: pa.Array | None = None
    keys: BankKeys | None = None


UNNAMED = BankNames()


@dataclass(frozen=True, slots=True)
class ComputedUnit:
    """A unit whose predictions are in a whole file, which is neither published nor recorded yet.

    ``stage`` removes the file ``staged`` when it is left. ``started`` is the reading of ``time.perf_counter`` at which
    computing began.
    """

    folder: OutputFolder
    staged: Path
    record: CommitRecord
    stage: ExitStack
    started: float

    def commit(self) -> CommitRecord:
        """Publish the file and record the unit; return the commit record."""
        with self.stage:
            return self.folder.commit(self.staged, self.record)


def compute_unit(
    job: Job, unit: Unit, cascade: Cascade, folder: OutputFolder, *, names: BankNames = UNNAMED
) -> ComputedUnit:
    """Read and answer ``unit``, and write its predictions to a file that is to be committed.

    Raises ``UnreadableFile`` if the input is damaged, has changed, or lacks rows that its footer promises.
    """
    watch, started = Stopwatch(), perf_counter()
    with ExitStack() as stage:
        staged = stage.enter_context(folder.stage())
        record = _write_unit(job, unit, cascade, staged, watch, names=names)
        record = replace(record, seconds=watch.seconds, worker_peak=peak_bytes())
        return ComputedUnit(folder, staged, record, stage.pop_all(), started)
    raise AssertionError  # a stage passes every error on


def _write_unit(
    job: Job, unit: Unit, cascade: Cascade, staged: Path, watch: Stopwatch, *, names: BankNames
) -> CommitRecord:
    with (
        open_unit(
            unit,
            job.dataset_format,
            batch_rows=BATCH_ROWS,
            pad=job.pad,
            along={job.dataset_format.names.split},
        ) as rows,
        PredictionWriter(
            staged,
            rows.carried.schema,
            dim=job.dataset_format.shape.dim,
            dtype=job.output_dtype,
            reasons=cascade.reasons,
            ids=names.ids,
        ) as writer,
    ):
        sampler = UnitSampler(unit, job.sample_rate, reasons=cascade.reasons)
        batches = sampler.watch_batches(rows.batches)
        blocks = _cut(_make_blocks(job, unit, cascade, batches, watch, bank_keys=names.keys), unit)
        tally = _write_blocks(
            sampler.watch_blocks(blocks),
            unit,
            rows.carried,
            writer,
            watch,
            reasons=cascade.reasons,
            split_column=job.dataset_format.carried_split,
        )
        record = _record(unit, tally)
        with watch.timing("write"):
            writer.close(job.footer | {RECORD_KEY: json.dumps(record.to_json())})
    return replace(record, sample=sampler.sample())


def _write_blocks(
    blocks: Iterator[PredictionBlock],
    unit: Unit,
    carried: CarriedRows,
    writer: PredictionWriter,
    watch: Stopwatch,
    *,
    reasons: tuple[str, ...],
    split_column: str,
) -> Tally:
    tallies = []
    for block in blocks:
        first_row = unit.first_row + writer.n_rows
        tallies.append(tally_block(block, first_row, reasons=reasons, split_column=split_column))
        with watch.timing("write"):
            writer.write(block, carried.take(len(block.status)))
        del block  # else it is held until the next one is ready
    return total_of(tallies)


def _cut(blocks: Iterator[PredictionBlock], unit: Unit) -> Iterator[PredictionBlock]:
    """Yield the blocks of the unit's rows; those of a unit that is cut short end within a batch."""
    n_left = unit.n_rows
    for block in blocks:
        yield block.first(n_left) if unit.is_cut else block
        n_left -= len(block.status)
        del block  # else it is held until the next one is ready
        if unit.is_cut and n_left <= 0:
            return


def _record(unit: Unit, tally: Tally) -> CommitRecord:
    if tally.rows_out != unit.n_rows:
        raise UnreadableFile(
            f"{unit.file.path} gave {plural(tally.rows_out, 'row')} from row {unit.first_row} on, but its footer "
            f"declares {unit.n_rows}",
            "write the file again",
        )
    row_groups = (unit.first_row_group, unit.last_row_group)
    return CommitRecord(unit.output, UnitPlace.of(unit), row_groups, unit.n_rows, tally)


def _make_blocks(
    job: Job,
    unit: Unit,
    cascade: Cascade,
    batches: Iterator[Batch],
    watch: Stopwatch,
    *,
    bank_keys: BankKeys | None,
) -> Iterator[PredictionBlock]:
    """Yield the unit's predictions in blocks of ``BLOCK_BATCHES`` batches."""
    waiting: list[AnsweredBatch] = []
    for answered in _answer_batches(job, unit, cascade, batches, watch, bank_keys=bank_keys):
        waiting.append(answered)
        del answered  # else its rows are held twice
        if len(waiting) == BLOCK_BATCHES:
            block = make_block(waiting)
            waiting.clear()
            yield block
            del block
    if waiting:
        yield make_block(waiting)


def _answer_batches(
    job: Job,
    unit: Unit,
    cascade: Cascade,
    batches: Iterator[Batch],
    watch: Stopwatch,
    *,
    bank_keys: BankKeys | None,
) -> Iterator[AnsweredBatch]:
    """Yield the unit's batches after both passes.

    The fallback runs when it has enough rows for its best speed, or at the end of a block; under a cap, which counts
    the rows of the whole unit, at the end of the unit. Of a unit that is cut short the batches of its rows are read,
    whole, so that they hold what they hold in a run over all rows; under a cap all are.
    """
    if unit.is_cut and job.cap_rate is None:
        batches = islice(batches, -(-unit.n_rows // BATCH_ROWS))
    waiting: list[AnsweredBatch] = []
    n_batches = 0
    while (batch := _read_next(batches, watch)) is not None:
        answered = first_pass(
            batch,
            cascade,
            key=unit.file.name,
            shadow_rate=job.shadow_rate,
            watch=watch,
            n_neighbours=job.n_neighbours,
            bank_keys=bank_keys,
        )
        waiting.append(answered)
        n_batches += 1
        candidates = sum(len(part.candidates or ()) for part in waiting)
        ready = candidates >= FALLBACK_ROWS or n_batches % BLOCK_BATCHES == 0
        if ready and job.cap_rate is None:
            second_pass(waiting, cascade, cap_rate=None, watch=watch)
            yield from _pop_all(waiting)
        del answered
    second_pass(waiting, cascade, cap_rate=job.cap_rate, watch=watch)
    yield from _pop_all(waiting)


def _pop_all(waiting: list[AnsweredBatch]) -> Iterator[AnsweredBatch]:
    while waiting:
        yield waiting.pop(0)


def _read_next(batches: Iterator[Batch], watch: Stopwatch) -> Batch | None:
    with watch.timing("read"):
        return next(batches, None)
