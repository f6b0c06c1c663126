"""Output folders for tests: jobs of one small unit for each input, and what a run does to one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.output.unit_files import FINGERPRINT_KEY, RECORD_KEY

if TYPE_CHECKING:
    from lvm_batch.io.output.commit import OutputFolder

NAMES = ("a", "b", "c", "d", "e", "f")
BEFORE, AFTER = ("a", "b"), ("a", "b", "c", "d")
"""The inputs that the run that is stopped finds, and those that its successor finds."""


def job(names: tuple[str, ...], **changes: int) -> dict[str, Any]:
    """A job of one unit for each input; ``changes`` gives the sizes of inputs that are not 1."""
    inputs = {name: {"path": f"/in/{name}", "size": changes.get(name, 1)} for name in names}
    units = [
        {"output": f"{name}.parquet", "input": f"/in/{name}", "rows": 3, "first_row": 0} for name in names
    ]
    fingerprint = " ".join(f"{name}{file['size']}" for name, file in inputs.items())
    rest = {"version": "0.1.0", "fingerprint": fingerprint, "job_id": "j", "unreadable": []}
    return rest | {"identity": {"format": 1, "inputs": inputs}, "units": units, "rows": 3 * len(names)}


def commit(folder: OutputFolder, name: str, *, size: int = 1, by: str = "") -> dict[str, Any]:
    """Commit the unit of an input of ``size``; ``by`` tells apart what several have computed."""
    record = {"output": f"{name}.parquet", "input": f"/in/{name}", "input_size": size, "first_row": 0}
    record |= {"rows_in": 3, "rows_out": 3}
    with folder.stage() as staged:
        told = {FINGERPRINT_KEY: "f1", RECORD_KEY: json.dumps(record), "by": by}
        pq.write_table(pa.table({"x": [1, 2, 3]}).replace_schema_metadata(told), staged)
        return folder.commit(staged, record | {"by": by})


def do_all(folder: OutputFolder, *, by: str = "successor", names: tuple[str, ...] = AFTER) -> None:
    """Do what a run does."""
    folder.begin(job(names))
    folder.mark_success(None)
    records = folder.records()
    for name in names:
        if f"{name}.parquet" not in records:
            commit(folder, name, by=by)
    conclude(folder, by=by, names=names)


def conclude(folder: OutputFolder, *, by: str, names: tuple[str, ...]) -> None:
    """Write what a run writes at its end."""
    folder.append_events(f"{by}\n")
    folder.write_summary({"by": by, "units": len(names)})
    folder.mark_success({"units": len(names)})
    folder.write_report(by.encode())
