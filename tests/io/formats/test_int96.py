"""Tests of 96-bit timestamps, as Spark writes them: each value is read exactly, or its column is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.formats.parquet import open_parquet

if TYPE_CHECKING:
    from pathlib import Path

MICROSECONDS = pa.timestamp("us")
KINDS = {
    "plain": (lambda value: value, MICROSECONDS),
    "list": (lambda value: [value], pa.list_(MICROSECONDS)),
    "struct": (lambda value: {"a": value}, pa.struct([("a", MICROSECONDS)])),
    "map": (lambda value: [("a", value)], pa.map_(pa.string(), MICROSECONDS)),
    "keys of a map": (lambda value: [(value, [1])], pa.map_(MICROSECONDS, pa.list_(pa.int8()))),
}


def moment(*parts: int) -> datetime:
    """A time without a zone, since these timestamps have none."""
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


def read(path: Path, values: list[Any], kind: pa.DataType) -> list[Any]:
    """Write the values as 96-bit timestamps in row groups of two, and read them back."""
    table = pa.table({"at": pa.array(values, kind), "other": range(len(values))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True, row_group_size=2)
    with open_parquet(str(path)) as file:
        groups = range(file.num_row_groups)
        tables = file.tables(row_groups=groups, columns=["other", "at"], batch_rows=3)
        return [value for table in tables for value in table["at"].cast(kind).to_pylist()]


@pytest.mark.parametrize("name", KINDS)
def test_times_within_nanoseconds_are_read(tmp_path: Path, name: str) -> None:
    """Timestamps from 1677 to 2262 are read exactly, at any nesting depth, and so are nulls."""
    wrap, kind = KINDS[name]
    values = [
        wrap(moment(1677, 9, 22)),
        None,
        wrap(moment(2262, 4, 11)),
        wrap(moment(2026, 1, 1, 0, 0, 0, 1)),
    ]
    assert read(tmp_path / "a.parquet", values, kind) == values


@pytest.mark.parametrize(
    ("name", "year"), [*(("plain", year) for year in (1, 1677, 2263)), *((name, 9999) for name in KINDS)]
)
def test_times_beyond_nanoseconds_are_refused(tmp_path: Path, name: str, year: int) -> None:
    """A time that nanoseconds cannot hold is an error with file, row group, column and workaround."""
    wrap, kind = KINDS[name]
    with pytest.raises(UnreadableFile, match=r"a\.parquet.*row group 1: column `at`.*microsecond"):
        read(tmp_path / "a.parquet", [None, None, wrap(moment(year, 1, 1))], kind)


def test_the_last_nanosecond_is_read(tmp_path: Path) -> None:
    """The largest time that pandas can hold, which some tools write for "never", is read."""
    times = pa.array([2**63 - 1, 1], pa.timestamp("ns"))
    assert read(tmp_path / "a.parquet", times.to_pylist(), times.type) == times.to_pylist()
