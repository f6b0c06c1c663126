"""A few rows of an output, for people and as JSON.

The rule: everything is read from the folder alone, and only committed files are, so that rows can be shown on any
machine that can read it, also while a run goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lvm_batch.io.output.committed import committed
from lvm_batch.io.output.row_search import find_rows, n_matching
from lvm_batch.io.schema import OK, PREDICTION, STATUS, STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.output.row_search import FoundRow, RowQuery

UNREADABLE = (ValueError, OverflowError, KeyError, pa.ArrowException)
"""What Arrow raises for a value that Python has no form for: a time of nanoseconds, a text that is no UTF-8."""


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row as plain JSON values: the path of its input, its number there, and its columns.

    Bytes are hexadecimal, times are ISO 8601, and what JSON has no form for is text. Numbers that are not finite are
    ``None``, and so is a prediction that there is none of.
    """

    input: str
    row: int
    columns: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the columns by name, after ``@file`` and ``@row``, where the row was read."""
        return {"@file": self.input, "@row": self.row, **self.columns}


@dataclass(frozen=True, slots=True)
class ShownRows:
    """Rows that were asked for, and how many there are.

    ``n_matching`` are those of the wanted route and status, ``None`` if only reading all would tell; ``n_committed``
    are in committed files, of ``n_planned`` of the job.
    """

    output: str
    rows: Sequence[ShownRow]
    query: RowQuery
    n_matching: int | None
    n_committed: int
    n_planned: int
    has_predictions: bool

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "output": self.output,
            "rows_committed": self.n_committed,
            "rows_planned": self.n_planned,
            "rows_matching": self.n_matching,
            "rows": [row.to_json() for row in self.rows],
        }


def show_rows(output: str, query: RowQuery) -> ShownRows:
    """Return the rows of the job in ``output`` that ``query`` asks for.

    Raises :class:`InputNotFound` if there is no job, :class:`NotFinished` if nothing of it is committed yet, and
    ``UnreadableFile`` for a file that is damaged.
    """
    found = committed(output, require_success=False)
    return ShownRows(
        output=output,
        rows=[_shown(row) for row in find_rows(found, query)],
        query=query,
        n_matching=n_matching(found, query),
        n_committed=found.n_rows,
        n_planned=found.job.rows,
        has_predictions=found.job.identity.writes_prediction,
    )


def _shown(found: FoundRow) -> ShownRow:
    columns = {name: _plain(_as_python(value)) for name, value in found.values.items()}
    if PREDICTION in columns and columns[STATUS] != STATUSES[OK]:
        columns[PREDICTION] = None
    return ShownRow(found.input, found.row, columns)


def _as_python(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except UNREADABLE:
        return _as_text(value)


def _as_text(value: pa.Scalar) -> str:
    try:
        if pa.types.is_string(value.type) or pa.types.is_large_string(value.type):
            return bytes(value.cast(pa.large_binary()).as_py()).decode("utf-8", "replace")
        text = str(value.cast(pa.string()).as_py())
        is_time = (
            pa.types.is_timestamp(value.type) and text[0].isdigit()
        )  # else it says "<value out of range: …>"
        return text.replace(" ", "T", 1) if is_time else text
    except UNREADABLE:
        return f"({value.type})"


def _plain(value: object) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat() if isinstance(value, date | time) else str(value)
