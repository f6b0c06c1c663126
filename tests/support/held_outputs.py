"""Output folders for tests: jobs with one small unit for each input, and the steps of a run over them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.output.unit_files import FINGERPRINT_KEY, RECORD_KEY
from support.documents import job_of, record_of, success_of

if TYPE_CHECKING:
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument

NAMES = ("a", "b", "c", "d", "e", "f")
BEFORE, AFTER = ("a", "b"), ("a", "b", "c", "d")
"""The inputs of the run that is stopped, and those of its successor."""


def job(names: tuple[str, ...], **changes: int) -> JobDocument:
    """A job with one unit for each input; ``changes`` gives the sizes of inputs that are not 1."""
    inputs = {name: {"path": f"/in/{name}", "size": changes.get(name, 1)} for name in names}
    units = [
        {"output": f"{name}.parquet", "input": f"/in/{name}", "rows": 3, "first_row": 0} for name in names
    ]
    fingerprint = " ".join(f"{name}{file['size']}" for name, file in inputs.items())
    identity = {"format": 1, "inputs": inputs}
    return job_of({"fingerprint": fingerprint, "identity": identity, "units": units, "rows": 3 * len(names)})


def commit(folder: OutputFolder, name: str, *, size: int = 1, by: str = "") -> CommitRecord:
    """Commit the unit of an input of ``size``; ``by`` distinguishes the rows of several workers."""
    record = record_of(output=f"{name}.parquet", input=f"/in/{name}", input_size=size, first_row=0)
    with folder.stage() as staged:
        metadata = {FINGERPRINT_KEY: "f1", RECORD_KEY: json.dumps(record.to_json()), "by": by}
        pq.write_table(pa.table({"x": [1, 2, 3]}).replace_schema_metadata(metadata), staged)
        return folder.commit(staged, replace(record, seconds={by: 1.0}))


def do_all(folder: OutputFolder, *, by: str = "successor", names: tuple[str, ...] = AFTER) -> None:
    """Run the whole job: begin, commit what is missing, conclude."""
    folder.begin(job(names))
    folder.mark_success(None)
    records = folder.records()
    for name in names:
        if f"{name}.parquet" not in records:
            commit(folder, name, by=by)
    conclude(folder, by=by, names=names)


def conclude(folder: OutputFolder, *, by: str, names: tuple[str, ...]) -> None:
    """Write the files that a run writes at its end."""
    folder.append_events(f"{by}\n")
    folder.write_summary({"by": by, "units": len(names)})
    folder.mark_success(success_of(len(names)))
    folder.write_report(by.encode())
