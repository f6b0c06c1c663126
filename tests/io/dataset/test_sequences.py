"""Tests of windows that slide over the rows of articles, from tables in memory: three vectors of two components."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.dataset.columns import assign_roles
from lvm_batch.io.dataset.sequences import SequencesReader
from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import STATUSES, ColumnNames, WindowShape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.schema import Pad

SHAPE = WindowShape(length=3, dim=2)
NAN = math.nan


def table(articles: Sequence[Any], *, kind: Any = None, **options: Any) -> pa.Table:  # noqa: ANN401
    """Rows of these articles: row i has vector [i + 1, -1], position i, 10 + i tokens and lane `l<i>`."""
    n_rows = len(articles)
    vectors = options.get("vectors", [[i + 1.0, -1.0] for i in range(n_rows)])
    ids = articles if isinstance(articles, (pa.Array, pa.ChunkedArray)) else pa.array(articles, kind)
    return pa.table(
        {
            "vector": pa.array(vectors, pa.list_(pa.float32())),
            "article_id": ids,
            "position": pa.array(options.get("positions", range(n_rows)), pa.int64()),
            "tokens": pa.array(options.get("tokens", [10.0 + i for i in range(n_rows)]), pa.float64()),
            "lane": pa.array([f"l{i}" for i in range(n_rows)], pa.string()),
        }
    )


def read(
    rows: pa.Table,
    *,
    first: int = 0,
    last: int | None = None,
    batch_rows: int = 100,
    pad: Pad | None = None,
    at: int = 0,
) -> list[tuple[Any, ...]]:
    """Read rows[first:last] as (status, detail, context, target, tokens, lane, carried); row 0 is row ``at`` of
    the file.
    """
    end = rows.num_rows if last is None else last
    roles = assign_roles(rows.schema, "f.parquet", names=ColumnNames(), shape=SHAPE)
    reader = SequencesReader(roles, SHAPE, batch_rows=batch_rows, pad=pad, path="f.parquet")
    neighbours = rows.select(roles.window_columns)

    def tables() -> Iterator[pa.Table]:
        for start in range(first, end, batch_rows):
            yield rows.slice(start, min(batch_rows, end - start))

    n_before = min(first, SHAPE.length - 1)
    before, after = neighbours.slice(first - n_before, n_before), neighbours.slice(end)
    rows_read: list[tuple[Any, ...]] = []
    for batch in reader.batches(tables(), at + first, before=before, after=after):
        assert batch.first_row == at + first + len(rows_read)
        assert batch.targets is not None
        assert batch.context_tokens is not None
        assert batch.lanes is not None
        for row in range(batch.n_rows):
            target = batch.targets[row].tolist()
            tokens = float(batch.context_tokens[row])
            rows_read.append(
                (
                    STATUSES[batch.status[row]],
                    batch.details.get(row),
                    batch.contexts[row].tolist(),
                    None if math.isnan(target[0]) else target[0],
                    None if math.isnan(tokens) else tokens,
                    batch.lanes[row],
                    batch.carried["position"][row].as_py(),
                )
            )
    return rows_read


def firsts(rows_read: list[tuple[Any, ...]]) -> list[list[float]]:
    """The first component of each vector in each context, which shows the rows it comes from."""
    return [[vector[0] for vector in row[2]] for row in rows_read]


@pytest.mark.parametrize("pad", [None, "reject"])
def test_a_window_ends_at_its_row_and_predicts_the_next(pad: Pad | None) -> None:
    """A window stays within its article: the first two rows have no full window, the last row has no target."""
    rows_read = read(table("aaaabbbb"), pad=pad)
    assert [row[0] for row in rows_read] == [*["short_context"] * 2, "ok", "ok"] * 2
    assert [row[3] for row in rows_read] == [2, 3, 4, None, 6, 7, 8, None]
    assert firsts(rows_read)[2:4] == [[1, 2, 3], [2, 3, 4]]
    assert firsts(rows_read)[6:] == [[5, 6, 7], [6, 7, 8]]
    assert rows_read[2][2] == [[1, -1], [2, -1], [3, -1]]
    assert [row[1] for row in rows_read] == [None] * 8


def test_lanes_and_carried_values_are_the_rows_own_and_tokens_the_windows() -> None:
    """A window has the lane and carried values of its last row, and the tokens of its rows up to there."""
    rows_read = read(table("aaaab"))
    assert [row[4] for row in rows_read] == [10, 21, 33, 36, 14]
    assert [row[5] for row in rows_read] == ["l0", "l1", "l2", "l3", "l4"]
    assert [row[6] for row in rows_read] == [0, 1, 2, 3, 4]


FLAWED: dict[str, Any] = {
    "articles": ["a"] * 9 + ["b"] * 2 + [None] * 3 + ["c"] * 6,
    "vectors": [
        *(
            [1.0, 1.0],
            [NAN, 1.0],
            [3.0, 1.0],
            [4.0, 1.0],
            [5.0, math.inf],
            [6.0, None],
            [7.0],
            None,
            [9.0, 1.0],
        ),
        *([10.0, 1.0], [11.0, 1.0]),
        *([12.0, 1.0], [13.0, 1.0], [NAN, 1.0]),
        *([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]),
    ],
    "tokens": [*range(7), None, *range(12)],
}


@pytest.mark.parametrize("pad", [None, "repeat", "zero", "reject"])
@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7])
def test_it_does_not_matter_how_rows_are_cut(pad: Pad | None, batch_rows: int) -> None:
    """Cutting rows into units and batches gives the same result as reading all at once."""
    rows = table(FLAWED["articles"], **{name: FLAWED[name] for name in ("vectors", "tokens")})
    whole = read(rows, pad=pad)
    for first in range(rows.num_rows):
        for last in {first + 1, first + 5, rows.num_rows}:
            rows_read = read(rows, first=first, last=min(last, rows.num_rows), batch_rows=batch_rows, pad=pad)
            for row, expected in zip(rows_read, whole[first:last], strict=True):
                assert row[:2] + row[3:] == expected[:2] + expected[3:]
                assert row[0] != "ok" or row[2] == expected[2]


def test_a_bad_vector_makes_every_window_that_holds_it_bad() -> None:
    """The first bad vector is reported with its position; a window that is too short is reported as short."""
    rows_read = read(table(FLAWED["articles"], vectors=FLAWED["vectors"]))
    assert [row[0] for row in rows_read[:2]] == ["short_context"] * 2
    assert [row[1] for row in rows_read[:9]] == [
        *(None, None, "nan: position 1", "nan: position 1", "inf: position 4", "inf: position 4"),
        *("inf: position 4", "null: position 5", "wrong_length: 1: position 6"),
    ]
    assert [row[0] for row in rows_read[2:9]] == ["bad_input"] * 7


def test_a_bad_vector_is_not_used_as_a_target() -> None:
    """A row whose target is a bad vector has no target, and is otherwise good."""
    rows_read = read(table("aaaaa", vectors=[[1.0, 1], [2.0, 1], [3.0, 1], [NAN, 1], [5.0, 1]]))
    assert [row[0] for row in rows_read[2:]] == ["ok", "bad_input", "bad_input"]
    assert [row[3] for row in rows_read] == [2, 3, None, 5, None]


def test_a_window_of_zeros_has_no_direction() -> None:
    """A window with any non-zero component has a direction."""
    vectors = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    rows_read = read(table("aaaaaaa", vectors=vectors))
    assert [row[:2] for row in rows_read[2:]] == [("bad_input", "zero_norm")] + [("ok", None)] * 4
    assert rows_read[2][3] == 0.0


def test_a_bad_vector_is_reported_before_zeros() -> None:
    """A bad vector is stored as zeros; the row's status is the bad vector's, not that of a zero window."""
    rows_read = read(table("aaa", vectors=[[0.0, 0.0], [NAN, 0.0], [0.0, 0.0]]))
    assert rows_read[2][:2] == ("bad_input", "nan: position 1")


@pytest.mark.parametrize(
    ("pad", "contexts"),
    [("repeat", [[1, 1, 1], [1, 1, 2], [1, 2, 3]]), ("zero", [[0, 0, 1], [0, 1, 2], [1, 2, 3]])],
)
def test_a_short_window_is_padded_at_the_front(pad: Pad, contexts: list[list[float]]) -> None:
    """Padding repeats the article's first vector or zeros, in every component; the real length is reported."""
    rows_read = read(table("baaa", vectors=[[9.0, 9.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), pad=pad)[1:]
    assert firsts(rows_read) == contexts
    assert [[vector[1] for vector in row[2]] for row in rows_read] == contexts
    assert [row[:2] for row in rows_read] == [("ok", "padded: 1"), ("ok", "padded: 2"), ("ok", None)]
    assert [row[4] for row in rows_read] == [11, 23, 36]


@pytest.mark.parametrize("pad", ["repeat", "zero"])
def test_a_padded_window_may_be_bad(pad: Pad) -> None:
    """A padded window with a bad vector is reported as bad."""
    rows_read = read(table("aab", vectors=[[NAN, 1.0], [2.0, 1.0], [0.0, 0.0]]), pad=pad)
    assert [row[:2] for row in rows_read] == [
        ("bad_input", "nan: position 0"),
        ("bad_input", "nan: position 0"),
        ("bad_input", "zero_norm"),
    ]


def test_rows_without_an_article_stand_alone() -> None:
    """Rows without an article are no context or target for their neighbours, nor for each other."""
    rows_read = read(table(["a", "a", "a", None, None, "a"]), pad="repeat")
    assert [row[1] for row in rows_read] == ["padded: 1", "padded: 2", None, *["padded: 1"] * 3]
    assert [row[3] for row in rows_read] == [2, 3, None, None, None, None]


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.binary()],
)
def test_articles_are_told_apart_in_any_type_of_text(kind: pa.DataType) -> None:
    """Every Arrow text type tells articles apart as strings do."""
    ids = pa.array(["a", "a", "a", "b", None]).cast(kind)
    rows_read = read(table(ids), pad="repeat")
    assert [row[1] for row in rows_read] == ["padded: 1", "padded: 2", None, "padded: 1", "padded: 1"]


def test_articles_are_told_apart_whatever_their_bytes_and_dictionaries() -> None:
    """Invalid UTF-8 and different dictionaries per row group do not mix up articles."""
    ids = pa.array([b"\xff", b"\xff", b"\xfe"], pa.binary())
    assert [row[1] for row in read(table(ids), pad="repeat")] == ["padded: 1", "padded: 2", "padded: 1"]
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "b", "a"]).dictionary_encode()]
    rows_read = read(table(pa.chunked_array(chunks)), pad="repeat")
    assert [row[1] for row in rows_read] == ["padded: 1", "padded: 1", "padded: 2", None, "padded: 1"]


def test_a_null_position_does_not_fall() -> None:
    """A null position does not count as falling."""
    rows_read = read(table("aaaa", positions=[0, None, 1, 2]), pad="repeat")
    assert [row[1] for row in rows_read] == ["padded: 1", "padded: 2", None, None]


def test_articles_of_nulls_and_of_uuids_are_told_apart() -> None:
    """Null and UUID ids work, though Arrow cannot compare them directly."""
    nulls = table(pa.nulls(3, pa.string()))
    assert [row[1] for row in read(nulls, pad="repeat")] == ["padded: 1"] * 3
    uuids = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([b"a" * 16, b"a" * 16, b"b" * 16], pa.binary(16))
    )
    rows_read = read(table(uuids), pad="repeat")
    assert [row[1] for row in rows_read] == ["padded: 1", "padded: 2", "padded: 1"]


def refusal(rows: pa.Table, **options: Any) -> tuple[str, str]:  # noqa: ANN401
    """The message and the hint of the refusal."""
    with pytest.raises(DataError) as refused:
        read(rows, **options)
    message, hint = refused.value.args
    return message, hint


def test_an_article_out_of_order_is_refused_by_its_row_in_the_file() -> None:
    """The error names the first row out of order, with both positions and a hint."""
    rows = table("aabbbb", positions=[5, 9, 1, 2, 0, -1])
    message, hint = refusal(rows, at=100)
    assert message == "f.parquet: article b is out of order: position 0 follows 2 at row 104"
    assert hint == "`lvm-batch pack DATASET --sort --output DIR` writes the rows of all files in order"


def test_an_article_out_of_order_is_seen_over_the_edges_of_batches_and_units() -> None:
    """A falling position is found within a batch and across batches and units, with the same row number."""
    rows = table("aaaaaa", positions=[0, 1, 2, 9, 4, 5])
    for first, last, batch_rows in ((0, 6, 1), (0, 6, 4), (3, 6, 3), (4, 6, 2), (2, 4, 2)):
        message, _ = refusal(rows, first=first, last=last, batch_rows=batch_rows, at=50)
        assert message.endswith("position 4 follows 9 at row 54")


def test_positions_may_repeat_and_restart() -> None:
    """Positions may repeat, and may restart with each article and for rows without one."""
    rows = table(["a", "a", "b", "b", None, None], positions=[4, 4, 1, 7, 3, 1])
    assert len(read(rows)) == 6


def test_an_article_id_that_is_not_text_is_reported_by_its_row() -> None:
    """Parquet allows ids that are not valid text; the error then names the row only."""
    ids = pa.array([b"\xff", b"\xff"]).view(pa.string())
    message, _ = refusal(table(ids, positions=[1, 0]))
    assert "article of row 1 is out of order" in message


def test_unknown_token_counts_make_the_windows_unknown() -> None:
    """One unknown token count makes the window's count unknown; infinities give no number and no warning."""
    rows_read = read(table("aaaaaa", tokens=[1, None, 3, 4, math.inf, -math.inf]), pad="zero")
    assert [row[4] for row in rows_read] == [1, None, None, None, math.inf, None]


def test_a_batch_as_large_as_may_be_has_room_for_its_neighbours() -> None:
    """A batch of the maximum size has room for two rows before it and one after."""
    rows = table("a" * 12)
    rows_read = read(rows, first=4, last=8, batch_rows=4)
    assert firsts(rows_read) == [[3, 4, 5], [4, 5, 6], [5, 6, 7], [6, 7, 8]]
    assert [row[3] for row in rows_read] == [6, 7, 8, 9]


@pytest.mark.parametrize("left_out", [(), ("tokens", "lane")])
@pytest.mark.parametrize("n_rows", [0, 3])
def test_missing_columns_give_nothing(n_rows: int, left_out: Sequence[str]) -> None:
    """Missing columns give nothing, and neither does a table without rows."""
    rows = table("a" * n_rows, kind=pa.string()).drop_columns(list(left_out))
    roles = assign_roles(rows.schema, "f", names=ColumnNames(), shape=SHAPE)
    reader = SequencesReader(roles, SHAPE, batch_rows=4, pad=None, path="f")
    empty = rows.select(roles.window_columns).slice(0, 0)
    (batch,) = reader.batches(iter([rows]), 0, before=empty, after=empty)
    assert batch.n_rows == len(batch.contexts) == batch.carried.num_rows == n_rows
    present = [batch.lanes is not None, batch.context_tokens is not None]
    assert present == [not left_out] * 2


def test_arrays_are_filled_again_for_the_next_batch() -> None:
    """The arrays are reused: as wide as a batch, in float32."""
    rows = table("a" * 6)
    roles = assign_roles(rows.schema, "f", names=ColumnNames(), shape=SHAPE)
    reader = SequencesReader(roles, SHAPE, batch_rows=2, pad=None, path="f")
    empty = rows.select(roles.window_columns).slice(0, 0)
    batches = reader.batches(iter([rows.slice(0, 2), rows.slice(2, 2)]), 0, before=empty, after=empty)
    first = next(batches)
    assert (first.contexts.shape, first.contexts.dtype) == ((2, 3, 2), np.float32)
    kept = first.contexts
    assert next(batches).contexts.base is kept.base
    assert kept[:, -1, 0].tolist() == [3, 4]


def test_rows_without_a_position_are_in_order_as_they_are() -> None:
    """With `@row` no order is checked, the position column is carried, and a bad vector is named by its row."""
    rows = table(
        [1, 1, 1, 1], positions=[3, 2, 1, 0], vectors=[[1.0, 1.0], [NAN, 1.0], [2.0, 1.0], [3.0, 1.0]]
    )
    names = ColumnNames(position="@row")
    roles = assign_roles(rows.schema, "f.parquet", names=names, shape=SHAPE)
    reader = SequencesReader(roles, SHAPE, batch_rows=4, pad=None, path="f.parquet")
    none = rows.slice(0, 0)
    (batch,) = reader.batches(iter([rows]), 10, before=none, after=none)
    assert batch.details == {2: "nan: row 11", 3: "nan: row 11"}
    assert "position" in batch.carried.column_names
