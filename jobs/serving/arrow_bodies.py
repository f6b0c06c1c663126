"""Rows as an Arrow IPC stream, and their answers.

The rule: a stream is read as a file of windows is, and answered with the columns that a run writes: a bad row keeps its
place, with its reason. Neither the unpacked stream nor the answer grows beyond a limit, however small the body.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lvm_batch.io.dataset.windows import WindowsReader
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.output.writer import neighbour_lists, prediction_schema
from lvm_batch.io.schema import BAD_INPUT, OK, PREDICTION, ROUTES, STATUSES
from lvm_batch.io.vectors.stored import encode, row_bytes
from lvm_batch.jobs.serving.arrow_sizes import stream_size
from lvm_batch.jobs.serving.bodies import Problem, too_large, unusable
from lvm_batch.jobs.serving.rows import Rows
from lvm_batch.lvm.inference.routing import ALL_REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset.batches import Batch
    from lvm_batch.io.dataset.units import DatasetFormat
    from lvm_batch.io.schema import OutputDtype, Pad
    from lvm_batch.jobs.models.named_bank import NamedBank
    from lvm_batch.jobs.serving.rows import Answers

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
UNPACKED = 16
"""How many times the largest body a stream may unpack to, and its answer take."""

_TEXT_COPIES = 4  # bytes that Python takes for a character, where one of a text is far from Latin
_BODY = "the body"


class ArrowForm:
    """Reads and answers streams of the windows layout, in batches of at most ``max_rows`` rows.

    Neither what a stream unpacks to nor its answer may take more than ``max_bytes``.
    """

    def __init__(
        self,
        dataset_format: DatasetFormat,
        *,
        pad: Pad | None,
        max_rows: int,
        max_bytes: int,
        dtype: OutputDtype,
        n_neighbours: int = 0,
        bank: NamedBank | None = None,
    ) -> None:
        """Each row gets ``n_neighbours``, which the ``bank`` can name."""
        self.n_neighbours = n_neighbours
        self._ids = bank.ids if bank and n_neighbours else None
        self._format = replace(dataset_format, layout="windows")
        self._pad = pad
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._dtype: OutputDtype = dtype

    def room(self, body: bytes) -> int:
        """Return the bytes that a stream and its answer take at most. Raises :class:`Refusal` if they are too many."""
        with _refusals():
            size = stream_size(body)
        if size.n_bytes > self._max_bytes:
            raise too_large("the body unpacked", self._max_bytes)
        answers = size.n_rows * (row_bytes(self._dtype, self._format.shape.dim) + self._names_bytes)
        if answers > self._max_bytes:
            raise too_large("the answer", self._max_bytes)
        return 2 * (
            size.n_bytes + answers
        )  # carried columns are in the answer too, and it is written, then taken

    def read(self, body: bytes) -> tuple[ArrowAnswer, Iterator[Batch]]:
        """Return a writer for the answer to a stream, and the stream's rows. Raises :class:`Refusal`.

        Call :meth:`room` first, which refuses streams that are too large to be read.
        """
        with _refusals():
            table = _table(body)
            roles = self._format.roles(table.schema, _BODY)
        if roles.lane and _TEXT_COPIES * sum(map(_text_bytes, table[roles.lane].chunks)) > self._max_bytes:
            raise too_large("the body with its lanes as text", self._max_bytes)
        carried = pa.schema([table.schema.field(name).with_name(new) for name, new in roles.carried.items()])
        id_type = None if self._ids is None else self._ids.type
        schema = prediction_schema(carried, dim=self._format.shape.dim, dtype=self._dtype, id_type=id_type)
        size = min(self._max_rows, max(1, table.num_rows))
        reader = WindowsReader(roles, self._format.shape, batch_rows=size, pad=self._pad)
        parts = (table.slice(start, size) for start in range(0, table.num_rows, size))
        answer = ArrowAnswer(schema, max_bytes=self._max_bytes, ids=self._ids)
        return answer, reader.batches(parts, 0)

    @property
    def _names_bytes(self) -> int:
        """The bytes of the neighbours of a row: cosines, and ids of the usual size."""
        if self._ids is None:
            return 0
        return self.n_neighbours * (4 + int(-(-self._ids.nbytes // max(1, len(self._ids)))))


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn errors of Arrow and of the check of columns into refusals."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:  # the latter if it is cut short
        raise unusable(Problem(("body",), f"is not an Arrow stream: {error}", "arrow_invalid")) from error
    except ColumnError as error:
        raise unusable(Problem(("body",), ": ".join(error.args), "columns")) from error
    except UnicodeDecodeError as error:
        raise unusable(
            Problem(("body",), f"has a column whose name is not UTF-8: {error.object!r}", "columns")
        ) from error


def _table(body: bytes) -> pa.Table:
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        table = reader.read_all()
    table.validate(full=True)  # offsets may lead anywhere
    return table


def _text_bytes(texts: pa.Array) -> int:
    """Return the bytes of the texts made from a column: each text of a dictionary once, each view every time."""
    if pa.types.is_dictionary(texts.type):
        return _text_bytes(texts.dictionary)
    if pa.types.is_string_view(texts.type):  # a view is a length, and twelve bytes more
        lengths = np.frombuffer(texts.buffers()[1], np.int32)[::4]
        return int(lengths[texts.offset : texts.offset + len(texts)].sum(dtype=np.int64))
    return int(texts.nbytes)


class ArrowAnswer:
    """The answer to a stream, written batch by batch."""

    def __init__(self, schema: pa.Schema, *, max_bytes: int, ids: pa.Array | None = None) -> None:
        self._schema = schema
        self._ids = ids
        self._max_bytes = max_bytes
        self._sink = pa.BufferOutputStream()
        self._writer = pa.ipc.new_stream(self._sink, schema)

    def write(self, batch: Batch, answers: Answers) -> None:
        """Append the output rows of a batch. Raises :class:`Refusal` if the answer becomes too large."""
        self._writer.write_table(_answered(batch, answers, self._schema, self._ids))
        if self._sink.tell() > self._max_bytes:
            raise too_large("the answer", self._max_bytes)

    def content(self) -> bytes:
        """Return everything that was written."""
        self._writer.close()
        return bytes(memoryview(self._sink.getvalue()))


def rows_of(batch: Batch, n_neighbours: int = 0) -> Rows:
    """Return the rows of a batch, over its own memory, each of which wants ``n_neighbours``."""
    n_rows = batch.n_rows
    return Rows(
        batch.contexts,
        [None] * n_rows if batch.lanes is None else batch.lanes.tolist(),
        np.full(n_rows, np.nan) if batch.context_tokens is None else batch.context_tokens,
        batch.targets,
        batch.status == OK,
        np.full(n_rows, n_neighbours) if n_neighbours else None,
    )


def _answered(batch: Batch, answers: Answers, schema: pa.Schema, ids: pa.Array | None) -> pa.Table:
    """Return the output rows of a batch; with ``ids`` of the bank, also their neighbours."""
    known = answers.answered
    overflown = np.flatnonzero((batch.status == OK) & ~known)
    details = batch.details | dict.fromkeys(overflown.tolist(), "inf")
    status = batch.status.copy()
    status[overflown] = BAD_INPUT
    prediction = np.where(known[:, np.newaxis], answers.prediction, np.float32(np.nan))
    columns = [
        *batch.carried.columns,
        encode(prediction, schema.field(PREDICTION).type),
        _nullable(answers.cosine, known),
        _labels(np.where(known, answers.escalated, -1), ROUTES),
        _reasons(answers.reasons & known[:, np.newaxis]),
        *(_nullable(getattr(answers, name), known) for name in ("confidence", "margin")),
        *_neighbours(answers, ids),
        *(_nullable(getattr(answers, name), known) for name in ("amn_cosine", "gru_cosine")),
        pa.array(np.zeros(len(status), np.bool_)),
        _labels(status, STATUSES),
        pa.array([details.get(row) for row in range(len(status))], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _neighbours(answers: Answers, ids: pa.Array | None) -> tuple[pa.Array, ...]:
    if ids is None or answers.neighbours is None:
        return ()
    return neighbour_lists(answers.neighbours.places, answers.neighbours.cosines, ids)


def _nullable(values: NDArray[np.float32], known: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.float32(), mask=np.isnan(values) | ~known)


def _labels(codes: NDArray[np.int8], names: Sequence[str]) -> pa.Array:
    known = pa.array(codes.astype(np.int8), pa.int8(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(known, pa.array(names))


def _reasons(reasons: NDArray[np.bool_]) -> pa.Array:
    edges = np.concatenate(([0], np.cumsum(reasons.sum(axis=1))))
    names = pa.array(ALL_REASONS, pa.string()).take(pa.array(np.nonzero(reasons)[1]))
    return pa.ListArray.from_arrays(pa.array(edges, pa.int32()), names)
