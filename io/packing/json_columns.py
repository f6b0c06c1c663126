"""The columns of a file of JSON lines: their names, types and widths, found by a look at every line.

The rule: a column has one kind of values in all lines, or the file is refused with the line that breaks it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

from lvm_batch.io.dataset.column_checks import is_ordered
from lvm_batch.io.discovery.columns_there import is_ascending
from lvm_batch.io.discovery.part_names import is_like_vector
from lvm_batch.io.discovery.widths import RowWidth
from lvm_batch.io.formats.json_lines import (
    common_json_type,
    line_of,
    mixed_kinds,
    parse,
    plain_type,
    read_lines,
)

if TYPE_CHECKING:
    from lvm_batch.io.formats.json_lines import Lines

_EXACT = 2**53  # whole numbers up to here are exact as floats
_FLATTENED = 64  # rows that are looked at for the width of a list of lists


class JsonColumns:
    """What the lines of a file have: ``n_rows`` rows with columns of the types ``schema_types``.

    ``unwritable`` and ``rounded`` say why a column is left out, or which of its values change; ``largest_line`` is in
    bytes.
    """

    def __init__(self) -> None:
        self.n_rows = 0
        self.largest_line = 0
        self.schema_types: dict[str, pa.DataType] = {}
        self._widths: dict[str, Counter[RowWidth]] = defaultdict(Counter)
        self._inexact: set[str] = set()
        self._repeating: set[str] = set()
        self._falling: set[str] = set()

    @classmethod
    def of(cls, path: str) -> JsonColumns:
        """Read the file at ``path``; raises ``DataError``."""
        columns = cls()
        for lines in read_lines(path):
            columns._add(parse(lines, path), lines, path)
        return columns

    @property
    def types(self) -> dict[str, pa.DataType]:
        """The types as the search for parts sees them: lists of numbers that can be vectors are of floats."""
        return {
            name: as_floats(kind) if is_like_vector(name) else kind
            for name, kind in self.schema_types.items()
            if not t.is_null(kind)
        }

    @property
    def unwritable(self) -> dict[str, str]:
        """The columns that Parquet cannot hold."""
        return {
            name: "is left out: its objects have no values"
            for name, kind in self.schema_types.items()
            if _is_hollow(kind)
        }

    @property
    def rounded(self) -> dict[str, str]:
        """The columns whose whole numbers are too large to stay exact."""
        return {
            name: f"mixes whole numbers with fractions, so whole numbers are rounded beyond {_EXACT:,}"
            for name in sorted(self._inexact)
            if self.schema_types[name] == pa.float64()
        }

    def vector_columns(self) -> tuple[str, ...]:
        """Return the columns that can hold vectors."""
        return tuple(name for name, kind in self.types.items() if _depth_of_floats(kind) in {1, 2})

    def width(self, name: str) -> RowWidth | None:
        """Return what most rows of a column of lists hold."""
        counts = self._widths[name].most_common(1)
        return counts[0][0] if counts else None

    def repeats(self, name: str) -> bool:
        """Whether values of a column repeat within some lines."""
        return name in self._repeating

    def ascends(self, name: str) -> bool:
        """Whether the values of a column never fall within the lines that are read at once."""
        return name not in self._falling

    def _add(self, table: pa.Table, lines: Lines, path: str) -> None:
        self.n_rows += table.num_rows
        self.largest_line = max(self.largest_line, len(lines.content) // max(1, table.num_rows))
        for name, column in zip(table.column_names, table.columns, strict=True):
            kind, known = plain_type(column.type), self.schema_types.get(name, pa.null())
            common = common_json_type(known, kind)
            if common is None:
                raise mixed_kinds(path, name, line_of(lines, name), kinds=f"{known} before, {kind} there")
            self.schema_types[name] = common
            self._measure(name, column)

    def _measure(self, name: str, column: pa.ChunkedArray) -> None:
        kind = column.type
        if t.is_list(kind):
            self._widths[name].update(_widths(column))
        elif t.is_integer(kind) or t.is_floating(kind):
            most = pc.max(pc.abs(column.cast(pa.float64()))).as_py()
            if most is not None and most > _EXACT and most != float("inf"):
                self._inexact.add(name)
        is_plain = not (t.is_nested(kind) or t.is_null(kind))
        if is_plain and pc.count_distinct(column).as_py() < column.length() - column.null_count:
            self._repeating.add(name)
        if is_plain and is_ordered(kind) and not is_ascending(column):
            self._falling.add(name)


def as_floats(kind: pa.DataType) -> pa.DataType:
    """Return a type of lists with floats for its whole numbers."""
    if t.is_list(kind):
        return pa.list_(as_floats(kind.value_type))
    return pa.float64() if t.is_integer(kind) else kind


def _depth_of_floats(kind: pa.DataType) -> int:
    """Return how many lists lie around floats, 0 if there is something else inside."""
    depth = 0
    while t.is_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth if t.is_floating(kind) else 0


def _is_hollow(kind: Any) -> bool:  # noqa: ANN401 - a type of Arrow
    if t.is_struct(kind):
        return kind.num_fields == 0 or any(_is_hollow(field.type) for field in kind)
    return t.is_list(kind) and _is_hollow(kind.value_type)


def _widths(column: pa.ChunkedArray) -> Counter[RowWidth]:
    """Count what the rows of a column of lists hold, without empty ones."""
    if t.is_list(column.type.value_type):
        rows = [row for row in column.slice(0, _FLATTENED).to_pylist() if row and row[0]]
        return Counter(RowWidth(len(row[0]), len(row)) for row in rows)
    lengths = pc.value_counts(pc.list_value_length(column)).to_pylist()
    return Counter({RowWidth(each["values"]): each["counts"] for each in lengths if each["values"]})
