"""Tests that sorted rows are the same rows in the order of their articles, whatever files and types they have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.every_type import all_exact, as_read
from support.full_disk import files_of_at_most

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import ColumnError, NoVectors, OutputError, UnreadableFile
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.sorting import rank_sort, sorted_packing
from lvm_batch.io.packing.sorting.sorted_packing import Sorting, pack_sorted
from lvm_batch.io.packing.sources import Reading
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvm_batch.io.packing.packing import Packed

SHAPE = WindowShape(length=5, dim=8)
SORTING = Sorting("article_id", "position", memory=2**27)


def rows(articles: pa.Array, positions: pa.Array, **columns: pa.Array) -> pa.Table:
    """Rows of single vectors; row i holds i in its vector and in `n`."""
    n_rows = len(articles)
    vectors = np.repeat(np.arange(n_rows, dtype=np.float32), 8)
    return pa.table(
        {
            "article_id": articles,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), 8),
            "position": positions,
            "n": pa.array(np.arange(n_rows)),
            **columns,
        }
    )


def write(table: pa.Table, folder: Path, cuts: Sequence[int] = ()) -> None:
    """Write a table as files that begin at ``cuts``."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = sorted({0, *cuts, table.num_rows})
    for number, first in enumerate(edges[:-1] or [0]):
        end = edges[number + 1] if number + 1 < len(edges) else 0
        pq.write_table(table.slice(first, end - first), folder / f"{number:03d}.parquet", row_group_size=7)


def sort(folder: Path, output: Path, *, sorting: Sorting = SORTING, **packing: Any) -> Packed:  # noqa: ANN401
    """Sort the files of a folder."""
    sources = find_sources(find_files([str(folder)]), Reading(shape=SHAPE))
    return pack_sorted(sources, str(output), sorting=sorting, packing=replace(Packing(), **packing))


def read(output: Path) -> list[pa.Table]:
    """The files of an output, in order."""
    return [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]


IDS = {
    "texts": (st.text("abü", max_size=3), pa.string()),
    "whole numbers": (st.integers(-3, 3), pa.int32()),
    "large whole numbers": (st.integers(2**64 - 3, 2**64 - 1), pa.uint64()),
    "floats": (st.sampled_from([-1.5, 0.0, 2.0, float("inf")]), pa.float64()),
    "bytes": (st.binary(max_size=2), pa.binary()),
    "days": (st.integers(-2, 2), pa.date32()),
    "moments": (st.integers(-2, 2), pa.timestamp("ms", "UTC")),
    "labels": (st.sampled_from("ab"), pa.dictionary(pa.int8(), pa.string())),
}


@given(data=st.data(), kind=st.sampled_from(sorted(IDS)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_in_any_files_come_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: str
) -> None:
    """Rows of any number of files are sorted by article and position; ties keep their order, unknowns come last."""
    tmp_path = tmp_path_factory.mktemp("sorted")
    values, arrow = IDS[kind]
    n_rows = data.draw(st.integers(0, 30))
    draw = lambda of: data.draw(st.lists(st.none() | of, min_size=n_rows, max_size=n_rows))  # noqa: E731
    table = rows(pa.array(draw(values), arrow), pa.array(draw(st.integers(-2, 2)), pa.int64()))
    write(table, tmp_path / "in", data.draw(st.lists(st.integers(0, n_rows), max_size=4)))
    most = data.draw(st.integers(1, 12))
    sort(tmp_path / "in", tmp_path / "out", file_rows=most)

    def place(row: dict[str, Any]) -> tuple[Any, ...]:
        article, position = row["article_id"], row["position"]
        known = () if article is None else (article.encode() if isinstance(article, str) else article,)
        return article is None, known, position is None, position or 0

    expected = sorted(table.drop(["vector"]).to_pylist(), key=place)
    files = read(tmp_path / "out")
    assert [row for file in files for row in file.drop(["vector"]).to_pylist()] == expected
    for file in files:
        numbers = [np.frombuffer(vector, "<f4")[0] for vector in file["vector"].to_pylist()]
        assert numbers == file["n"].to_pylist()
    articles = [set(file["article_id"].to_pylist()) - {None} for file in files]
    assert sum(map(len, articles)) == len(set().union(*articles))
    assert all(file.num_rows <= most or len(set(file["article_id"].to_pylist())) == 1 for file in files)
    assert not list((tmp_path / "out").glob("_*"))


def shuffled(n_rows: int = 3000, **columns: pa.Array) -> pa.Table:
    """Rows of 50 articles in random order."""
    table = rows(
        pa.array([f"a{n % 50:02d}" for n in range(n_rows)]),
        pa.array([n // 50 for n in range(n_rows)]),
        **columns,
    )
    return table.take(pa.array(np.random.default_rng(0).permutation(n_rows)))


@pytest.mark.parametrize("memory", [2**15, 2**17, 2**30])
def test_rows_larger_than_memory_are_sorted_on_disk(
    tmp_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever memory there is, rows come out in order: in parts, and in parts of parts."""
    table = shuffled()
    made: list[int] = []
    make_buckets = rank_sort._make_buckets
    monkeypatch.setattr(rank_sort, "_make_buckets", lambda *a: made.append(1) or make_buckets(*a))
    write(table, tmp_path / "in", [100, 1000])
    sort(tmp_path / "in", tmp_path / "out", sorting=replace(SORTING, memory=memory))
    (file,) = read(tmp_path / "out")
    assert file["n"].equals(table.sort_by([("article_id", "ascending"), ("position", "ascending")])["n"])
    assert bool(made) == (memory < 2**30)


def nested_views() -> dict[str, pa.Array]:
    """Views within other types, which Arrow does not move."""
    kinds: dict[str, tuple[list[Any], pa.DataType]] = {
        "list of views": ([["a"], None, [], ["b"]], pa.list_(pa.string_view())),
        "large list of views": ([["a"], None, [], ["b"]], pa.large_list(pa.string_view())),
        "pairs of views": ([["a", "b"], None, ["c", None], ["", ""]], pa.list_(pa.binary_view(), 2)),
        "struct of views": (
            [{"a": "x"}, None, {"a": "y"}, {"a": None}],
            pa.struct([("a", pa.string_view())]),
        ),
        "map to views": ([[("k", "v")], None, [], []], pa.map_(pa.string(), pa.string_view())),
    }
    return {name: pa.array(values, kind) for name, (values, kind) in kinds.items()}


@pytest.mark.parametrize("memory", [1, 2**27])
def test_every_carried_value_survives_to_the_bit(tmp_path: Path, memory: int) -> None:
    """Columns of every type that Parquet holds come back in their type and with their bits, by memory and by disk."""
    columns = {name: column for name, column in as_read().items() if name != "null"} | nested_views()
    order = [3, 1, 2, 0]
    pq.write_table(rows(pa.array(["a"] * 4), pa.array(order), **columns), tmp_path / "in.parquet")
    read_back = pq.read_table(tmp_path / "in.parquet")
    sort(tmp_path / "in.parquet", tmp_path / "out", sorting=replace(SORTING, memory=memory))
    (file,) = read(tmp_path / "out")
    for name in columns:
        assert file.schema.field(name).type == read_back.schema.field(name).type, name
        values = all_exact(read_back[name])
        assert all_exact(file[name]) == [values[row] for row in order], name


def test_sorted_rows_are_sorted_already(tmp_path: Path) -> None:
    """Sorting what was sorted changes nothing; every row is reported as done once."""
    write(shuffled(), tmp_path / "in", [700, 2100])
    done: list[int] = []
    sources = find_sources(find_files([str(tmp_path / "in")]), Reading(shape=SHAPE))
    pack_sorted(
        sources, str(tmp_path / "once"), sorting=SORTING, packing=Packing(file_rows=1000), on_rows=done.append
    )
    assert sum(done) == 3000
    sort(tmp_path / "once", tmp_path / "twice", file_rows=1000)
    once, twice = read(tmp_path / "once"), read(tmp_path / "twice")
    assert [table.num_rows for table in once] == [960, 960, 960, 120]
    assert all(one.equals(two) for one, two in zip(once, twice, strict=True))


def test_files_of_several_types_get_the_common_one(tmp_path: Path) -> None:
    """Ids of one width go with those of another; a column that only some files have is null in the others."""
    ids = pa.array([3, 1]), pa.array([2, 2**40])
    write(rows(ids[0].cast(pa.int16()), pa.array([0, 0]), note=pa.array(["x", "y"])), tmp_path / "in" / "a")
    write(rows(ids[1], pa.array([0, 0])), tmp_path / "in" / "b")
    sort(tmp_path / "in", tmp_path / "out")
    (file,) = read(tmp_path / "out")
    assert file["article_id"].to_pylist() == [1, 2, 3, 2**40]
    assert file["note"].to_pylist() == ["y", None, "x", None]


def test_ids_of_two_kinds_are_refused(tmp_path: Path) -> None:
    """Numbers and texts have no common order: the error names the column and both files, and nothing is written."""
    write(rows(pa.array([1]), pa.array([0])), tmp_path / "in" / "a")
    write(rows(pa.array(["1"]), pa.array([0])), tmp_path / "in" / "b")
    with pytest.raises(ColumnError, match="column `article_id` is string in the one and int64 in the other"):
        sort(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is written again between two readings would give other rows to the places found for its own."""
    write(shuffled(), tmp_path / "in")
    order_rows = sorted_packing.order_rows

    def order_and_change(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        order = order_rows(*arguments, **options)
        write(shuffled().slice(1), tmp_path / "in")
        return order

    monkeypatch.setattr(sorted_packing, "order_rows", order_and_change)
    with pytest.raises(UnreadableFile, match="has changed"):
        sort(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_without_any_vector_are_refused(tmp_path: Path) -> None:
    """If no row has a usable vector, that is an error, and nothing is written."""
    table = rows(pa.array(["a", "b"]), pa.array([0, 0]))
    nothing = pa.array([[1.0] * 7, None], pa.list_(pa.float32()))
    write(table.set_column(1, "vector", nothing), tmp_path / "in")
    with pytest.raises(NoVectors, match="none of 2 rows has a usable vector in `vector`"):
        sort(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("room", [2**10, 2**15, 2**16])
def test_a_full_disk_is_an_error_by_name(tmp_path: Path, room: int) -> None:
    """Wherever room ends, the error names the output, and neither files nor temporary files are left."""
    write(shuffled(), tmp_path / "in")
    small = replace(SORTING, memory=2**17)
    with files_of_at_most(room), pytest.raises(OutputError, match=r"out cannot be written: .*File too large"):
        sort(tmp_path / "in", tmp_path / "out", sorting=small)
    assert not (tmp_path / "out").exists()
