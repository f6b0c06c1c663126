"""Tests that carried values are the input's bit for bit, in the files and in both readers, which agree or
refuse by name.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import every_type
from support.datasets import encode, windows, write_windows
from support.documents import record_of, success_of
from support.every_type import all_exact
from support.outputs import as_arrow, as_polars, begin, write_output
from support.outputs import write_unit as commit_unit
from support.type_matrix import zeros

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.formats.common_types import common_type
from lvm_batch.io.output.writer import PredictionWriter
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


COLUMNS, AS_READ = every_type.columns(), every_type.as_read()
FILE = "in-00000.parquet"
NOT_IN_POLARS = {"decimal256", "struct of decimal256", "list view", "large list view"}
IDS = [
    "uint64",
    "double",
    "decimal256",
    "timestamp ns UTC",
    "string_view",
    "dictionary of int8",
    "list view",
    "map",
    "uuid",
]
"""A type of each kind: that a file carries every type is tested of an output's."""
FORMAT = DatasetFormat()


def write_both(folder: Path, columns: dict[str, pa.Array]) -> Path:
    """Write an input with these columns, and its output."""
    contexts = windows()[0][: every_type.N_ROWS]
    write_windows(folder / "in.parquet", contexts, columns=columns, row_group_rows=3)
    return write_zeros(folder, batch_rows=2)


def write_zeros(folder: Path, *, batch_rows: int) -> Path:
    """Write the output that a run makes of an input, with zeros for predictions."""
    [(_, footer)] = read_footers(find_files([str(folder / "in.parquet")]), FORMAT)
    assert isinstance(footer, Footer)
    [unit] = cut_units(footer, unit_bytes=2**30, shape=FORMAT.shape)
    opened = begin(str(folder / "out"), [unit.output])
    with opened.stage() as staged:
        with (
            open_unit(unit, FORMAT, batch_rows=batch_rows) as rows,
            PredictionWriter(staged, rows.carried_schema, dim=768, dtype="float32", reasons=("r",)) as writer,
        ):
            for batch in rows.batches:
                writer.write(zeros(batch))
            writer.close({})
        record = record_of(output=unit.output, input="/in/in.parquet", first_row=0, rows_out=unit.n_rows)
        opened.commit(staged, record)
    opened.mark_success(success_of())
    return folder / "out"


def repacked(folder: Path) -> Path:
    """Pack the input."""
    [source] = find_sources(find_files([str(folder / "in.parquet")]), Reading())
    [file], _, _ = pack([source], str(folder / "packed"), packing=Packing())
    return folder / "packed" / file.name


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an input with a column of every type."""
    return write_both(
        tmp_path_factory.mktemp("every"), {n: c for n, c in COLUMNS.items() if n not in NOT_IN_POLARS}
    )


def content(path: Path) -> pa.Table:
    """The content of a file; of dictionary lists Arrow cannot read two row groups at once."""
    file = pq.ParquetFile(path)
    return pa.concat_tables(file.read_row_group(number) for number in range(file.num_row_groups))


def as_they_are(table: pa.Table, names: Iterable[str]) -> dict[str, list[Any]]:
    """Every value of these columns in an exact form."""
    return {name: all_exact(table[name]) for name in names}


def test_values_of_every_type_are_carried(output: Path) -> None:
    """Every value of the input is in the output file with the same type, and in every reader."""
    was, file = content(output.parent / "in.parquet").drop_columns("context"), content(output / FILE)
    names = was.column_names
    assert file.select(names).schema.equals(was.schema, check_metadata=True)
    expected = {name: all_exact(COLUMNS[name]) for name in names}
    assert as_they_are(file, names) == expected
    assert as_they_are(as_polars(output), names) == expected
    assert as_they_are(pl.read_parquet(output / FILE).to_arrow(), names) == expected
    dataset = predictions_dataset(output)
    for name in names:  # Arrow cannot read two row groups of dictionary lists at once
        assert all_exact(dataset.to_table(columns=[name])[name]) == expected[name], name


def test_values_of_every_type_are_packed(output: Path, tmp_path: Path) -> None:
    """Columns packed beside the vectors keep their values and types."""
    (tmp_path / "in.parquet").symlink_to(output.parent / "in.parquet")
    was, packed = (
        content(path).drop_columns("context") for path in (tmp_path / "in.parquet", repacked(tmp_path))
    )
    assert packed.schema.equals(was.schema, check_metadata=False)
    assert all(all_exact(packed[name]) == all_exact(COLUMNS[name]) for name in was.column_names)


@pytest.mark.parametrize("name", IDS)
def test_ids_of_any_type_are_kept_in_a_bank(tmp_path: Path, name: str) -> None:
    """The bank's ids equal the source's, even if a vector is left out or another file has no ids."""
    values = np.repeat(np.array([1, 0, 2, 3], np.float32), 4)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values), 4)
    for number, columns in enumerate(({"vector": vectors, "id": COLUMNS[name]}, {"vector": vectors})):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet", row_group_size=3)
    build_bank(find_files([str(tmp_path / "*.parquet")]), str(tmp_path / "bank"))
    expected = all_exact(COLUMNS[name])
    del expected[1]
    assert all_exact(content(tmp_path / "bank/ids.parquet")["id"]) == [*expected, None, None, None]


@pytest.mark.parametrize("kinds", [(pa.int64(), pa.float64()), (pa.float64(), pa.int64())])
def test_ids_that_would_change_are_refused(tmp_path: Path, kinds: tuple[pa.DataType, ...]) -> None:
    """If no type holds the ids of two files, the error gives the file and both types."""
    for number, kind in enumerate(kinds):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, np.float32)), 4)
        pq.write_table(
            pa.table({"vector": vectors, "id": pa.array([1], kind)}), tmp_path / f"{number}.parquet"
        )
    with pytest.raises(ColumnError, match=rf"1\.parquet: column `id` is {kinds[1]}.* {kinds[0]}"):
        build_bank(find_files([str(tmp_path / "*.parquet")]), str(tmp_path / "bank"))


@pytest.mark.parametrize("name", sorted(NOT_IN_POLARS))
def test_what_polars_cannot_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    """The error names a column that polars has no type for, and the reader that does, which returns its values."""
    output = write_both(tmp_path, {"it": COLUMNS[name]})
    assert all_exact(predictions_dataset(output).to_table()["it"]) == all_exact(COLUMNS[name])
    with pytest.raises(ColumnError, match=r"polars has no type for .*`it`") as caught:
        read_predictions(output)
    assert "predictions_dataset" in caught.value.args[1]


TOGETHER = [
    pair
    for pair in combinations(sorted(AS_READ), 2)
    if common_type(*(AS_READ[name].type for name in pair)) is not None
]


def both(folder: Path, one: pa.Array, other: pa.Array) -> str:
    """Write an output of two files, the column with another type in each."""
    units = {f"{name}-00000.parquet": {"key": range(4), "it": it} for name, it in (("a", one), ("b", other))}
    write_output(str(folder), units)
    return str(folder)


@pytest.mark.parametrize("read", [as_arrow, as_polars])
def test_types_are_merged_if_no_value_changes(tmp_path: Path, read: Any) -> None:  # noqa: ANN401
    """Two types are read as one that holds all values of both."""
    pairs = {
        "|".join(pair): pair
        for pair in TOGETHER
        if not (beyond_nanoseconds(*pair) or (read is as_polars and is_refused(*pair)))
    }
    units = {
        f"{file}-00000.parquet": {name: AS_READ[pair[which]] for name, pair in pairs.items()}
        for which, file in enumerate("ab")
    }
    write_output(str(tmp_path), {file: {"key": range(4)} | columns for file, columns in units.items()})
    expected = {name: [*values_of(*pair), *values_of(*pair[::-1])] for name, pair in pairs.items()}
    assert as_they_are(read(tmp_path), pairs) == expected


@pytest.mark.parametrize("pair", [("timestamp ns UTC", "timestamp us UTC"), ("duration ns", "duration s")])
def test_a_time_that_the_finer_unit_has_no_room_for_is_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    """The end of year 9999 does not fit nanoseconds: both readers refuse instead of returning another time."""
    assert beyond_nanoseconds(*pair)
    output = both(tmp_path, *(AS_READ[name] for name in pair))
    with pytest.raises(pa.ArrowInvalid, match="would result in out of bounds"):
        as_arrow(output)
    with pytest.raises(pl.exceptions.InvalidOperationError, match="failed in column 'it'"):
        as_polars(output)


@pytest.mark.parametrize("pair", [("decimal128", "decimal64"), ("decimal256", "short decimal256")])
def test_numbers_of_more_digits_than_polars_holds_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Together they need more than 38 digits, for which Arrow has a type and polars does not."""
    assert is_refused(*pair)
    with pytest.raises(ColumnError, match=r"polars has no type .*`it`"):
        as_polars(both(tmp_path, *(AS_READ[name] for name in pair)))


def values_of(name: str, other: str) -> list[Any]:
    """The values of a column, read together with the other column."""
    kind, values = common_type(AS_READ[name].type, AS_READ[other].type), AS_READ[name]
    return all_exact(values.cast(kind) if re.search("float|double", str(kind)) else values)


def is_refused(*names: str) -> bool:
    """Whether polars has no type for either column, or for both together."""
    digits = getattr(common_type(*(AS_READ[name].type for name in names)), "precision", 0)
    return bool(NOT_IN_POLARS.intersection(names)) or digits > 38


def beyond_nanoseconds(*names: str) -> bool:
    """Whether the end of year 9999 would need nanoseconds."""
    kinds = [AS_READ[name].type for name in names]
    units = {kind.unit for kind in kinds if pa.types.is_timestamp(kind) or pa.types.is_duration(kind)}
    return "ns" in units and len(units) > 1


APART = [
    ("int64", "double"),
    ("uint64", "int8"),
    ("timestamp us UTC", "timestamp us Europe/Berlin"),
    ("timestamp us UTC", "timestamp us None"),
    ("date32", "timestamp us None"),
    ("timestamp us None", "duration us"),
    ("string", "binary"),
    ("bool", "int8"),
    ("decimal128", "double"),
    ("decimal128", "int64"),
    ("struct", "struct of lists"),
    ("list", "int64"),
    ("list of floats", "list"),
    ("uuid", "binary of 2"),
    ("json", "string"),
    ("dictionary of int64", "double"),
    ("list view", "list"),
    ("large list view", "null"),
]


@pytest.mark.parametrize("read", [as_arrow, as_polars])
@pytest.mark.parametrize(("one", "other"), APART)
def test_types_that_would_change_a_value_are_refused(tmp_path: Path, read: Any, one: str, other: str) -> None:  # noqa: ANN401
    """The message gives the column, both types and both files; the hint says what to do."""
    output = both(tmp_path, AS_READ[one], AS_READ[other])
    with pytest.raises(ColumnError) as caught:
        read(output)
    message, hint = caught.value.args
    kinds = [str(AS_READ[name].type) for name in (one, other)]
    assert all(part in message for part in ("`it`", "a-00000.parquet", "b-00000.parquet", *kinds))
    assert "one type" in hint


@pytest.mark.parametrize("read", [as_arrow, as_polars])
def test_integers_and_floats_are_merged_if_no_value_changes(tmp_path: Path, read: Any) -> None:  # noqa: ANN401
    """Integers of 31 bits and floats of 24 are read as floats of 53 bits."""
    column = read(both(tmp_path, pa.array([2**31 - 1] * 4, pa.int32()), pa.array([0.1] * 4, pa.float32())))[
        "it"
    ]
    assert column.type == pa.float64()
    assert column.to_pylist() == [2**31 - 1] * 4 + [float(np.float32(0.1))] * 4


@pytest.mark.parametrize("read", [as_arrow, as_polars])
def test_a_file_is_compared_with_every_file_before_it(tmp_path: Path, read: Any) -> None:  # noqa: ANN401
    """The error names the first file whose type is incompatible with an earlier one."""
    kinds = {"a": pa.nulls(1), "b": pa.array([1], pa.int8()), "c": pa.array([2**60]), "d": pa.array([0.5])}
    write_output(str(tmp_path), {f"{name}-00000.parquet": {"key": [1], "it": kinds[name]} for name in kinds})
    with pytest.raises(ColumnError, match=r"d-00000\.parquet does not match .*c-00000\.parquet"):
        read(tmp_path)


def test_a_column_that_a_file_lacks_may_be_null(tmp_path: Path) -> None:
    """If one file lacks the column, or allows nulls in it, the merged column allows nulls."""
    required = pa.schema(
        [pa.field("key", pa.int64(), nullable=False), pa.field("it", pa.int64(), nullable=False)]
    )
    folder = begin(str(tmp_path), ["a-00000.parquet", "b-00000.parquet"])
    commit_unit(folder, "a-00000.parquet", pa.table([[1], [2]], schema=required))
    commit_unit(folder, "b-00000.parquet", pa.table({"key": [3]}))
    folder.mark_success(success_of())
    schema = predictions_dataset(tmp_path).schema
    assert schema.field("it").nullable
    assert predictions_dataset(tmp_path).to_table()["it"].to_pylist() == [2, None]
    assert read_predictions(tmp_path).collect()["it"].to_list() == [2, None]


def labels(first: int) -> pa.Array:
    """A hundred rows with one dictionary value each, under 8-bit codes."""
    names = [f"label {first + number}" for number in range(100)]
    return pa.DictionaryArray.from_arrays(pa.array(range(100), pa.int8()), names)


@pytest.mark.parametrize("nested", [False, True])
def test_dictionaries_may_exceed_their_codes_together(tmp_path: Path, nested: bool) -> None:  # noqa: FBT001
    """Row groups with few values each, which together exceed one dictionary, are written unchanged."""
    chunks = [labels(90 * number) for number in range(3)]
    if nested:
        chunks = [pa.StructArray.from_arrays([chunk], ["of"]) for chunk in chunks]
    tables = [pa.table({"context": encode(windows()[0][:100], "binary"), "it": chunk}) for chunk in chunks]
    with pq.ParquetWriter(tmp_path / "in.parquet", tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    expected = all_exact(pa.chunked_array(chunks))
    for path in (write_zeros(tmp_path, batch_rows=250) / "in-00000.parquet", repacked(tmp_path)):
        assert all_exact(content(path)["it"]) == expected
        assert pq.read_schema(path).field("it").type == chunks[0].type
