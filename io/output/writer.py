"""The output format: the columns of a file of predictions.

The rule: one output row for each input row; ``prediction`` is never null, a row without one holds NaN, or zeros where
there is no NaN. A null in a fixed-size list makes the column unreadable to pyarrow before 26 (arrow#35692) and vanishes
from ``flatten()`` in all versions, so that rows would shift.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.formats.parquet_sizes import HELD_BYTES
from lvm_batch.io.formats.parquet_writing import leaf_options, row_groups
from lvm_batch.io.schema import NEIGHBOUR_COLUMNS, PREDICTION, ROUTES, STATUSES
from lvm_batch.io.vectors.stored import encode, stored_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from lvm_batch.io.schema import OutputDtype


@dataclass(frozen=True, slots=True)
class PredictionBlock:
    """Rows ready to be written; floats are float32 with NaN for null.

    ``prediction`` is (n, dim); ``route`` holds codes of :data:`ROUTES` or :data:`NO_ROUTE`; ``reasons`` is
    (n, number of reasons), bool; ``status`` holds codes of ``STATUSES``; ``details`` has the rows with one. ``carried``
    may have columns that are not written. ``context_cosine`` is counted, not written; it may be empty.
    ``neighbour_places`` is int64 (n, k): row numbers of the bank, negative where there is none, and
    ``neighbour_cosines`` (n, k).
    """

    carried: pa.Table
    prediction: NDArray[np.float32]
    cosine: NDArray[np.float32]
    route: NDArray[np.int8]
    reasons: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    amn_cosine: NDArray[np.float32]
    gru_cosine: NDArray[np.float32]
    shadow: NDArray[np.bool_]
    status: NDArray[np.int8]
    details: Mapping[int, str]
    context_cosine: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    neighbour_places: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    neighbour_cosines: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def first(self, n_rows: int) -> PredictionBlock:
        """Return the first ``n_rows`` of the rows."""
        if n_rows >= len(self.status):
            return self
        columns = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "details"}
        return PredictionBlock(
            **{name: column[:n_rows] for name, column in columns.items()},
            details={row: text for row, text in self.details.items() if row < n_rows},
        )


def prediction_schema(
    carried: pa.Schema,
    *,
    dim: int,
    dtype: OutputDtype | None = "float32",
    id_type: pa.DataType | None = None,
) -> pa.Schema:
    """Return the schema of an output file: the carried columns, then the job's own.

    Predictions have ``dim`` components, stored as ``dtype``; with ``None`` there is no such column. Neighbours have ids
    of ``id_type``; with ``None`` there are no such columns.
    """
    labels = pa.dictionary(pa.int8(), pa.string())
    neighbour_types = [] if id_type is None else [pa.list_(id_type), pa.list_(pa.float32())]
    own = [
        *([] if dtype is None else [(PREDICTION, stored_type(dtype, dim))]),
        ("cosine", pa.float32()),
        ("route", labels),
        ("escalation_reasons", pa.list_(pa.string())),
        ("confidence", pa.float32()),
        ("margin", pa.float32()),
        *zip(NEIGHBOUR_COLUMNS, neighbour_types, strict=False),
        ("amn_cosine", pa.float32()),
        ("gru_cosine", pa.float32()),
        ("shadow", pa.bool_()),
        ("status", labels),
        ("status_detail", pa.string()),
    ]
    return pa.schema([*carried, *(pa.field(name, kind) for name, kind in own)])


class PredictionWriter:
    """Writes blocks of predictions to one Parquet file, each block a row group; ``dtype`` is that of their values.

    With ``None`` for ``dtype`` all is written but the predictions. With the ``ids`` of a bank, neighbours are written.
    Used as a context manager: left by an exception, the file stays without a footer and no reader takes it.
    """

    def __init__(
        self,
        sink: Path,
        carried: pa.Schema,
        *,
        dim: int,
        dtype: OutputDtype | None,
        reasons: tuple[str, ...],
        ids: pa.Array | None = None,
    ) -> None:
        self._carried = carried.names
        self._ids = ids
        id_type = None if ids is None else ids.type
        self._schema = prediction_schema(carried, dim=dim, dtype=dtype, id_type=id_type)
        self._vectors_written = (PREDICTION,) if dtype is not None else ()
        self._reasons = pa.array(reasons, pa.string())
        self._file = sink.open("wb")
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            write_page_checksum=True,  # 0.25 ns a byte, here and where it is read (2026-11-29)
            **leaf_options(self._schema, vectors=self._vectors_written),
        )
        self.n_rows = 0

    def __enter__(self) -> Self:
        return self

    def write(self, block: PredictionBlock, carried: Iterable[pa.Table] | None = None) -> None:
        """Append ``block`` as one row group, or as several where its carried columns are large or have many labels.

        ``carried`` gives these columns in tables that are read as they are asked for; they are taken from
        ``block.carried`` where nothing is given.
        """
        for part, rows in self._parts(
            block, [block.carried.select(self._carried)] if carried is None else carried
        ):
            for table in row_groups(self._table(block, part, rows)):
                self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self.n_rows += len(block.status)

    def _parts(self, block: PredictionBlock, carried: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, slice]]:
        """Yield the carried columns with the rows of the block that they belong to."""
        if not self._carried:  # a table of no columns has no rows
            yield block.carried.select([]), slice(0, len(block.status))
            return
        first = 0
        for table in _gathered(carried):
            yield table, slice(first, first + table.num_rows)
            first += table.num_rows

    def close(self, metadata: Mapping[str, str]) -> None:
        """Write the footer with ``metadata``: the file is whole, though the disk may not have it yet."""
        self._writer.add_key_value_metadata(dict(metadata))
        self._writer.close()
        self._file.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._writer.is_open = False  # or its finaliser would try to write the footer after all

    def _table(self, block: PredictionBlock, carried: pa.Table, rows: slice) -> pa.Table:
        columns: list[Any] = [
            *carried.columns,
            *(
                encode(block.prediction[rows], self._schema.field(name).type)
                for name in self._vectors_written
            ),
            _nullable(block.cosine[rows]),
            _labels(block.route[rows], ROUTES),
            self._reason_lists(block.reasons[rows]),
            _nullable(block.confidence[rows]),
            _nullable(block.margin[rows]),
            *self._neighbours(block, rows),
            _nullable(block.amn_cosine[rows]),
            _nullable(block.gru_cosine[rows]),
            pa.array(block.shadow[rows]),
            _labels(block.status[rows], STATUSES),
            pa.array([block.details.get(row) for row in range(rows.start, rows.stop)], pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _neighbours(self, block: PredictionBlock, rows: slice) -> tuple[pa.Array, ...]:
        if self._ids is None:
            return ()
        return neighbour_lists(block.neighbour_places[rows], block.neighbour_cosines[rows], self._ids)

    def _reason_lists(self, reasons: NDArray[np.bool_]) -> pa.Array:
        edges = np.concatenate(([0], np.cumsum(reasons.sum(axis=1))))
        names = self._reasons.take(pa.array(np.nonzero(reasons)[1]))
        return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), names)


def neighbour_lists(
    places: NDArray[np.int64], cosines: NDArray[np.float32], ids: pa.Array
) -> tuple[pa.Array, pa.Array]:
    """Return the ids and the cosines of neighbours, a list for each row; those with a negative place are left out."""
    found = places >= 0
    edges = pa.array(np.concatenate(([0], np.cumsum(found.sum(axis=1)))), pa.int32())
    return (
        pa.ListArray.from_arrays(edges, ids.take(pa.array(places[found]))),
        pa.ListArray.from_arrays(edges, pa.array(cosines[found], pa.float32())),
    )


def _nullable(values: NDArray[np.float32]) -> pa.Array:
    return pa.array(values, pa.float32(), mask=np.isnan(values))


def _labels(codes: NDArray[np.int8], names: tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8(), mask=codes < 0), pa.array(names))


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Put tables together that take no more than ``HELD_BYTES``; one that is larger comes by itself."""
    waiting: list[pa.Table] = []
    n_bytes = 0
    for table in tables:
        more = table.get_total_buffer_size()
        if waiting and n_bytes + more > HELD_BYTES:
            yield pa.concat_tables(waiting)
            waiting, n_bytes = [], 0
        waiting.append(table)
        n_bytes += more
        del table
    if waiting:
        yield pa.concat_tables(waiting)
