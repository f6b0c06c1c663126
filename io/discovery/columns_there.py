"""The columns that a dataset has, by a look at a few of its files.

The rule: of a long list of files, those at even distances are looked at, footers only; rows are read only where a type
does not say how wide its vectors are, or to see whether ids repeat.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from lvm_batch.io.articles.ids import comparable_ids
from lvm_batch.io.articles.order import find_falls
from lvm_batch.io.dataset.column_checks import is_absent
from lvm_batch.io.discovery.part_names import is_like_vector
from lvm_batch.io.discovery.widths import RowWidth, row_width
from lvm_batch.io.errors import DataError
from lvm_batch.io.formats.parquet import OpenParquet, open_parquet
from lvm_batch.io.vectors.types import holds_vectors, is_variable_binary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lvm_batch.io.dataset.files import InputFile

_FILES = 8
_ROWS_OF_IDS = 4096


class KnownColumns(Protocol):
    """The columns among which parts are looked for; ``types`` maps their names to their types."""

    @property
    def types(self) -> Mapping[str, pa.DataType]:
        """The type of each column that has values."""

    def vector_columns(self) -> tuple[str, ...]:
        """Return the columns that can hold vectors."""

    def width(self, name: str) -> RowWidth | None:
        """Return what a row of a column of vectors holds, ``None`` if there is no such column or it is empty."""

    def repeats(self, name: str) -> bool:
        """Whether values of a column repeat within the first rows."""

    def ascends(self, name: str) -> bool:
        """Whether the values of a column never fall within the first rows."""


class ColumnsThere:
    """The columns of a dataset: ``types`` maps names to types, of the first file that has the column with values."""

    def __init__(self) -> None:
        self.types: dict[str, pa.DataType] = {}
        self._files: dict[str, OpenParquet] = {}
        self._widths: dict[str, RowWidth | None] = {}

    @classmethod
    @contextmanager
    def of(cls, files: Sequence[InputFile]) -> Iterator[ColumnsThere]:
        """Look at some of ``files``, which stay open meanwhile."""
        there = cls()
        with ExitStack() as stack:
            for file in _evenly(files):
                there._add(file, stack)
            yield there

    def _add(self, file: InputFile, stack: ExitStack) -> None:
        try:
            parquet = stack.enter_context(open_parquet(file.path))
            schema = parquet.schema_arrow
        except DataError:
            return
        twice = {
            name for name, count in Counter(schema.names).items() if count > 1
        }  # its reader refuses the file
        for field in schema:
            if not is_absent(field.type) and field.name not in self._files and field.name not in twice:
                self.types[field.name] = field.type
                self._files[field.name] = parquet
        for name, text in file.folders.items():
            self.types.setdefault(name, _type_of(text))

    def vector_columns(self) -> tuple[str, ...]:
        """Return the columns that can hold vectors: lists of floats, and bytes with such a name."""
        return tuple(
            name
            for name, kind in self.types.items()
            if holds_vectors(kind) and (not _is_bytes(kind) or is_like_vector(name))
        )

    def width(self, name: str) -> RowWidth | None:
        """Return what a row of a column of vectors holds, ``None`` if there is no such column or it is empty."""
        if name not in self._widths:
            parquet, kind = self._files.get(name), self.types.get(name)
            known = parquet is not None and kind is not None and holds_vectors(kind)
            self._widths[name] = _measured(parquet, name) if known and parquet is not None else None
        return self._widths[name]

    def repeats(self, name: str) -> bool:
        """Whether values of a column repeat within the first rows, as an article's id does and a row's own does not."""
        if name not in self._files:
            return name in self.types  # a folder's value holds for all rows of its files
        column = self._first_rows(name)
        return column is not None and has_repeats(column)

    def ascends(self, name: str) -> bool:
        """Whether the values of a column never fall within the first rows, as the places of rows in reading order."""
        column = self._first_rows(name) if name in self._files else None
        return column is not None and is_ascending(column)

    def _first_rows(self, name: str) -> pa.ChunkedArray | None:
        parquet = self._files[name]
        row_groups = range(parquet.metadata.num_row_groups)
        try:
            table = next(parquet.tables(row_groups=row_groups, columns=[name], batch_rows=_ROWS_OF_IDS), None)
        except DataError:  # damaged: the reader of its rows says so
            return None
        return None if table is None else table[name]


def has_repeats(ids: pa.ChunkedArray) -> bool:
    """Whether an id occurs twice."""
    known = comparable_ids(ids).drop_null()
    return len(known.unique()) < len(known)


def is_ascending(positions: pa.ChunkedArray) -> bool:
    """Whether no position is lower than the one before it."""
    return not find_falls(positions.drop_null()).any()


def _measured(parquet: OpenParquet, name: str) -> RowWidth | None:
    try:
        return row_width(parquet, name)
    except DataError:  # damaged: the reader of its rows says so
        return None


def _evenly(files: Sequence[InputFile]) -> list[InputFile]:
    """Return at most ``_FILES`` of ``files``, the first and the last among them."""
    if len(files) <= _FILES:
        return list(files)
    return [files[round(step * (len(files) - 1) / (_FILES - 1))] for step in range(_FILES)]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(kind)) or is_variable_binary(kind)


def _type_of(text: str | None) -> pa.DataType:
    """Return the type of a folder's value: whole numbers can also count tokens and positions."""
    return pa.int64() if text and text.lstrip("-").isdecimal() else pa.string()
