"""Outputs of jobs without models, and ways to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.job_documents import FORMAT
from lvm_batch.io.output.writer import PredictionBlock, PredictionWriter
from support.documents import job_of, record_of, success_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.output.commit_record import CommitRecord

DIM = 768
REASONS = ("low_confidence",)


def write_unit(
    folder: OutputFolder,
    name: str,
    carried: pa.Table | Mapping[str, Any],
    **options: Any,  # noqa: ANN401
) -> CommitRecord:
    """Commit a unit with a row group for every two carried rows; `key` is the first component of `prediction`."""
    table = carried if isinstance(carried, pa.Table) else pa.table(dict(carried))
    with folder.stage() as staged:
        dtype = options.get("dtype", "float32")
        with PredictionWriter(staged, table.schema, dim=DIM, dtype=dtype, reasons=REASONS) as writer:
            for first in range(0, table.num_rows, 2):
                writer.write(block(table.slice(first, 2)))
            writer.close(options.get("metadata", {}))
        record = record_of(
            output=name,
            input=options.get("input", f"/in/{name.rpartition('-')[0]}.parquet"),
            first_row=options.get("first_row", 0),
            rows_out=table.num_rows,
        )
        return folder.commit(staged, record)


def block(carried: pa.Table) -> PredictionBlock:
    """Rows that carry a table; all their values follow from its `key`."""
    n_rows = carried.num_rows
    predictions = np.zeros((n_rows, DIM), np.float32)
    predictions[:, 0] = carried["key"].to_numpy()
    numbers = predictions[:, 0] / 10
    return PredictionBlock(
        carried=carried,
        prediction=predictions,
        cosine=numbers,
        route=(carried["key"].to_numpy() % 2).astype(np.int8),
        reasons=np.zeros((n_rows, 1), np.bool_),
        confidence=numbers,
        margin=numbers,
        amn_cosine=numbers,
        gru_cosine=numbers,
        shadow=np.zeros(n_rows, np.bool_),
        status=np.zeros(n_rows, np.int8),
        details={},
    )


def begin(output: str, names: list[str], **changes: Any) -> OutputFolder:  # noqa: ANN401
    """Begin a job with these units; a unit's name without its number is the name of its input."""
    folder = OutputFolder(output)
    stems = dict.fromkeys(name.rpartition("-")[0] for name in names)
    inputs = {f"{stem}.parquet": {"path": f"/in/{stem}.parquet", "size": 1} for stem in stems}
    job = {
        "fingerprint": "f",
        "identity": {"format": FORMAT, "inputs": inputs},
        "units": [
            {"output": name, "input": f"/in/{name.rpartition('-')[0]}.parquet", "rows": 0} for name in names
        ],
    }
    folder.begin(job_of(job | changes))
    return folder


def write_output(output: str, units: Mapping[str, Mapping[str, Any]], **options: Any) -> OutputFolder:  # noqa: ANN401
    """Write a finished job with these units and their carried rows."""
    folder = begin(output, list(units))
    for name, carried in units.items():
        write_unit(folder, name, carried, **options)
    folder.mark_success(success_of(len(units)))
    return folder


def as_polars(output: Any, **options: Any) -> pa.Table:  # noqa: ANN401
    """All rows, through the polars reader."""
    return read_predictions(output, **options).collect().to_arrow()


def as_arrow(output: Any, **options: Any) -> pa.Table:  # noqa: ANN401
    """All rows, through the Arrow dataset."""
    return predictions_dataset(output, **options).to_table()
