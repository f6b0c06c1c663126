"""Rows as an Arrow IPC stream, and their answers.

The rule: a stream is understood as a file of windows is, and answered with the columns that a run writes: a row that
is not what it should be keeps its place, with its reason. Does not know HTTP, or who answers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.batches import BAD_INPUT, OK, STATUSES
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.predictions import prediction_schema
from lvm_batch.io.windows import WindowsReader
from lvm_batch.jobs.serving.json_answers import ROUTES
from lvm_batch.jobs.serving.refusals import Wrong, unusable
from lvm_batch.jobs.serving.rows import Rows
from lvm_batch.lvm.routing import REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.batches import Batch
    from lvm_batch.io.predictions import OutputDtype
    from lvm_batch.io.units import DatasetFormat
    from lvm_batch.io.vectors import Pad
    from lvm_batch.jobs.serving.rows import Answers

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
_BODY = "the body"


class ArrowForm:
    """How streams are understood and answered: the windows layout, in batches of at most ``max_rows`` rows."""

    def __init__(
        self, dataset_format: DatasetFormat, *, pad: Pad | None, max_rows: int, dtype: OutputDtype
    ) -> None:
        self._format = replace(dataset_format, layout="windows")
        self._pad = pad
        self._max_rows = max_rows
        self._dtype: OutputDtype = dtype

    def batches(self, body: bytes) -> tuple[pa.Schema, Iterator[Batch]]:
        """Read a stream: the schema of its answer, and its rows. Raises :class:`Refused`."""
        try:
            table = _read(body)
            roles = self._format.roles(table.schema, _BODY)
        except (pa.ArrowException, OSError) as error:  # the latter where it is cut
            raise unusable(Wrong(("body",), f"is not an Arrow stream: {error}", "arrow_invalid")) from error
        except ColumnError as error:
            raise unusable(Wrong(("body",), ": ".join(error.args), "columns")) from error
        carried = pa.schema([table.schema.field(name).with_name(new) for name, new in roles.carried.items()])
        schema = prediction_schema(carried, dim=self._format.shape.dim, dtype=self._dtype)
        size = min(self._max_rows, max(1, table.num_rows))
        reader = WindowsReader(roles, self._format.shape, batch_rows=size, pad=self._pad)
        parts = (table.slice(start, size) for start in range(0, table.num_rows, size))
        return schema, reader.batches(parts, 0)


def rows_of(batch: Batch) -> Rows:
    """Return the rows of a batch, over its own memory."""
    n_rows = batch.n_rows
    return Rows(
        batch.contexts,
        [None] * n_rows if batch.lanes is None else batch.lanes.tolist(),
        np.full(n_rows, np.nan) if batch.context_tokens is None else batch.context_tokens,
        batch.targets,
    )


def answered(batch: Batch, answers: Answers, schema: pa.Schema) -> pa.Table:
    """Return the output rows of a batch."""
    status = batch.status.copy()
    overflown = np.flatnonzero((status == OK) & answers.overflown)
    status[overflown] = BAD_INPUT
    details = batch.details | dict.fromkeys(overflown.tolist(), "inf")
    usable = status == OK
    prediction = np.where(usable[:, np.newaxis], answers.prediction, np.float32(np.nan))
    columns = [
        *batch.carried.columns,
        _vectors(prediction, schema.field("prediction").type),
        _nullable(answers.cosine, usable),
        _labels(np.where(usable, answers.escalated, -1), ROUTES),
        _reasons(answers.reasons & usable[:, np.newaxis]),
        *(_nullable(getattr(answers, name), usable) for name in ("confidence", "margin")),
        *(_nullable(getattr(answers, name), usable) for name in ("amn_cosine", "gru_cosine")),
        pa.array(np.zeros(len(status), np.bool_)),
        _labels(status, STATUSES),
        pa.array([details.get(row) for row in range(len(status))], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def written(schema: pa.Schema, tables: Sequence[pa.Table]) -> bytes:
    """Write output rows as a stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(memoryview(sink.getvalue()))


def _read(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        table = reader.read_all()
    table.validate(full=True)  # offsets may lead anywhere
    return table


def _vectors(vectors: NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    flat = vectors.reshape(-1).astype(kind.value_type.to_pandas_dtype(), copy=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)


def _nullable(values: NDArray[np.float32], usable: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.float32(), mask=np.isnan(values) | ~usable)


def _labels(codes: NDArray[np.int8], names: Sequence[str]) -> pa.Array:
    known = pa.array(codes.astype(np.int8), pa.int8(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(known, pa.array(names))


def _reasons(reasons: NDArray[np.bool_]) -> pa.Array:
    edges = np.concatenate(([0], np.cumsum(reasons.sum(axis=1))))
    names = pa.array(REASONS, pa.string()).take(pa.array(np.nonzero(reasons)[1]))
    return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), names)
