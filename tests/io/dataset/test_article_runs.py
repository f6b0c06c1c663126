"""Tests of articles split into several runs of rows: they are counted before work begins, with what they cost."""

from __future__ import annotations

import random
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.articles.runs import Cuts
from lvm_batch.io.dataset import article_runs
from lvm_batch.io.dataset.article_runs import ArticleRuns
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = DatasetFormat(shape=WindowShape(length=5, dim=2))


def write(path: Path, articles: list[Any], kind: Any = None, group_rows: int = 4) -> None:  # noqa: ANN401
    """Write one row a vector, with the given articles and rising positions."""
    n_rows = len(articles)
    table = {
        "vector": pa.array([[1.0, 2.0]] * n_rows, pa.list_(pa.float32(), 2)),
        "article_id": pa.array(articles, kind),
        "position": pa.array(range(n_rows), pa.int64()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), path, row_group_size=group_rows)


def cuts_of(root: Path) -> Cuts | None:
    """Count the cuts in all files of a folder."""
    runs = ArticleRuns()
    footers = [footer for _, footer in read_footers(find_files([str(root)]), FORMAT, runs=runs)]
    paths = [footer.file.path for footer in footers if isinstance(footer, Footer)]
    return runs.order(paths, length=5).cuts


def statuses(root: Path) -> list[tuple[int, bool]]:
    """Whether each row would have a short context, and whether it has a target."""
    found = []
    for _, footer in read_footers(find_files([str(root)]), FORMAT):
        assert isinstance(footer, Footer)
        for unit in cut_units(footer, unit_bytes=10**9, shape=FORMAT.shape):
            with open_unit(unit, FORMAT, batch_rows=7) as rows:
                for batch in rows.batches:
                    has_target = np.isfinite(batch.targets[:, 0]).tolist()
                    found += list(zip(batch.status.tolist(), has_target, strict=True))
    return found


ARTICLES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 7)).map(lambda run: [run[0]] * run[1]),
    max_size=6,
).map(lambda runs: [article for run in runs for article in run])


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    files=st.lists(ARTICLES, min_size=1, max_size=3),
    group_rows=st.sampled_from([1, 3, 100]),
    batch_rows=st.sampled_from([2, 2**16]),
    together=st.sampled_from([1, 5, 2**20]),
)
def test_the_cost_of_cuts_is_what_whole_articles_would_gain(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[str | None]],
    group_rows: int,
    batch_rows: int,
    together: int,
) -> None:
    """The reported cost equals the number of short contexts and missing targets that sorting the rows would avoid."""
    root = tmp_path_factory.mktemp("runs")
    sorted_ids: list[str | None] = sorted((article for file in files for article in file), key=str)
    write(root / "whole/a.parquet", sorted_ids, pa.string())
    for number, articles in enumerate(files):
        write(root / f"cut/{number}.parquet", articles, pa.string(), group_rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(article_runs, "_ROWS_AT_ONCE", batch_rows)
        patch.setattr(article_runs, "_ROWS_TOGETHER", together)
        cuts = cuts_of(root / "cut")
    cut, uncut = statuses(root / "cut"), statuses(root / "whole")
    of_article = [[article for article, _ in groupby(file) if article is not None] for file in files]
    runs = [article for file in of_article for article in file]
    several = {article for article in runs if runs.count(article) > 1}
    if not several:
        assert cuts is None
        return
    assert cuts is not None
    assert (cuts.articles, cuts.cuts) == (len(several), sum(runs.count(article) - 1 for article in several))
    assert cuts.rows == sum(short for short, _ in cut) - sum(short for short, _ in uncut)
    assert cuts.cuts == sum(has_target for _, has_target in uncut) - sum(has_target for _, has_target in cut)
    assert cuts.example == next(article for article in runs if article in several)
    holding = [
        f"{number}.parquet" for number, file in enumerate(of_article) for one in file if one == cuts.example
    ]
    assert [path.rpartition("/")[2] for path in cuts.files] == holding[:2]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([pa.int32(), pa.int64()], 1),
        ([pa.int64(), pa.uint64()], 1),
        ([pa.string(), pa.large_string()], 1),
        ([pa.string(), pa.dictionary(pa.int8(), pa.string())], 1),
        ([pa.string(), pa.binary()], 1),
        ([pa.int64(), pa.string()], 0),
        ([pa.float64(), pa.float32()], 1),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_ids_are_one_however_they_are_written(
    tmp_path: Path, kinds: list[Any], expected: int, *, several: bool
) -> None:
    """Files may write ids in different types; row groups that hold one article by their statistics count too."""
    for number, kind in enumerate(kinds):
        ids = [7] * 4 + [8 + number] * (4 * several)
        is_text = not (pa.types.is_integer(kind) or pa.types.is_floating(kind))
        write(tmp_path / f"{number}.parquet", [str(n) for n in ids] if is_text else ids, kind, group_rows=4)
    cuts = cuts_of(tmp_path)
    assert (cuts.cuts if cuts else 0) == expected


def test_rows_without_an_article_are_no_run(tmp_path: Path) -> None:
    """Rows with a null or NaN article belong to no run, and split the run around them."""
    write(tmp_path / "nulls/a.parquet", [None] * 4 + [1] * 4 + [None] * 3, pa.int64())
    write(tmp_path / "nulls/b.parquet", [None] * 9, pa.int64())
    assert cuts_of(tmp_path / "nulls") is None
    write(tmp_path / "nan/a.parquet", [float("nan")] * 4 + [1.0] * 4 + [float("nan")], pa.float64())
    assert cuts_of(tmp_path / "nan") is None
    write(tmp_path / "cut/a.parquet", [1, 1, 1, None, 1, 1, 1, 1, 1], pa.int64())
    assert cuts_of(tmp_path / "cut") == Cuts(1, 1, 3, "1", (f"{tmp_path}/cut/a.parquet",) * 2)


def test_a_folder_may_give_the_article(tmp_path: Path) -> None:
    """A file below `article_id=` is one run; its rows are not read."""
    for name in ("article_id=007/a", "article_id=7/b", "article_id=007/c"):
        write(tmp_path / f"{name}.parquet", [0] * 6)
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pq.ParquetFile(path).read().drop_columns(["article_id"]), path)
    cuts = cuts_of(tmp_path)
    assert cuts is not None
    assert (cuts.articles, cuts.cuts, cuts.rows, cuts.example) == (1, 1, 4, "007")


def test_row_groups_of_one_article_are_not_read(tmp_path: Path) -> None:
    """Statistics suffice, so even damaged pages go unnoticed; long texts may be truncated there, and are read."""
    for name, article in (("a", "x"), ("b", "y"), ("c", "x" * 33)):
        write(tmp_path / f"{name}/1.parquet", [article] * 8)
        write(tmp_path / f"{name}/2.parquet", [article] * 8)
        for path in (tmp_path / name).iterdir():
            content = bytearray(path.read_bytes())
            chunk = pq.read_metadata(path).row_group(0).column(1)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
            path.write_bytes(content)
    assert [cuts is not None for cuts in map(cuts_of, (tmp_path / name for name in "abc"))] == [
        True,
        True,
        False,
    ]


def test_a_damaged_file_does_not_stop_the_count(tmp_path: Path) -> None:
    """A damaged file is reported when its rows are read; the cuts of the other files are still counted."""
    shuffled = random.Random(0).sample([str(n) for n in range(40)] * 2, 80)  # noqa: S311 - no secret
    write(tmp_path / "a.parquet", shuffled, group_rows=80)
    write(tmp_path / "b.parquet", [1, 2, 1], pa.int64())
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    chunk = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    (tmp_path / "a.parquet").write_bytes(content)
    cuts = cuts_of(tmp_path)
    assert cuts is not None
    assert (cuts.articles, cuts.example) == (1, "1")


def test_windows_have_no_runs(tmp_path: Path) -> None:
    """In the windows layout each row is complete by itself, whatever its article."""
    columns = {"context": [[1.0] * 10] * 3, "article_id": ["a", "b", "a"]}
    pq.write_table(pa.table(columns), tmp_path / "w.parquet")
    assert cuts_of(tmp_path) is None
