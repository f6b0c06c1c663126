"""Tests of gates foretold from footers: the bounds hold, and the notice has the count, the limit and the option."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, cut_units, read_footers
from lvm_batch.io.schema import BAD_INPUT, Pad, WindowShape
from lvm_batch.jobs.datasets.foretold_gates import (
    KnownBadRows,
    bad_row_notices,
    gate_notices,
    known_bad_rows,
    loss_gate_notices,
)
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LENGTH = 3
FORMAT = DatasetFormat(shape=WindowShape(length=LENGTH, dim=2))


def write_articles(path: Path, articles: Sequence[Sequence[bool]]) -> None:
    """Write articles in order; each entry says whether the row has a vector."""
    table = {
        "vector": [[1.0, 2.0] if has else None for has in chain.from_iterable(articles)],
        "article_id": [article for article, rows in enumerate(articles) for _ in rows],
        "position": [position for rows in articles for position in range(len(rows))],
    }
    schema = {"vector": pa.list_(pa.float32()), "article_id": pa.int64(), "position": pa.int64()}
    pq.write_table(pa.table(table, pa.schema(schema)), path)


def footers_of(*paths: Path) -> list[Footer]:
    """Read the footers of some files."""
    found = [footer for _, footer in read_footers(find_files(map(str, paths)), FORMAT)]
    return [footer for footer in found if isinstance(footer, Footer)]


def n_bad(footer: Footer, pad: Pad | None) -> int:
    """How many rows of a file a reader finds bad."""
    (unit,) = cut_units(footer, unit_bytes=10**9, shape=FORMAT.shape)
    with open_unit(unit, FORMAT, batch_rows=7, pad=pad) as rows:
        return sum(int((batch.status == BAD_INPUT).sum()) for batch in rows.batches)


def known(*, least: int, most: int, rows: int, vectors: int = 1, files: int = 1) -> KnownBadRows:
    """Bounds of a dataset whose first bad row is in the second row group of a file."""
    return KnownBadRows(vectors, least, most, rows, files, file="in/b.parquet", row_group=1, column="vector")


@settings(deadline=None, max_examples=40)
@given(
    articles=st.lists(st.lists(st.booleans(), min_size=LENGTH, max_size=7), min_size=1, max_size=4),
    pad=st.sampled_from([None, "reject", "repeat"]),
)
def test_the_bad_rows_lie_within_the_bounds(
    tmp_path_factory: pytest.TempPathFactory, articles: list[list[bool]], pad: Pad | None
) -> None:
    """In sequences a null vector spoils every window that it lies in; no more and no fewer rows than said are bad."""
    path = tmp_path_factory.mktemp("in") / "in.parquet"
    write_articles(path, articles)
    (footer,) = footers_of(path)
    bounds = known_bad_rows([footer], length=LENGTH, pad=pad)
    assert (bounds is None) == all(chain.from_iterable(articles))
    if bounds is not None:
        assert bounds.vectors == sum(not has for has in chain.from_iterable(articles))
        assert bounds.least <= n_bad(footer, pad) <= bounds.most <= bounds.rows


def test_the_files_of_a_dataset_are_added_up(tmp_path: Path) -> None:
    """Rows are those of all files, and the first file with a null is named."""
    for name, has in (("a", True), ("b", False), ("c", False)):
        write_articles(tmp_path / f"{name}.parquet", [[True, has, True, True]])
    bounds = known_bad_rows(footers_of(tmp_path), length=LENGTH, pad=None)
    assert bounds is not None
    assert (bounds.vectors, bounds.least, bounds.most, bounds.rows, bounds.files) == (2, 2, 6, 12, 2)
    assert bounds.file == str(tmp_path / "b.parquet")
    assert bounds.as_dict()["first"] == {"file": bounds.file, "row_group": 0, "column": "vector"}


@pytest.mark.parametrize(
    ("bounds", "verb", "accepted"),
    [
        (known(least=17, most=17, rows=903, vectors=17), "will", "0.019"),
        (known(least=2, most=30, rows=903, vectors=6), "will probably", "0.034"),
        (known(least=1, most=10, rows=903, vectors=2), "may", "0.012"),
        (known(least=900, most=900, rows=900, vectors=900, files=3), "will", "1"),
    ],
)
def test_a_notice_says_whether_the_gate_will_fail(bounds: KnownBadRows, verb: str, accepted: str) -> None:
    """A gate that must fail will, one that a bound allows to fail most likely will, or may; the limit accepts all."""
    (text,) = bad_row_notices(bounds, max_bad_rows=0.01)
    assert f"--max-bad-rows (1.00%) {verb} fail" in text
    assert text.endswith(f"--max-bad-rows {accepted}")
    assert "in row group 1 of in/b.parquet" in text
    assert f"{bounds.most} of {bounds.rows} rows" in text
    assert bounds.fails(float(accepted)) is False


@given(most=st.integers(1, 10**9), rows=st.integers(1, 10**9))
def test_the_proposed_limit_accepts_every_known_row(most: int, rows: int) -> None:
    """It is rounded up, whatever the share."""
    bounds = known(least=0, most=min(most, rows), rows=rows)
    (text,) = bad_row_notices(bounds, max_bad_rows=0.0)
    assert bounds.fails(float(text.rpartition(" ")[2])) is False


def test_a_gate_that_may_not_fail_is_not_mentioned() -> None:
    """There is no notice where footers tell of no null, or of no more rows than the limit allows."""
    assert not list(bad_row_notices(None, max_bad_rows=0.0))
    assert not list(bad_row_notices(known(least=9, most=9, rows=900), max_bad_rows=0.01))


def test_a_gate_on_the_loss_that_cannot_be_judged_is_said_before_work(tmp_path: Path) -> None:
    """It needs a fallback and targets; in sequences the next rows are the targets."""
    write_articles(tmp_path / "sequences.parquet", [[True, True]])
    pq.write_table(pa.table({"context": [[1.0] * 6]}), tmp_path / "windows.parquet")
    sequences, windows = (footers_of(tmp_path / f"{name}.parquet") for name in ("sequences", "windows"))
    assert len(windows) == len(sequences) == 1
    said = [
        list(loss_gate_notices(footers, has_fallback=has_fallback, max_fallback_loss=0.1))
        for footers, has_fallback in ((sequences, True), (sequences, False), (windows, True))
    ]
    assert [len(texts) for texts in said] == [0, 1, 1]
    assert "--fallback" in said[1][0]
    assert "--target-column" in said[2][0]
    assert not list(loss_gate_notices(windows, has_fallback=False, max_fallback_loss=None))


@pytest.mark.parametrize(("limit", "n_notices"), [(None, 1), (3, 0)])
def test_gates_are_not_foretold_of_files_that_a_limit_cuts(
    tmp_path: Path, limit: int | None, n_notices: int
) -> None:
    """The nulls may lie behind the rows that are read."""
    write_articles(tmp_path / "in.parquet", [[True, True, True, False]])
    settings = RunSettings(limit=limit)
    assert (
        len(list(gate_notices(settings, footers_of(tmp_path), length=LENGTH, has_fallback=True))) == n_notices
    )
