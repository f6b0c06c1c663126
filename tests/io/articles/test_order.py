"""Tests of the order of rows: what a reader of sequences would refuse is found before work, with its place."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.articles.order import find_falls
from lvm_batch.io.dataset import article_runs
from lvm_batch.io.dataset.article_runs import ArticleRuns, RowOrder
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.errors import DataError
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = DatasetFormat(shape=WindowShape(length=3, dim=2))
Rows = list[tuple[str | None, float | None]]


def write(path: Path, rows: Rows, *, group_rows: int = 4) -> Path:
    """Write one vector for each article and position."""
    table = {
        "vector": pa.array([[1.0, 2.0]] * len(rows), pa.list_(pa.float32(), 2)),
        "article_id": pa.array([article for article, _ in rows], pa.string()),
        "position": pa.array([position for _, position in rows], pa.float64()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=group_rows)
    return path


def order_of(root: Path) -> RowOrder:
    """The order of the rows of all files of a folder."""
    runs = ArticleRuns()
    found = read_footers(find_files([str(root)]), FORMAT, runs=runs)
    return runs.order([footer.file.path for _, footer in found if isinstance(footer, Footer)], length=3)


def falls(rows: Rows) -> list[int]:
    """The rows with a lower position than the row before, of the same article."""
    return [
        row
        for row in range(1, len(rows))
        if rows[row][0] is not None
        and rows[row][0] == rows[row - 1][0]
        and (rows[row][1] if rows[row][1] is not None else 9) < (rows[row - 1][1] or 0)
    ]


def refusal(path: Path) -> str | None:
    """What the reader of rows says of a file."""
    [(_, footer)] = read_footers(find_files([str(path)]), FORMAT)
    assert isinstance(footer, Footer)
    [unit] = cut_units(footer, unit_bytes=10**9, shape=FORMAT.shape)
    try:
        with open_unit(unit, FORMAT, batch_rows=5) as rows:
            for _ in rows.batches:
                pass
    except DataError as error:
        return str(error.args[0])
    return None


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.sampled_from([0.0, 1.0, 2.0, None, float("nan")])),
    max_size=12,
)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    files=st.lists(ROWS, min_size=1, max_size=3),
    group_rows=st.sampled_from([1, 3, 100]),
    batch_rows=st.sampled_from([2, 2**16]),
    together=st.sampled_from([1, 4, 2**18]),
)
def test_rows_are_out_of_order_where_the_reader_refuses_them(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[Rows],
    group_rows: int,
    batch_rows: int,
    together: int,
) -> None:
    """However files are cut into groups and batches, counts equal a direct count, and the example is the reader's."""
    root = tmp_path_factory.mktemp("order")
    paths = [write(root / f"{n}.parquet", rows, group_rows=group_rows) for n, rows in enumerate(files)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(article_runs, "_ROWS_AT_ONCE", batch_rows)
        patch.setattr(article_runs, "_ROWS_TOGETHER", together)
        order = order_of(root)
    found = [falls(rows) for rows in files]
    refusals = [refusal(path) for path in paths]
    assert [bool(rows) for rows in found] == [message is not None for message in refusals]
    if not any(found):
        assert order.disorder is None
        return
    assert order.disorder is not None
    articles = {files[number][row][0] for number, rows in enumerate(found) for row in rows}
    assert (order.disorder.rows, order.disorder.articles) == (sum(map(len, found)), len(articles))
    assert (order.disorder.files, order.disorder.n_files) == (sum(map(bool, found)), len(files))
    assert str(order.disorder.example) == next(filter(None, refusals))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int8(), [3, 1]),
        (pa.uint64(), [2**64 - 1, 0]),
        (pa.float16(), [3.0, 1.0]),
        (pa.timestamp("us", "UTC"), [3, 1]),
        (pa.date32(), [3, 1]),
        (pa.decimal128(9, 2), [Decimal("3.00"), Decimal("1.00")]),
        (pa.string(), ["b", "a"]),
        (pa.dictionary(pa.int8(), pa.int64()), [3, 1]),
    ],
)
def test_positions_of_every_type_that_has_an_order_are_compared(kind: Any, values: list[Any]) -> None:  # noqa: ANN401
    """Falling values are found, rising ones and nulls are not."""
    column = pa.chunked_array([pa.array([*values, None, values[1], *reversed(values)], kind)])
    assert find_falls(column).tolist() == [True, False, False, False, False]


def test_positions_without_an_order_are_never_out_of_order() -> None:
    """A type that Arrow does not compare costs nothing more than reading it."""
    lists = pa.chunked_array([pa.array([[3], [1]])])
    assert find_falls(lists).tolist() == [False]
    assert find_falls(pa.chunked_array([], pa.int64())).tolist() == []


def test_windows_are_counted(tmp_path: Path) -> None:
    """A run of n rows has n - 2 whole contexts of three, and rows without an article have none."""
    write(tmp_path / "a.parquet", [("a", 0.0)] * 5 + [("b", 0.0)] * 2 + [(None, 0.0)] * 6)
    write(tmp_path / "b.parquet", [("a", 0.0)] * 3)
    order = order_of(tmp_path)
    assert (order.articles, order.windows, order.is_complete) == (2, 3 + 0 + 1, True)
    assert order.cuts is not None
    assert order.cuts.elsewhere == 1


def test_beyond_a_limit_counts_are_lower_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: runs beyond the limit are dropped, and the result says so; disorder is still found."""
    monkeypatch.setattr(article_runs, "MAX_RUNS", 4)
    monkeypatch.setattr(article_runs, "_ROWS_TOGETHER", 4)
    shuffled: Rows = [(article, 0.0) for article in "abcabcabcabc"]
    write(tmp_path / "a.parquet", [*shuffled, ("c", -1.0)])
    order = order_of(tmp_path)
    assert not order.is_complete
    assert order.cuts is not None
    assert 0 < order.cuts.cuts < 9
    assert order.disorder is not None
    assert order.disorder.example.row == 12


def test_positions_are_read_without_vectors(tmp_path: Path) -> None:
    """A file whose vectors are damaged still tells its order."""
    path = write(tmp_path / "a.parquet", [("a", 3.0), ("a", 1.0)])
    content = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    order = order_of(tmp_path)
    assert order.disorder is not None
    assert (order.disorder.example.position, order.disorder.example.before) == ("1.0", "3.0")
