"""Columns of every type as four libraries write them to Parquet, carried by a job, and read by eight readers."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as t

from lvm_batch.io import predictions_dataset, read_predictions
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.errors import DataError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.writer import PredictionBlock, PredictionWriter
from lvm_batch.io.tables.opening import open_table
from lvm_batch.io.tables.registration import table_columns
from lvm_batch.jobs.prediction.results.registration import register
from support import every_type
from support.datasets import windows, write_windows
from support.documents import record_of, success_of
from support.every_type import all_exact
from support.outputs import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lvm_batch.io.dataset.batches import Batch

NAME = "value"
N_ROWS = every_type.N_ROWS
FORMAT = DatasetFormat()
ICEBERG = "iceberg:local.ns.rows"

EQUAL, REFUSED, NOT_READ = "equal", "refused", "not read"
"""What a reader makes of a column: its values to the bit; an error of ours that names it; an error of its own."""


def write_pyarrow(path: Path) -> None:
    """Every type of Arrow that Parquet takes."""
    _each(path, every_type.columns(), lambda one, where: pq.write_table(pa.table({NAME: one}), where))


def write_polars(path: Path) -> None:
    """Every type of polars: those of Arrow that it takes over, and its own."""
    own = {
        "categorical": pl.Series(["a", None, "b", "a"], dtype=pl.Categorical),
        "enum": pl.Series(["a", None, "b", "a"], dtype=pl.Enum(["a", "b", "c"])),
        "array": pl.Series([[1, 2], [3, None], [5, 6], [7, 8]], dtype=pl.Array(pl.Int64, 2)),
        "list of enums": pl.Series([["a"], None, [], ["b"]], dtype=pl.List(pl.Enum(["a", "b"]))),
        "int128": pl.Series([2**100, None, -1, 1], dtype=pl.Int128),
        "empty struct": pl.Series([{}, None, {}, {}], dtype=pl.Struct([])),
    }
    series = {
        name: taken
        for name, column in every_type.columns().items()
        if (taken := _in_polars(column)) is not None
    }
    _each(path, series | own, lambda one, where: pl.DataFrame({NAME: one}).write_parquet(where))


def _in_polars(column: pa.Array) -> pl.Series | None:
    try:
        return pl.Series(column)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - polars panics at types that it lacks
        return None


_WITH_NULL = ", with a NULL"
_SQL = {
    "TINYINT": "[-128, NULL, 127, 1]",
    "SMALLINT": "[-32768, NULL, 32767, 1]",
    "INTEGER": "[-2147483648, NULL, 2147483647, 1]",
    "BIGINT": "[-9223372036854775808, NULL, 9223372036854775807, 1]",
    "UTINYINT": "[0, NULL, 255, 1]",
    "USMALLINT": "[0, NULL, 65535, 1]",
    "UINTEGER": "[0, NULL, 4294967295, 1]",
    "UBIGINT": "[0, NULL, 18446744073709551615, 1]",
    "HUGEINT": "[170141183460469231731687303715884105727, NULL, -1, 1]",
    "UHUGEINT": "[1, NULL, 18446744073709551616, 1]",
    "BOOLEAN": "[true, NULL, false, true]",
    "FLOAT": "['nan', NULL, '-0.0', '1e-45']",
    "DOUBLE": "['nan', NULL, '-0.0', '5e-324']",
    "DECIMAL(4,2)": "[12.34, NULL, -0.01, 1]",
    "DECIMAL(18,6)": "[123456789012.345678, NULL, -0.000001, 1]",
    "DECIMAL(38,10)": "['9999999999999999999999999999.9999999999', NULL, '-1', '1']",
    "VARCHAR": "['ü', NULL, '', 'a']",
    "BLOB": "['\\xFF'::BLOB, NULL, ''::BLOB, 'a'::BLOB]",
    "BIT": "['101', NULL, '1', '0']",
    "DATE": "['9999-12-31', NULL, '0001-01-01', '1969-12-31']",
    "TIME": "['23:59:59.999999', NULL, '00:00:00', '00:00:01']",
    "TIMETZ": "['23:59:59.999999+02', NULL, '00:00:00+00', '00:00:01-05']",
    "TIMESTAMP": "['9999-12-31 23:59:59.999999', NULL, '1969-12-31 23:59:59.999999', '1970-01-01']",
    "TIMESTAMP_S": "['9999-12-31 23:59:59', NULL, '1969-12-31 23:59:59', '1970-01-01']",
    "TIMESTAMP_MS": "['9999-12-31 23:59:59.999', NULL, '1969-12-31 23:59:59.999', '1970-01-01']",
    "TIMESTAMP_NS": "['2261-12-31 23:59:59.999999999', NULL, '1969-12-31 23:59:59.999999999', '1970-01-01']",
    "TIMESTAMPTZ": "['9999-12-31 21:59:59.999999+00', NULL, '1969-12-31 23:59:59.999999+00', '1970-01-01 00:00:00+00']",
    "INTERVAL": "['1 month 2 days 3 ms', NULL, '1 day', '0 days']",
    "UUID": f"['{uuid.UUID(int=1)}', NULL, '{uuid.UUID(int=2**128 - 1)}', '{uuid.UUID(int=0)}']",
    "ENUM('a', 'b')": "['a', NULL, 'b', 'a']",
    "JSON": "['{\"a\": 1}', NULL, '[9007199254740993]', '1']",
    "BIGINT[]": "[[9007199254740993, NULL], NULL, [], [1]]",
    "BIGINT[2]": "[[1, 2], [3, NULL], [4, 5], [5, 6]]",
    f"BIGINT[2]{_WITH_NULL}": "[[1, 2], [3, NULL], NULL, [5, 6]]",
    "STRUCT(a BIGINT, b VARCHAR)": "[{'a': 9007199254740993, 'b': 'x'}, NULL, {'a': NULL, 'b': NULL}, NULL]",
    "MAP(VARCHAR, BIGINT)": "[MAP {'k': 9007199254740993}, NULL, MAP {}, MAP {'l': NULL}]",
}
"""Values of each type of DuckDB that it writes to Parquet."""


def write_duckdb(path: Path) -> None:
    """Every type of DuckDB."""
    with duckdb.connect() as base:
        for name, values in _SQL.items():
            kind = name.removesuffix(_WITH_NULL)
            query = f"SELECT unnest({values}::{kind}[]) AS {NAME}"
            _one(
                path,
                name,
                lambda where, query=query: base.execute(f"COPY ({query}) TO '{where}' (FORMAT parquet)"),
            )


def write_pandas(path: Path) -> None:
    """Every type of pandas that it writes."""
    moment = dt.datetime(2026, 11, 30, 1, 2, 3, 456789, dt.UTC)
    series = {
        "int64": pd.Series([1, 2, 3, 2**53 + 1]),
        "Int8": pd.Series([1, None, -128, 127], dtype="Int8"),
        "UInt64": pd.Series([1, None, 2**64 - 1, 0], dtype="UInt64"),
        "float64": pd.Series([1.5, np.nan, -0.0, 5e-324]),
        "Float32": pd.Series([1.5, None, -0.0, 1e-45], dtype="Float32"),
        "boolean": pd.Series([True, None, False, True], dtype="boolean"),
        "str": pd.Series(["ü", None, "", "a"]),
        "string": pd.Series(["ü", None, "", "a"], dtype="string"),
        "category": pd.Series(["b", None, "a", "b"], dtype="category"),
        "ordered category": pd.Series(pd.Categorical(["b", None, "a", "b"], ["b", "a"], ordered=True)),
        "category of numbers": pd.Series([3, None, 1, 3], dtype="category"),
        "datetime64[s]": pd.Series([moment.replace(tzinfo=None), pd.NaT] * 2).astype("datetime64[s]"),
        "datetime64[us]": pd.Series([moment.replace(tzinfo=None), pd.NaT] * 2).astype("datetime64[us]"),
        "datetime64[ns]": pd.Series([pd.Timestamp(1), pd.NaT] * 2).astype("datetime64[ns]"),
        "datetime64[ns, UTC]": pd.Series([pd.Timestamp(moment), pd.NaT] * 2).dt.as_unit("ns"),
        "datetime64[us, Europe/Berlin]": pd.Series([pd.Timestamp(moment), pd.NaT] * 2).dt.tz_convert(
            "Europe/Berlin"
        ),
        "timedelta64[ns]": pd.Series([pd.Timedelta(1), pd.NaT] * 2).astype("timedelta64[ns]"),
        "period": pd.Series(pd.period_range("2026-01", periods=4, freq="M")),
        "interval": pd.Series(pd.interval_range(0, 4)),
        "dates": pd.Series(
            [dt.date(9999, 12, 31), None, dt.date(1, 1, 1), dt.date(1970, 1, 1)], dtype=object
        ),
        "times": pd.Series([dt.time(23, 59, 59, 999999), None, dt.time(0), dt.time(1)], dtype=object),
        "decimals": pd.Series([decimal.Decimal("1.10"), None, decimal.Decimal("-2.25"), None], dtype=object),
        "bytes": pd.Series([b"\xff", None, b"", b"a"], dtype=object),
        "lists": pd.Series([[1, 2], None, [], [2**53 + 1]], dtype=object),
        "dicts": pd.Series([{"a": 1}, None, {"a": None}, {"a": 2**53 + 1}], dtype=object),
        "nothing": pd.Series([None] * 4, dtype=object),
    }
    _each(path, series, lambda one, where: one.to_frame(NAME).to_parquet(where, index=False))


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "pyarrow": write_pyarrow,
    "polars": write_polars,
    "DuckDB": write_duckdb,
    "pandas": write_pandas,
}


def _each(path: Path, series: Mapping[str, Any], write: Callable[[Any, Path], object]) -> None:
    """Write a file for each column, with its name beside it."""
    for name, one in series.items():
        _one(path, name, lambda where, one=one: write(one, where))


def _one(path: Path, name: str, write: Callable[[Path], object]) -> None:
    where = path / f"{len(list(path.iterdir())):03}.parquet"
    try:
        write(where)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the library does not write this type; polars panics
        where.unlink(missing_ok=True)
        where.with_suffix(".not").write_text(f"{name}: {error}")
    else:
        where.with_suffix(".name").write_text(name)


def written(writer: str, folder: Path) -> dict[str, Path]:
    """The files that a library has written, each with one column, by its own names of types."""
    folder.mkdir()
    WRITERS[writer](folder)
    return {file.read_text(): file.with_suffix(".parquet") for file in sorted(folder.glob("*.name"))}


def carry(column: pa.Table, folder: Path) -> Path:
    """Write an input with vectors and the column, and the output that a run makes of it, with zeros for predictions."""
    write_windows(
        folder / "in.parquet", windows()[0][:N_ROWS], columns={NAME: column[NAME]}, row_group_rows=3
    )
    [(_, footer)] = read_footers(find_files([str(folder / "in.parquet")]), FORMAT)
    assert isinstance(footer, Footer), footer
    [unit] = cut_units(footer, unit_bytes=2**30, shape=FORMAT.shape)
    opened = begin(str(folder / "out"), [unit.output])
    with opened.stage() as staged:
        with (
            open_unit(unit, FORMAT, batch_rows=2) as rows,
            PredictionWriter(staged, rows.carried_schema, dim=768, dtype="float32", reasons=("r",)) as writer,
        ):
            for batch in rows.batches:
                writer.write(zeros(batch))
            writer.close({})
        record = record_of(output=unit.output, input="/in/in.parquet", first_row=0, rows_out=unit.n_rows)
        opened.commit(staged, record)
    opened.mark_success(success_of())
    return folder / "out"


def zeros(batch: Batch) -> PredictionBlock:
    """A block that carries the batch's columns."""
    number = np.zeros(batch.n_rows, np.float32)
    return PredictionBlock(
        carried=batch.carried,
        prediction=np.zeros((batch.n_rows, 768), np.float32),
        cosine=number,
        route=np.zeros(batch.n_rows, np.int8),
        reasons=np.zeros((batch.n_rows, 1), np.bool_),
        confidence=number,
        margin=number,
        amn_cosine=number,
        gru_cosine=number,
        shadow=number > 0,
        status=batch.status,
        details=batch.details,
    )


def by_file(output: Path) -> pa.ChunkedArray:
    """Arrow; of dictionary lists it cannot read two row groups at once."""
    file = pq.ParquetFile(output / "in-00000.parquet")
    groups = [file.read_row_group(number, columns=[NAME]) for number in range(file.num_row_groups)]
    return pa.concat_tables(groups)[NAME]


def by_dataset(output: Path) -> pa.ChunkedArray:
    """``predictions_dataset``."""
    return predictions_dataset(output).to_table(columns=[NAME])[NAME]


def by_frame(output: Path) -> pa.ChunkedArray:
    """``read_predictions``."""
    return read_predictions(output).select(NAME).collect().to_arrow()[NAME]


def by_polars(output: Path) -> pa.ChunkedArray:
    """Polars by itself."""
    return pl.read_parquet(output / "in-00000.parquet", columns=[NAME]).to_arrow()[NAME]


def by_duckdb(output: Path) -> pa.ChunkedArray:
    """DuckDB by itself."""
    with duckdb.connect() as base:
        return base.read_parquet(f"{output}/in-00000.parquet").project(NAME).to_arrow_table()[NAME]


def by_delta(output: Path) -> pa.ChunkedArray:
    """The Delta table, by deltalake."""
    from deltalake import DeltaTable

    _register("delta", output)
    return DeltaTable(output).to_pyarrow_table(columns=[NAME])[NAME]


def by_iceberg(output: Path) -> pa.ChunkedArray:
    """The Iceberg table, by pyiceberg."""
    from pyiceberg.catalog import load_catalog

    _register(ICEBERG, output)
    catalog = load_catalog("local")
    try:
        return catalog.load_table("ns.rows").scan(selected_fields=(NAME,)).to_arrow()[NAME]
    finally:
        catalog.drop_table("ns.rows")


def _register(name: str, output: Path) -> None:
    """Register an output, and check that the table would take more files with the same columns."""
    folder = OutputFolder(str(output))
    register(name, folder, folder.required_job(), folder.recorded())
    table = open_table(name, str(output))
    schema = pq.read_schema(output / "in-00000.parquet")
    columns, errors = table_columns(table, [("in", schema)], pa.schema([]))
    for error in (*errors, *table.refusals(columns, ["in-00000.parquet"])):
        raise RuntimeError(error)


READERS: Mapping[str, Callable[[Path], pa.ChunkedArray]] = {
    "pyarrow": by_file,
    "`predictions_dataset`": by_dataset,
    "`read_predictions`": by_frame,
    "polars": by_polars,
    "DuckDB": by_duckdb,
    "Delta Lake": by_delta,
    "Iceberg": by_iceberg,
}
OURS = ("pyarrow", "`predictions_dataset`", "`read_predictions`", "Delta Lake", "Iceberg")
"""Readers that must have every value, or refuse by name."""


def outcome(reader: str, output: Path, column: pa.ChunkedArray) -> str:
    """What a reader makes of the column of an output, which was ``column`` in the input."""
    try:
        read = READERS[reader](output)
    except DataError as error:
        return REFUSED if f"`{NAME}`" in str(error) else str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - whatever a reader of others raises; polars panics
        return NOT_READ
    is_number = t.is_duration(column.type) and t.is_integer(read.type)
    is_equal = all_exact(read) == all_exact(column) and not is_number
    return EQUAL if is_equal else f"as {read.type}"


def family(kind: pa.DataType) -> str:
    """The name of a type in the documentation: types whose values are kept alike have one."""
    if isinstance(kind, pa.BaseExtensionType):
        return "uuid" if kind == pa.uuid() else "other extension types"
    if t.is_dictionary(kind):
        return "dictionary"
    if t.is_decimal(kind):
        few = " of up to 38 digits" if t.is_decimal256(kind) and kind.precision <= _FEW_DIGITS else ""
        return f"decimal{kind.bit_width}{few}"
    if t.is_timestamp(kind):
        zone = {None: "", "UTC": ", UTC"}.get(kind.tz, ", other zone")
        return f"timestamp[{'ns' if kind.unit == 'ns' else 'us'}{zone}]"
    if t.is_duration(kind):
        return "duration"
    return {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), _plain(kind))


_FEW_DIGITS = 38


def _plain(kind: pa.DataType) -> str:
    """The name of a type without what is in it."""
    return str(kind).partition("<")[0].replace("fixed_size_binary", "fixed_size_binary[").partition("[[")[0]


def parts(kind: pa.DataType) -> list[pa.DataType]:
    """The types within a nested one."""
    if isinstance(kind, pa.BaseExtensionType):
        return []
    if t.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [kind.field(number).type for number in range(kind.num_fields)]


def as_table(outcomes: Mapping[str, tuple[str, ...]]) -> str:
    """The outcomes of types as a Markdown table, a line for all types that are alike."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(outcomes):
        alike.setdefault(outcomes[name], []).append(name)
    lines = sorted(alike.items(), key=lambda item: (sum(each != EQUAL for each in item[0]), item[1]))
    head = ["type", *READERS]
    rows = [[", ".join(names), *cells] for cells, names in lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])
