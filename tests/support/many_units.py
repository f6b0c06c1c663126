"""Jobs of very many units that compute nothing, so that only the driver's cost of a unit remains."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace
from lvm_batch.io.output.unit_files import record_name
from lvm_batch.io.storage.json_documents import as_json
from lvm_batch.jobs.prediction.execution.tally import empty_tally
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.prediction.planning.job import Job

_FILES_IN_FOLDER = 1000


def small_job(folder: Path, model: Path, n_files: int) -> RunSettings:
    """Settings of a job over ``n_files`` files of one row, in folders of a thousand hard links to one file."""
    values = pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 3840, pa.float32()), 3840)
    table = pa.table({"id": [1], "lane": ["fact"], "context": values})
    for number in range(n_files):
        name = folder / "in" / f"part-{number // _FILES_IN_FOLDER:04d}" / f"{number:07d}.parquet"
        if number % _FILES_IN_FOLDER == 0:
            name.parent.mkdir(parents=True)
            source = name
            pq.write_table(table, source)
        else:
            os.link(source, name)
    return RunSettings(dataset=(str(folder / "in"),), output=str(folder / "out"), model=str(model))


def pretend(job: Job, unit: Unit) -> CommitRecord:
    """Replace ``run_unit``: return the record of a unit without computing anything."""
    tally = replace(empty_tally(), rows_out=unit.n_rows)
    row_groups = (unit.first_row_group, unit.last_row_group)
    place = UnitPlace(unit.file.path, unit.first_row)
    return CommitRecord(unit.output, place, row_groups, unit.n_rows, tally, sha256="0" * 64)


def pretend_all(job: Job, units: Iterable[Unit]) -> list[CommitRecord]:
    """Replace ``run_units``."""
    return [pretend(job, unit) for unit in units]


def write_records(output: Path, records: Iterable[CommitRecord]) -> None:
    """Write the commit records and (empty) outputs of a finished job, without waiting for the disk."""
    for record in records:
        published = output / record.output
        published.parent.mkdir(parents=True, exist_ok=True)
        published.touch()
        path = output / record_name(record.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_json(record.to_json()))


def peak_bytes() -> int:
    """The peak memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
