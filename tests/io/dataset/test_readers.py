"""Tests of the readers of both layouts against a plain implementation of the rules, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.overlap import DatasetReach
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.errors import DataError, InputNotFound
from lvm_batch.io.schema import STATUSES, WindowShape
from lvm_batch.io.storage.locations import bucket_of, locate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.io.schema import Pad

pytestmark = pytest.mark.slow

LENGTH, DIM = 5, 4
FORMAT = DatasetFormat(shape=WindowShape(length=LENGTH, dim=DIM))
FLAWS = {
    "nan": [1.0, math.nan, 1.0, 1.0],
    "inf": [1.0, 1.0, -math.inf, 1.0],
    "null": [1.0, None, 1.0, 1.0],
    "wrong_length: 3": [1.0, 1.0, 1.0],
    "wrong_length: 0": [],
    "wrong_length: 8": [1.0] * 8,
}
PADS: list[Pad | None] = [None, "repeat", "zero", "reject"]


@dataclass(frozen=True)
class Chunking:
    """Row counts: rows in a row group, in a unit, in a batch."""

    group_rows: int
    unit_rows: int
    batch_rows: int


@dataclass(frozen=True)
class Read:
    """What the readers return for one row; missing floats are NaN."""

    status: str
    detail: str | None
    context: list[list[float]] | None
    target: list[float] | None
    tokens: float | None
    lane: str | None
    carried: dict[str, Any]


CHUNKINGS = st.builds(Chunking, st.integers(1, 14), st.integers(1, 30), st.integers(1, 9))


def write(path: Path, table: pa.Table, group_rows: int) -> Path:
    """Write a file in row groups, with empty row groups between them."""
    with pq.ParquetWriter(path, table.schema) as writer:
        for first in range(0, table.num_rows, group_rows):
            writer.write_table(table.slice(first, group_rows))
            if first % 2:
                writer.write_table(table.slice(0, 0))
    return path


def read_rows(
    path: Path | str, chunking: Chunking, pad: Pad | None, fmt: DatasetFormat = FORMAT
) -> list[Read]:
    """Read every row of a file with the given row counts."""
    ((_, footer),) = read_footers(find_files([str(path)]), fmt)
    if not isinstance(footer, Footer):
        raise footer
    row_bytes = DIM * 4 * (LENGTH if footer.roles.layout == "windows" else 1)
    rows_read: list[Read] = []
    for unit in cut_units(footer, unit_bytes=chunking.unit_rows * row_bytes, shape=fmt.shape):
        with open_unit(unit, fmt, batch_rows=chunking.batch_rows, pad=pad) as rows:
            for batch in rows.batches:
                assert batch.first_row == len(rows_read)
                assert batch.carried.schema.equals(rows.carried_schema)
                rows_read.extend(as_read(batch, row) for row in range(batch.n_rows))
    return rows_read


def as_read(batch: Any, row: int) -> Read:  # noqa: ANN401
    """One row of a batch, copied out of the shared buffers; a context only if the row is ok."""
    status = STATUSES[batch.status[row]]
    return Read(
        status=status,
        detail=batch.details.get(row),
        context=batch.contexts[row].tolist() if status == "ok" else None,
        target=as_python(None if batch.targets is None else batch.targets[row]),
        tokens=as_python(None if batch.context_tokens is None else batch.context_tokens[row]),
        lane=None if batch.lanes is None else batch.lanes[row],
        carried=batch.carried.slice(row, 1).to_pylist()[0],
    )


def as_python(value: Any) -> Any:  # noqa: ANN401
    """A number or a vector as plain Python, `None` if it is all NaN."""
    return None if value is None or np.isnan(value).all() else value.tolist()


# The sequences layout


def sequences_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of a few articles with 1 to 12 rows each, with random flaws and nulls."""
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 5))):
        article = draw(st.sampled_from([f"article {number}", f"article {number}", f"article {number}", None]))
        position = draw(st.integers(0, 5))
        for _ in range(draw(st.integers(1, 12))):
            flaw = draw(st.sampled_from([None] * 14 + ["zero", "zero", "null row", *FLAWS]))
            i = len(rows)
            usual: list[Any] | None = [float(i), i + 0.25, -float(i), 1.0]
            vector = {None: usual, "zero": [0.0] * DIM, "null row": None}.get(flaw, FLAWS.get(flaw or ""))
            tokens = draw(st.sampled_from([None, 1, 10, 100, 1000]))
            rows.append(
                {
                    "vector": vector,
                    "article_id": article,
                    "position": position,
                    "tokens": tokens,
                    "flaw": flaw,
                    "i": i,
                }
            )
            position += draw(st.sampled_from([1, 1, 1, 0, 3]))
    return rows


SEQUENCES = st.composite(sequences_of)()
LISTS = {"list": pa.list_(pa.float32()), "large list": pa.large_list(pa.float64())}
ARTICLES = {
    "string": pa.string(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "large string": pa.large_string(),
}


def sequences_table(rows: list[dict[str, Any]], encoding: str = "list", article: str = "string") -> pa.Table:
    """The rows as a table."""
    kinds = {
        "vector": LISTS[encoding],
        "article_id": pa.string(),
        "position": pa.int32(),
        "tokens": pa.int16(),
    }
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    ids = table["article_id"]
    ids = ids.dictionary_encode() if article == "dictionary" else ids.cast(ARTICLES[article])
    return table.set_column(1, "article_id", ids).append_column(
        "i", pa.array([row["i"] for row in rows], pa.int64())
    )


def expected_sequences(rows: list[dict[str, Any]], pad: Pad | None) -> list[Read]:
    """The expected result for each row, from the rules, one row at a time."""
    return [expected_window(rows, i, pad) for i in range(len(rows))]


def same_article(rows: list[dict[str, Any]], i: int, j: int) -> bool:
    """Whether two neighbouring rows belong to the same article; null articles never match."""
    inside = 0 <= i < len(rows) and 0 <= j < len(rows)
    return inside and rows[i]["article_id"] is not None and rows[i]["article_id"] == rows[j]["article_id"]


def expected_window(rows: list[dict[str, Any]], i: int, pad: Pad | None) -> Read:
    """The expected window that ends at row i."""
    window = [rows[i]]
    while len(window) < LENGTH and same_article(rows, i - len(window), i - len(window) + 1):
        window.insert(0, rows[i - len(window)])
    short = len(window) < LENGTH
    status, detail, context = "ok", None, None
    if short and pad in {None, "reject"}:
        status = "short_context"
    elif any(flaw_of(row) for row in window):
        first = next(row for row in window if flaw_of(row))
        status, detail = "bad_input", f"{flaw_of(first)}: position {first['position']}"
    elif all(row["flaw"] == "zero" for row in window):
        status, detail = "bad_input", "zero_norm"
    else:
        detail = f"padded: {len(window)}" if short else None
        vectors = [row["vector"] for row in window]
        front = vectors[0] if pad == "repeat" else [0.0] * DIM
        context = [front] * (LENGTH - len(window)) + vectors
    following = rows[i + 1] if same_article(rows, i, i + 1) else None
    tokens = [row["tokens"] for row in window]
    return Read(
        status=status,
        detail=detail,
        context=context,
        target=following["vector"] if following and not flaw_of(following) else None,
        tokens=None if None in tokens else float(sum(tokens)),
        lane=None,
        carried={name: rows[i][name] for name in ("article_id", "position", "tokens", "i")},
    )


def flaw_of(row: dict[str, Any]) -> str | None:
    """What makes a vector bad; zeros do not."""
    flaw = "null" if row["flaw"] == "null row" else row["flaw"]
    return None if flaw == "zero" else flaw


@settings(max_examples=75)
@given(
    rows=SEQUENCES,
    chunking=CHUNKINGS,
    pad=st.sampled_from(PADS),
    encoding=st.sampled_from(sorted(LISTS)),
    article=st.sampled_from(sorted(ARTICLES)),
)
def test_sequences_are_windows_over_their_articles(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    chunking: Chunking,
    pad: Pad | None,
    encoding: str,
    article: str,
) -> None:
    """The result for a row does not depend on how the file is cut into row groups, units and batches."""
    table = sequences_table(rows, encoding, article)
    path = write(tmp_path_factory.getbasetemp() / "sequences.parquet", table, chunking.group_rows)
    assert read_rows(path, chunking, pad) == expected_sequences(rows, pad)


def plain_sequences(lengths: list[int]) -> list[dict[str, Any]]:
    """Articles of these lengths, without flaws."""
    return [
        {
            "vector": [number + 1.0, position, 0.5, 0.5],
            "article_id": f"article {number}",
            "position": position,
            "tokens": 7,
            "flaw": None,
            "i": sum(lengths[:number]) + position,
        }
        for number, length in enumerate(lengths)
        for position in range(length)
    ]


def test_an_article_of_n_rows_has_n_minus_five_scored_windows(tmp_path: Path) -> None:
    """Four rows are short and the last row has no target; articles of 1 to 4 rows have no full window."""
    path = write(tmp_path / "s.parquet", sequences_table(plain_sequences([1, 2, 3, 4, 5, 9])), 100)
    rows_read = read_rows(path, Chunking(100, 100, 100), None)
    assert [row.status for row in rows_read] == ["short_context"] * 10 + (["short_context"] * 4 + ["ok"]) + (
        ["short_context"] * 4 + ["ok"] * 5
    )
    assert [i for i, row in enumerate(rows_read) if row.context and row.target] == [19, 20, 21, 22]
    assert rows_read[14].target is None
    assert rows_read[14].tokens == 35.0


@pytest.mark.parametrize("kind", ["uuid", "null", "nan", "int", "float"])
def test_article_ids_of_odd_types(tmp_path: Path, kind: str) -> None:
    """UUIDs and numbers are valid article ids; rows with a null or NaN id have no article."""
    rows = plain_sequences([6, 6])
    ids = {
        "uuid": lambda: pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([row["article_id"].rjust(16).encode() for row in rows], pa.binary(16))
        ),
        "null": lambda: pa.nulls(12, pa.int64()),
        "nan": lambda: pa.array([float("nan")] * 12),
        "int": lambda: pa.array([int(row["article_id"][-1]) for row in rows]),
        "float": lambda: pa.array([float(row["article_id"][-1]) for row in rows]),
    }[kind]()
    path = write(tmp_path / "ids.parquet", sequences_table(rows).set_column(1, "article_id", ids), 5)
    for chunking in (Chunking(5, 5, 3), Chunking(5, 100, 100), Chunking(5, 1, 1)):
        statuses = [row.status for row in read_rows(path, chunking, None)]
        one = ["short_context"] * 4 + ["ok"] * 2
        assert statuses == (["short_context"] * 12 if kind in {"null", "nan"} else one + one)


def test_null_articles_join_no_window(tmp_path: Path) -> None:
    """Rows without an article stand alone, however many there are, and split the article around them."""
    rows = plain_sequences([12])
    for i in (5, 6):
        rows[i]["article_id"] = None
    path = write(tmp_path / "n.parquet", sequences_table(rows), 4)
    rows_read = read_rows(path, Chunking(4, 4, 3), None)
    assert [row.status == "ok" for row in rows_read] == [i in (4, 11) for i in range(12)]
    padded = read_rows(path, Chunking(4, 4, 3), "repeat")
    assert [row.detail for row in padded[5:8]] == ["padded: 1"] * 3
    assert padded[4].target is None


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), chunking=CHUNKINGS, data=st.data())
def test_falling_positions_are_an_error_that_names_the_row(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], chunking: Chunking, data: st.DataObject
) -> None:
    """Positions may restart with each article but not fall within one: the error names file, article and row."""
    rows = plain_sequences([*lengths, 2])
    inside = [i for i in range(1, len(rows)) if rows[i]["article_id"] == rows[i - 1]["article_id"]]
    at = data.draw(st.sampled_from(inside))
    rows[at]["position"] = rows[at - 1]["position"] - 1
    path = write(tmp_path_factory.getbasetemp() / "order.parquet", sequences_table(rows), chunking.group_rows)
    with pytest.raises(DataError) as error:
        read_rows(path, chunking, None)
    message, hint = error.value.args
    assert "order.parquet" in message
    assert rows[at]["article_id"] in message
    assert f"at row {at}" in message
    assert "lvm-batch pack DATASET --sort --output DIR" in hint


@pytest.mark.parametrize("unit_rows", [2, 100])
@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (pa.int64(), 2**53),
        (pa.int64(), -(2**63)),
        (pa.int64(), 2**63 - 9),
        (pa.uint64(), 2**64 - 9),
        (pa.float64(), 0.5),
        (pa.float16(), 0.5),
    ],
)
def test_positions_are_compared_in_their_own_type(
    tmp_path: Path, kind: pa.DataType, first: float, unit_rows: int
) -> None:
    """Positions are not converted to float64, which is exact up to 2**53 only: larger ones could fall unnoticed."""
    rows = plain_sequences([8])
    table = sequences_table(rows)
    chunking = Chunking(unit_rows, unit_rows, 3)

    def read(positions: list[float]) -> list[Read]:
        column = pa.array(positions, kind)
        return read_rows(
            write(tmp_path / "p.parquet", table.set_column(2, "position", column), chunking.group_rows),
            chunking,
            None,
        )

    assert len(read([first + i for i in range(8)])) == 8
    with pytest.raises(DataError, match=r"position \S+ follows \S+ at row 4") as error:
        read([first + i for i in (0, 1, 2, 4, 3, 5, 6, 7)])
    assert f"position {first + 3} follows {first + 4} " in error.value.args[0]


def test_unknown_positions_do_not_fall(tmp_path: Path) -> None:
    """A null or NaN position never counts as falling."""
    for unknown in (None, float("nan")):
        positions = pa.array([3.0, unknown, 4.0, unknown, 5.0, 6.0])
        table = sequences_table(plain_sequences([6])).set_column(2, "position", positions)
        assert len(read_rows(write(tmp_path / "p.parquet", table, 3), Chunking(3, 3, 2), None)) == 6


def test_of_neighbours_only_what_windows_need_is_read(tmp_path: Path) -> None:
    """Of the rows before and after a unit only the columns for windows are read, even if other columns are damaged."""
    table = sequences_table(plain_sequences([30])).append_column("text", pa.array(["x" * 50] * 30))
    path = write(tmp_path / "s.parquet", table, 10)
    chunks = [
        pq.ParquetFile(path).metadata.row_group(index).column(table.num_columns - 1) for index in (0, 2)
    ]
    content = bytearray(path.read_bytes())
    for chunk in chunks:
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    unit = cut_units(footer, unit_bytes=1, shape=FORMAT.shape)[1]
    with open_unit(unit, FORMAT, batch_rows=8) as opened:
        rows_read = [as_read(batch, row) for batch in opened.batches for row in range(batch.n_rows)]
    assert [row.status for row in rows_read] == ["ok"] * 10
    assert rows_read[0].context is not None
    assert rows_read[-1].target is not None


def test_pandas_metadata_changes_nothing(tmp_path: Path) -> None:
    """A file written by pandas, with its schema metadata, is read across row groups."""
    rows = plain_sequences([9, 3])
    table = sequences_table(rows, article="dictionary").replace_schema_metadata({"pandas": "{}"})
    path = write(tmp_path / "p.parquet", table, 2)
    assert read_rows(path, Chunking(2, 2, 2), "repeat") == expected_sequences(rows, "repeat")


def by_polars(rows: list[dict[str, Any]], path: Path) -> None:
    """Write with polars: vectors as an Array, ids as a Categorical."""
    frame = pl.DataFrame(
        {name: [row[name] for row in rows] for name in ("article_id", "position", "tokens", "i")}
    )
    vectors = pl.Series("vector", [row["vector"] for row in rows], pl.Array(pl.Float32, DIM))
    frame.with_columns(vectors, pl.col("article_id").cast(pl.Categorical)).write_parquet(
        path, row_group_size=5
    )


def by_pandas(rows: list[dict[str, Any]], path: Path) -> None:
    """Write with pandas: vectors as objects, ids as a Categorical, and pandas' metadata."""
    frame = pd.DataFrame(rows).drop(columns="flaw").astype({"article_id": "category"})
    frame.to_parquet(path, row_group_size=5)


def by_duckdb(rows: list[dict[str, Any]], path: Path) -> None:
    """Write with DuckDB: vectors as an array, ids as an enumeration."""
    arrow = sequences_table(rows)  # noqa: F841 - DuckDB finds it by its name
    duckdb.sql(
        f"COPY (SELECT * REPLACE (vector::FLOAT[{DIM}] AS vector) FROM arrow) TO '{path}' (FORMAT parquet)"  # noqa: S608
    )


def by_tensors(rows: list[dict[str, Any]], path: Path) -> None:
    """Write vectors as tensors, none of them null, with field metadata."""
    kind = pa.fixed_shape_tensor(pa.float32(), [DIM])
    storage = pa.array([row["vector"] for row in rows], kind.storage_type)
    table = sequences_table(rows).drop_columns("vector")
    field = pa.field("vector", kind, nullable=False, metadata={"made by": "a model"})
    write(path, table.append_column(field, pa.ExtensionArray.from_storage(kind, storage)), 5)


@pytest.mark.parametrize("written", [by_polars, by_pandas, by_duckdb, by_tensors])
def test_files_of_other_writers(
    tmp_path: Path, written: Callable[[list[dict[str, Any]], Path], None]
) -> None:
    """Files written by polars, pandas and DuckDB are read across row groups and units."""
    rows = plain_sequences([9, 1, 7])
    written(rows, tmp_path / "w.parquet")
    assert read_rows(tmp_path / "w.parquet", Chunking(5, 5, 3), "zero") == expected_sequences(rows, "zero")


def test_files_of_an_object_store(s3: None, tmp_path: Path) -> None:
    """Files behind a URL are listed and read like local ones."""
    rows = plain_sequences([9, 1, 7])
    local = write(tmp_path / "w.parquet", sequences_table(rows), 5)
    place = locate("s3://readers/data/year=2024/w.parquet")
    bucket, key = bucket_of(place)
    bucket.put(key, local)
    for argument in ("data", "data/", "data/*", "data/**/*.parquet"):
        (file,) = find_files([f"s3://readers/{argument}"])
        assert (file.name, file.path) == ("year=2024/w.parquet", place.text)
        reach = DatasetReach([f"s3://readers/{argument}"], [file])
        for folder in ("s3://readers/data/out", "S3://readers/data/out/"):
            assert reach.reader_of(locate(folder), ["w-00000.parquet"])
        for folder in ("s3://readers/database", "s3://reader/data/out", str(tmp_path)):
            assert not reach.reader_of(locate(folder), ["w-00000.parquet"])
    assert read_rows(place.text, Chunking(5, 5, 3), "zero") == expected_sequences(rows, "zero")
    with pytest.raises(InputNotFound):
        find_files(["s3://readers/nothing"])


# The windows layout


def windows_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Contexts of 0 to 7 vectors with flaws, and every optional column with nulls."""
    rows: list[dict[str, Any]] = []
    for i in range(draw(st.integers(0, 25))):
        k = draw(st.sampled_from([5, 5, 5, 5, 1, 2, 4, 6, 7]))
        context: list[Any] | None = [float(i + v + c) + 1 for v in range(k) for c in range(DIM)]
        flaw = draw(
            st.sampled_from([None, None, None, "nan", "inf", "null", "null row", "zero_norm", "length"])
        )
        if flaw in {"nan", "inf", "null"}:
            context[-draw(st.integers(1, min(k, 5) * DIM))] = {
                "nan": math.nan,
                "inf": math.inf,
                "null": None,
            }[flaw]
        context = {"null row": None, "zero_norm": [0.0] * (k * DIM), "length": [*context, 1.0]}.get(
            flaw or "", context
        )
        target = draw(st.sampled_from([[1.0, 2.0, 3.0, float(i)]] * 3 + [None, [0.0] * DIM, *FLAWS.values()]))
        lane = draw(st.sampled_from([None, "news", "sci-fact", ""]))
        tokens = draw(st.sampled_from([None, 0, 384, 385]))
        rows.append(
            {
                "context": context,
                "target": target,
                "lane": lane,
                "context_tokens": tokens,
                "flaw": flaw,
                "i": i,
            }
        )
    return rows


WINDOWS = st.composite(windows_of)()


def windows_table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table."""
    kinds = {
        "context": pa.list_(pa.float32()),
        "i": pa.int64(),
        "target": pa.large_list(pa.float64()),
        "lane": pa.string(),
        "context_tokens": pa.uint16(),
    }
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    return table.set_column(3, "lane", table["lane"].dictionary_encode())


def expected_context(row: dict[str, Any], pad: Pad | None) -> Read:
    """The expected result for one context, from the rules."""
    context, flaw = row["context"], row["flaw"]
    status, detail = "ok", None
    k = 0 if context is None else len(context) // DIM
    if flaw in {"null row", "null"}:
        status, detail = "bad_input", "null"
    elif flaw == "length" or (k < LENGTH and pad == "reject"):
        status, detail = "bad_input", f"wrong_length: {len(context)}"
    elif flaw:
        status, detail = "bad_input", flaw
    elif k < LENGTH:
        detail = f"padded: {k}"
    vectors = [context[first : first + DIM] for first in range(0, k * DIM, DIM)] if status == "ok" else []
    front = [0.0] * DIM if pad == "zero" else (vectors or [[]])[0]
    target = row["target"]
    usable = (
        target is not None and len(target) == DIM and None not in target and all(map(math.isfinite, target))
    )
    return Read(
        status=status,
        detail=detail,
        context=([front] * LENGTH + vectors)[-LENGTH:] if status == "ok" else None,
        target=target if usable else None,
        tokens=row["context_tokens"],
        lane=row["lane"],
        carried={name: row[name] for name in ("i", "lane", "context_tokens")},
    )


@settings(max_examples=120)
@given(rows=WINDOWS, chunking=CHUNKINGS, pad=st.sampled_from(PADS))
def test_windows_depend_on_their_own_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], chunking: Chunking, pad: Pad | None
) -> None:
    """However the file is cut, each context is padded, truncated or refused by itself; nulls stay in their columns."""
    path = write(tmp_path_factory.getbasetemp() / "windows.parquet", windows_table(rows), chunking.group_rows)
    assert read_rows(path, chunking, pad) == [expected_context(row, pad) for row in rows]


def test_windows_without_optional_columns(tmp_path: Path) -> None:
    """Without optional columns there are no targets, lanes or counts; the carried table has rows and no columns."""
    table = pa.table({"context": pa.array([[1.0] * 20] * 3, pa.list_(pa.float16(), 20))})
    ((_, footer),) = read_footers(find_files([str(write(tmp_path / "w.parquet", table, 2))]), FORMAT)
    assert isinstance(footer, Footer)
    (unit,) = cut_units(footer, unit_bytes=1 << 20, shape=FORMAT.shape)
    with open_unit(unit, FORMAT, batch_rows=2) as rows:
        assert rows.carried_schema == pa.schema([])
        for batch, n_rows in zip(rows.batches, [2, 1], strict=True):
            assert (batch.targets, batch.lanes, batch.context_tokens) == (None, None, None)
            assert (batch.n_rows, batch.carried.num_columns) == (n_rows, 0)


def test_null_typed_optional_columns_are_nulls(tmp_path: Path) -> None:
    """Optional columns of Arrow's null type give null lanes and counts."""
    table = pa.table(
        {"context": pa.array([[1.0] * 20] * 2), "lane": pa.nulls(2), "context_tokens": pa.nulls(2)}
    )
    rows_read = read_rows(write(tmp_path / "w.parquet", table, 9), Chunking(9, 9, 9), None)
    assert [(row.lane, row.tokens) for row in rows_read] == [(None, None)] * 2


def test_columns_are_carried_under_their_new_names(tmp_path: Path) -> None:
    """A renamed column has its new name in the schema and the batches, and keeps its role."""
    rows = [{"context": [1.0] * 20, "target": None, "lane": "x", "context_tokens": 3, "flaw": None, "i": 5}]
    fmt = DatasetFormat(shape=FORMAT.shape, rename={"i": "row_id", "lane": "kind"})
    (row,) = read_rows(write(tmp_path / "w.parquet", windows_table(rows), 9), Chunking(9, 9, 9), None, fmt)
    assert row.carried == {"row_id": 5, "kind": "x", "context_tokens": 3}
    assert row.lane == "x"


@pytest.mark.parametrize("layout", ["windows", "sequences"])
def test_batches_share_their_buffers(tmp_path: Path, layout: str) -> None:
    """All batches share one buffer for contexts, so memory does not grow with the unit."""
    rows = plain_sequences([40])
    table = sequences_table(rows)
    if layout == "windows":
        table = pa.table(
            {"context": pa.array([row["vector"] * LENGTH for row in rows], pa.list_(pa.float32(), 20))}
        )
    ((_, footer),) = read_footers(find_files([str(write(tmp_path / "b.parquet", table, 7))]), FORMAT)
    assert isinstance(footer, Footer)
    (unit,) = cut_units(footer, unit_bytes=1 << 20, shape=FORMAT.shape)
    with open_unit(unit, FORMAT, batch_rows=8) as opened:
        addresses = [batch.contexts.__array_interface__["data"][0] for batch in opened.batches]
    assert len(addresses) == 5
    assert all(one == other for one, other in pairwise(addresses))


def test_a_split_of_any_type_is_read(tmp_path: Path) -> None:
    """Text columns are read as dictionary codes; other types are read as they are."""
    row = np.ones(LENGTH * DIM, np.float32).tobytes()
    contexts = pa.array([row] * 4, pa.binary(len(row)))
    for number, split in enumerate((["ood"] * 4, [{"a": "b"}] * 4, [["ood"]] * 4, [1] * 4)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"context": contexts, "split": split}), path)
        ((_, footer),) = read_footers(find_files([str(path)]), FORMAT)
        assert isinstance(footer, Footer)
        (unit,) = cut_units(footer, unit_bytes=2**20, shape=FORMAT.shape)
        with open_unit(unit, FORMAT, batch_rows=8, along={"split"}) as rows:
            (batch,) = rows.batches
            assert batch.carried["split"].to_pylist() == split
            assert [row for table in rows.carried.take(4) for row in table["split"].to_pylist()] == split
