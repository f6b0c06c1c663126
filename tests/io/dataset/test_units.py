"""Tests that files are read in batches of exact size, and cut into units from their footers."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import thrift
from support.datasets import windows, write_windows

from lvm_batch.io.dataset import first_rows
from lvm_batch.io.dataset.files import InputFile, find_files
from lvm_batch.io.dataset.first_rows import first_files, first_units
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import (
    DatasetFormat,
    Footer,
    Unit,
    cut_units,
    read_footers,
    row_bytes,
)
from lvm_batch.io.errors import ColumnError, DataError, InputNotFound, UnreadableFile
from lvm_batch.io.formats.parquet import naming_errors, open_parquet
from lvm_batch.io.formats.parquet_sizes import ChunkSizes, largest_row
from lvm_batch.io.schema import Roles, WindowShape

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = WindowShape(length=2, dim=4)
FORMAT = DatasetFormat(shape=SHAPE)
ROW_BYTES = 2 * 4 * 4
GROUPS = st.lists(st.integers(0, 9), max_size=6)


def write(path: Path, group_rows: list[int], columns: list[str] | None = None) -> Path:
    """Write windows in row groups of these sizes, with a row number and a label."""
    n_rows = sum(group_rows)
    floats = np.arange(n_rows * 8, dtype=np.float32) + 1
    labels = pa.array([f"label {row % 3}" for row in range(n_rows)], pa.string()).dictionary_encode()
    table = pa.table(
        {
            "row": pa.array(range(n_rows), pa.int64()),
            "context": pa.FixedSizeListArray.from_arrays(pa.array(floats), 8),
            "label": labels,
        }
    ).select(columns or ["row", "context", "label"])
    with pq.ParquetWriter(path, table.schema) as writer:
        first = 0
        for rows in group_rows:
            writer.write_table(table.slice(first, rows))
            first += rows
    return path


def footer_of(group_rows: list[int]) -> Footer:
    """The footer of a file with row groups of these sizes."""
    roles = Roles("windows", "context", None, None, None, None, None, None, {})
    return Footer(InputFile("/in/a/b.parquet", "a/b.parquet", 1, 1), pa.schema([]), roles, tuple(group_rows))


@settings(max_examples=40)
@given(group_rows=GROUPS, batch_rows=st.integers(1, 12), from_group=st.integers(0, 3))
def test_batches_are_cut_at_fixed_counts(
    tmp_path_factory: pytest.TempPathFactory, group_rows: list[int], batch_rows: int, from_group: int
) -> None:
    """Every batch but the last has `batch_rows` rows, whatever the row groups, in file order."""
    path = write(tmp_path_factory.getbasetemp() / "batches.parquet", group_rows)
    groups = range(min(from_group, len(group_rows)), len(group_rows))
    first, n_rows = sum(group_rows[: groups.start]), sum(group_rows[groups.start :])
    with open_parquet(str(path)) as file:
        columns = ["label", "row"]
        tables = list(file.tables(row_groups=groups, columns=columns, batch_rows=batch_rows))
    assert [table.num_rows for table in tables[:-1]] == [batch_rows] * (len(tables) - 1)
    assert len(tables) == -(-n_rows // batch_rows)
    rows = [row for table in tables for row in table["row"].to_pylist()]
    assert rows == list(range(first, first + n_rows))
    assert [text for table in tables for text in table["label"].to_pylist()] == [
        f"label {row % 3}" for row in rows
    ]
    assert all(table.column_names == columns for table in tables)


def test_columns_with_dots_are_read_by_their_names(tmp_path: Path) -> None:
    """A dot in a name belongs to the name, even beside a struct whose field has the same path."""
    table = pa.table({"a": [{"b": 1}, {"b": 2}], "a.b": ["x", "y"], "c": [1.0, 2.0]})
    pq.write_table(table, tmp_path / "dots.parquet")
    with open_parquet(str(tmp_path / "dots.parquet")) as file:
        for columns in (["a.b"], ["a"], ["c", "a.b", "a"]):
            (read,) = file.tables(row_groups=[0], columns=columns, batch_rows=9)
            assert read.equals(table.select(columns))


@settings(max_examples=200)
@given(group_rows=GROUPS, unit_rows=st.integers(0, 15))
def test_units_partition_the_row_groups(group_rows: list[int], unit_rows: int) -> None:
    """Units cover all row groups once, in order; a unit exceeds the limit only if it is a single row group."""
    units = cut_units(footer_of(group_rows), unit_bytes=unit_rows * ROW_BYTES + 1, shape=SHAPE)
    assert [unit.first_row_group for unit in units] == [0, *(unit.last_row_group for unit in units[:-1])]
    assert units[-1].last_row_group == len(group_rows)
    for number, unit in enumerate(units):
        rows = group_rows[unit.first_row_group : unit.last_row_group]
        assert (unit.n_rows, unit.first_row) == (sum(rows), sum(group_rows[: unit.first_row_group]))
        assert unit.n_rows <= max(1, unit_rows) or sum(1 for n_rows in rows if n_rows) == 1
        assert unit.output == f"a/b-{number:05d}.parquet"
    assert len(units) == 1 or all(unit.n_rows for unit in units)


@pytest.mark.parametrize(
    ("group_rows", "unit_bytes", "expected"),
    [
        ([4, 4, 4], 4 * ROW_BYTES, [4, 4, 4]),
        ([4, 4, 4], 8 * ROW_BYTES, [8, 4]),
        ([4, 4, 4], 8 * ROW_BYTES - 1, [4, 4, 4]),
        ([4, 4, 4], 1, [4, 4, 4]),
        ([4, 100, 4], 8 * ROW_BYTES, [4, 100, 4]),
        ([4, 4, 4], 1 << 40, [12]),
        ([0, 9, 0, 0, 9, 0], 1, [9, 9]),
        ([0, 0], 1, [0]),
        ([], 1, [0]),
    ],
)
def test_units_are_filled_by_bytes(group_rows: list[int], unit_bytes: int, expected: list[int]) -> None:
    """A unit takes row groups while they fit its byte limit; a file without rows is one empty unit."""
    units = cut_units(footer_of(group_rows), unit_bytes=unit_bytes, shape=SHAPE)
    assert [unit.n_rows for unit in units] == expected


def test_bytes_of_a_row_depend_on_the_layout() -> None:
    """A row of windows takes a whole context, a row of sequences one vector, in float32."""
    footer = footer_of([])
    roles = Roles("sequences", "vector", None, None, None, None, "article_id", "position", {})
    assert row_bytes(footer, WindowShape()) == 15360
    assert row_bytes(Footer(footer.file, footer.schema, roles, ()), WindowShape()) == 3072


@pytest.mark.parametrize("group_rows", [[], [0], [0, 0, 0]])
def test_a_file_without_rows_is_one_empty_unit(tmp_path: Path, group_rows: list[int]) -> None:
    """A file without rows can be opened, gives no batch, and has the schema of its carried columns."""
    ((_, footer),) = read_footers(find_files([str(write(tmp_path / "e.parquet", group_rows))]), FORMAT)
    assert isinstance(footer, Footer)
    (unit,) = cut_units(footer, unit_bytes=1, shape=SHAPE)
    assert (footer.n_rows, unit.n_rows, unit.output) == (0, 0, "e-00000.parquet")
    with open_unit(unit, FORMAT, batch_rows=4) as rows:
        assert rows.carried_schema.names == ["row", "label"]
        assert list(rows.batches) == []


@settings(max_examples=25)
@given(group_rows=GROUPS, unit_rows=st.integers(1, 12), batch_rows=st.integers(1, 8))
def test_units_of_windows_give_the_files_rows(
    tmp_path_factory: pytest.TempPathFactory, group_rows: list[int], unit_rows: int, batch_rows: int
) -> None:
    """Read unit by unit and batch by batch, contexts, carried columns and row numbers are those of the file."""
    path = write(tmp_path_factory.getbasetemp() / "units.parquet", group_rows)
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    row = 0
    for unit in cut_units(footer, unit_bytes=unit_rows * ROW_BYTES, shape=SHAPE):
        assert unit.first_row == row
        with open_unit(unit, FORMAT, batch_rows=batch_rows) as rows:
            for batch in rows.batches:
                assert batch.first_row == row
                assert batch.carried["row"].to_pylist() == list(range(row, row + batch.n_rows))
                assert batch.contexts[:, 0, 0].tolist() == [
                    8.0 * i + 1 for i in range(row, row + batch.n_rows)
                ]
                row += batch.n_rows
    assert row == sum(group_rows)


def broken(path: Path, how: str) -> Path:
    """A file that is not valid Parquet, damaged in one of several ways."""
    whole = write(path, [50, 50]).read_bytes()
    footer_at = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    contents = {
        "nothing": b"",
        "one byte": b"P",
        "text": b"id,context\n1,2\n" * 20,
        "magic only": b"PAR1PAR1",
        "no footer": whole[:footer_at],
        "half": whole[: len(whole) // 2],
        "last byte gone": whole[:-1],
        "footer scrambled": whole[:footer_at] + b"\xff" * (len(whole) - 8 - footer_at) + whole[-8:],
    }
    path.write_bytes(contents[how])
    return path


@pytest.mark.parametrize(
    "how",
    ["nothing", "one byte", "text", "magic only", "no footer", "half", "last byte gone", "footer scrambled"],
)
def test_what_is_not_parquet_is_named(tmp_path: Path, how: str) -> None:
    """A file that is not Parquet, or is truncated, is an error with its path; files beside it are read."""
    write(tmp_path / "a.parquet", [3])
    bad = broken(tmp_path / "b.parquet", how)
    write(tmp_path / "c.parquet", [4])
    found = dict(read_footers(find_files([str(tmp_path)]), FORMAT))
    good, error, other = found.values()
    assert isinstance(good, Footer)
    assert isinstance(other, Footer)
    assert isinstance(error, UnreadableFile)
    assert error.path == str(bad)
    assert str(bad) in error.args[0]
    assert "--on-bad-file skip" in error.args[1]
    assert pickle.loads(pickle.dumps(error)).path == error.path  # noqa: S301 - our own


@pytest.mark.parametrize("group", [0, 1])
def test_fewer_rows_than_none_are_refused_by_name(tmp_path: Path, group: int) -> None:
    """A negative row count in a footer is damage; the file is named before any row is read."""
    path = write(tmp_path / "n.parquet", [3, 4])
    footer = thrift.read_footer(path)
    thrift.put(footer[4][1][1][group], 3, -5)
    path.write_bytes(thrift.with_footer(path, footer))
    ((_, error),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(error, UnreadableFile)
    assert f"row group {group} has -5 rows" in error.args[0]
    assert error.path == str(path)


def test_a_footer_is_understood_without_the_pages(tmp_path: Path) -> None:
    """Sizes come from the footer alone: pages are read early only for columns that are large."""
    n_rows = 40_000
    path = write(tmp_path / "s.parquet", [n_rows])
    content = path.read_bytes()
    footer_at = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(b"PAR1" + bytes(footer_at - 4) + content[footer_at:])
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    assert footer.sizes.vector_row in range(32, 60)
    assert footer.sizes.carried_row in range(1, 20)


def test_rows_of_a_small_file_are_not_sized_one_by_one(tmp_path: Path) -> None:
    """In a file that is small beside a worker's memory, each part of a row counts as the whole row."""
    ((_, footer),) = read_footers(find_files([str(write(tmp_path / "l.parquet", [50, 0, 50]))]), FORMAT)
    assert isinstance(footer, Footer)
    assert footer.sizes.vector_row > 0


def test_footers_come_in_order_with_their_own_errors(tmp_path: Path) -> None:
    """Many footers are read at once; each result keeps its file's place, and a bad file gives its own error."""
    for number in range(20):
        write(tmp_path / f"{number:02d}.parquet", [number], ["row"] if number == 7 else None)
    found = list(read_footers(find_files([str(tmp_path)]), FORMAT))
    assert [file.name for file, _ in found] == [f"{number:02d}.parquet" for number in range(20)]
    assert [footer.n_rows for _, footer in found if isinstance(footer, Footer)] == [*range(7), *range(8, 20)]
    assert isinstance(found[7][1], ColumnError)
    assert "07.parquet" in found[7][1].args[0]


def test_damaged_pages_are_named_with_their_row_group(tmp_path: Path) -> None:
    """A file with a valid footer and damaged pages fails with its path and row group."""
    path = write(tmp_path / "d.parquet", [50, 50])
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    (unit,) = cut_units(planned(footer, path), unit_bytes=1 << 30, shape=SHAPE)
    with open_unit(unit, FORMAT, batch_rows=50) as rows:
        assert next(rows.batches).n_rows == 50
        with pytest.raises(UnreadableFile, match=r"d\.parquet .* row group 1"):
            next(rows.batches)


def planned(footer: Footer, path: Path) -> Footer:
    """The file as a plan made now records it."""
    return Footer(find_files([str(path)])[0], footer.schema, footer.roles, footer.row_group_rows)


@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_a_unit_of_a_file_that_changed_is_refused(tmp_path: Path, change: str) -> None:
    """A file that differs from the planned one is not read."""
    path = write(tmp_path / "f.parquet", [5])
    unit = Unit(find_files([str(path)])[0], "f-00000.parquet", 0, 1, 0, 5)
    if change == "removed":
        path.unlink()
    else:
        write(path, [6])
    with pytest.raises(UnreadableFile, match=r"f\.parquet"), open_unit(unit, FORMAT, batch_rows=4):
        pass


@pytest.mark.parametrize("error", [pa.ArrowMemoryError("malloc of size 9 failed"), MemoryError()])
def test_a_lack_of_memory_is_not_an_unreadable_file(error: Exception) -> None:
    """Running out of memory is not an unreadable file that may be left out, and not a bug."""
    message = r"not enough memory to read a\.parquet, row group 3"
    with pytest.raises(DataError, match=message) as found, naming_errors("a.parquet", "row group 3"):
        raise error
    assert not isinstance(found.value, UnreadableFile)


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), ConnectionResetError("reset")])
def test_a_file_that_cannot_be_reached_is_not_an_unreadable_one(error: Exception) -> None:
    """Access that is denied and a store that is away are faults of the surroundings, and say what to check."""
    with (
        pytest.raises(InputNotFound, match=r"a\.parquet cannot be .*, its footer") as found,
        naming_errors("a.parquet", "its footer"),
    ):
        raise error
    assert "check that" in found.value.hint
    assert "write the file again" not in found.value.hint


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    """A file that disappears while a run goes on is an error of its own."""
    with (
        pytest.raises(UnreadableFile, match="no longer exists"),
        open_parquet(str(tmp_path / "gone.parquet")),
    ):
        pass


def test_formats_and_units_are_picklable(tmp_path: Path) -> None:
    """Formats and units are picklable and compare equal afterwards."""
    unit = Unit(find_files([str(write(tmp_path / "p.parquet", [1]))])[0], "p-00000.parquet", 0, 1, 0, 1)
    parts: list[Any] = [FORMAT, unit]
    assert pickle.loads(pickle.dumps(parts)) == parts  # noqa: S301 - our own


@pytest.mark.parametrize(
    "error", [DataError("what", "do"), UnreadableFile("what", "do", "/x"), ColumnError("what")]
)
def test_errors_are_picklable(error: DataError) -> None:
    """Errors are picklable and keep their texts."""
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(back), back.args, vars(back)) == (type(error), error.args, vars(error))
    assert len(back.args) == 2


def test_output_names_are_allowed_if_nothing_is_written(tmp_path: Path) -> None:
    """Columns and folders named like output columns, which a run refuses, are read by commands that write no rows."""
    write_windows(tmp_path / "Route=gru/a.parquet", windows()[0][:3], columns={"STATUS": [1, 2, 3]})
    files = find_files([str(tmp_path)])
    [(_, refused)] = read_footers(files, DatasetFormat(rename={"STATUS": "was"}))
    assert isinstance(refused, ColumnError)
    assert "`Route`" in refused.args[0]
    [(_, footer)] = read_footers(files, DatasetFormat(writes_rows=False))
    assert isinstance(footer, Footer)
    assert dict(footer.roles.carried) == {"STATUS": "STATUS"}


def sizes_of(path: Path, column: pa.Array, **options: Any) -> ChunkSizes:  # noqa: ANN401 - of the writer
    """The sizes that a footer gives for a file of windows that carries ``column``."""
    contexts = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8 * len(column), np.float32)), 8)
    pq.write_table(pa.table({"context": contexts, "note": column}), path, **options)
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    return footer.sizes


LONG, N_LONG = "x" * 2**21, 50
CODES = pa.DictionaryArray.from_arrays(pa.array(np.zeros(N_LONG, np.int32)), pa.array([LONG]))
LISTS = pa.ListArray.from_arrays(pa.array(np.arange(0, N_LONG + 1, 10, dtype=np.int32)), CODES)
AS_TEXT = {"store_schema": False, "use_dictionary": ["note", "note.list.element", "note.a"]}


@pytest.mark.parametrize(
    ("kind", "values", "row"),
    [
        ("text", CODES, 2**21),
        ("list", LISTS, 10 * 2**21),
        ("struct", pa.StructArray.from_arrays([CODES], ["a"]), 2**21),
    ],
)
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_value_that_is_written_once_counts_in_each_row(
    tmp_path: Path, kind: str, values: pa.Array, row: int, codec: str
) -> None:
    """The size of a row is its decoded size, bounded by its values and the largest possible value."""
    found = sizes_of(tmp_path / f"{kind}.parquet", values, compression=codec, **AS_TEXT)
    assert row <= found.carried_row < 1.02 * row + 100


def test_codes_count_as_codes(tmp_path: Path) -> None:
    """A dictionary column is never decoded: it takes its codes, and its dictionary once."""
    found = sizes_of(tmp_path / "c.parquet", CODES, use_dictionary=["note"])
    assert found.carried_row < 100
    assert found.dictionary >= 2**21


def test_repeated_numbers_count_each_time(tmp_path: Path) -> None:
    """Repeated numbers compress to almost nothing in the file, but take their full size in memory."""
    edges = pa.array(np.arange(11, dtype=np.int32) * 10**5)
    numbers = pa.ListArray.from_arrays(edges, pa.array(np.zeros(10**6, np.int64)))
    assert sizes_of(tmp_path / "n.parquet", numbers).carried_row == 8 * 10**5


def test_a_dictionary_bounds_the_size_of_its_values(tmp_path: Path) -> None:
    """The dictionary's largest value sets the bound, so many short texts in one chunk do not count as one long one."""
    texts = pa.array([f"{row}{'y' * 2000}" for row in range(9000)])
    path = tmp_path / "t.parquet"
    found = sizes_of(path, texts, dictionary_pagesize_limit=2**30)
    assert found.carried_row < 2100
    with open_parquet(str(path)) as file:
        assert largest_row(file, row_groups=[0], columns=["note"], most=2**15) < 2100


@settings(max_examples=60)
@given(st.lists(GROUPS, min_size=1, max_size=3), st.integers(1, 60), st.integers(1, 9))
def test_the_first_units_hold_the_first_rows(files: list[list[int]], n_rows: int, unit_rows: int) -> None:
    """They are cut as those of all rows are; at most the last one is shorter, and says so."""
    units = [
        unit
        for groups in files
        for unit in cut_units(footer_of(groups), unit_bytes=unit_rows * ROW_BYTES, shape=SHAPE)
    ]
    first = first_units(units, n_rows)
    assert sum(unit.n_rows for unit in first) == min(n_rows, sum(unit.n_rows for unit in units))
    assert first[:-1] == units[: len(first) - 1]
    assert [unit.is_cut for unit in first] == [unit not in units for unit in first]
    assert all(
        (unit.output, unit.first_row, unit.last_row_group)
        == (whole.output, whole.first_row, whole.last_row_group)
        for unit, whole in zip(first, units, strict=False)
    )


@pytest.mark.parametrize(("n_rows", "n_files"), [(1, 1), (5, 1), (6, 2), (8, 2), (9, 4)])
def test_no_file_is_opened_behind_the_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int, n_files: int
) -> None:
    """Nothing is known of the others; one that cannot be read has no rows, and is looked over."""
    write(tmp_path / "a.parquet", [2, 3])
    write(tmp_path / "b.parquet", [3])
    (tmp_path / "c.parquet").write_bytes(b"PAR1, but no footer")
    write(tmp_path / "d.parquet", [4])
    files, opened = find_files([str(tmp_path)]), []
    monkeypatch.setattr(first_rows, "open_parquet", lambda path: (opened.append(path), open_parquet(path))[1])
    assert first_files(files, n_rows) == files[:n_files]
    assert opened == [file.path for file in files[:n_files]]
