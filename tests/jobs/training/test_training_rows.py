"""Windows that are read for training and split by article."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import every_type

from lvm_batch.io.dataset.column_checks import is_plain
from lvm_batch.io.errors import DataError
from lvm_batch.jobs.datasets.articles import UNKNOWN, Articles, group_windows
from lvm_batch.jobs.settings.train import TrainSettings
from lvm_batch.jobs.training.article_split import split_by_article
from lvm_batch.jobs.training.training_rows import TrainingRows, read_training_rows
from lvm_batch.jobs.training.vector_store import VectorStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIM = 8


def articles(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Articles of random vectors, float32 (length, DIM) each."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, DIM)).astype(np.float32) for length in lengths]


def lists(vectors: np.ndarray) -> pa.Array:
    """A fixed-size list array with a list for each row."""
    flat = vectors.reshape(len(vectors), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def write_sequences(
    path: Path, articles: list[np.ndarray], names: list[object] | None = None, **columns: object
) -> Path:
    """Write one row a vector, the articles one after another."""
    lengths = [len(article) for article in articles]
    table = {
        "article_id": np.repeat(names or np.arange(len(articles)), lengths).tolist(),
        "position": np.concatenate([np.arange(length) for length in lengths]),
        "vector": lists(np.concatenate(articles)),
        **columns,
    }
    pq.write_table(pa.table(table), path, row_group_size=7)
    return path


def write_windows(
    path: Path, articles: list[np.ndarray], *, order: np.ndarray | None = None, **columns: object
) -> Path:
    """Write one row a window, every window of every article."""
    starts = [(article, row) for article in articles for row in range(len(article) - 5)]
    contexts = np.stack([article[row : row + 5] for article, row in starts])
    targets = np.stack([article[row + 5] for article, row in starts])
    order = np.arange(len(starts)) if order is None else order
    table = {"context": lists(contexts[order]), "target": lists(targets[order]), **columns}
    pq.write_table(pa.table(table), path)
    return path


def read(path: Path, **settings: object) -> TrainingRows:
    """Read the windows for training."""
    return read_training_rows(TrainSettings(dataset=(str(path),), **settings))


def test_sequences_and_windows_give_the_same(tmp_path: Path) -> None:
    """The windows are equal row for row, and every vector is stored once."""
    vectors = articles(9, 5, 12, 6)
    sequences = read(write_sequences(tmp_path / "s.parquet", vectors))
    windows = read(write_windows(tmp_path / "w.parquet", vectors))
    assert len(sequences.windows) == 4 + 0 + 7 + 1
    for mine, others in zip(
        sequences.windows.batch(slice(None)), windows.windows.batch(slice(None)), strict=True
    ):
        assert np.array_equal(mine, others)
    assert len(windows.windows.vectors) == 9 + 12 + 6
    _, as_sequences = np.unique(sequences.articles, return_inverse=True)
    _, as_windows = np.unique(windows.articles, return_inverse=True)
    assert np.array_equal(as_sequences, as_windows)


def test_windows_need_no_order(tmp_path: Path) -> None:
    """Articles are found by the vectors that windows share, also if rows were shuffled."""
    vectors = articles(20, 30, 25)
    order = np.random.default_rng(1).permutation(15 + 25 + 20)
    rows = read(write_windows(tmp_path / "w.parquet", vectors, order=order))
    true = np.repeat([0, 1, 2], [15, 25, 20])[order]
    for article in range(3):
        assert len(set(rows.articles[true == article].tolist())) == 1
    assert len(np.unique(rows.articles)) == 3


def test_one_shared_vector_joins_no_articles() -> None:
    """The same heading may appear in many articles; two vectors in the same order do not."""
    assert joined([[0, 1, 2], [3, 1, 4]]) == [0, 1]
    assert joined([[0, 1, 2], [1, 2, 4], [5, 6, 7]]) == [0, 0, 1]


def joined(windows: list[list[int]], article_ids: list[int] | None = None) -> list[int]:
    """The article of each window, numbered in order of appearance; windows have article ids only if ``said``."""
    codes = group_windows(np.array(windows), np.array(article_ids or [UNKNOWN] * len(windows))).tolist()
    return [list(dict.fromkeys(codes)).index(code) for code in codes]


def test_one_vector_that_padding_repeats_joins_no_articles() -> None:
    """Windows that begin with the same repeated heading belong to separate articles."""
    assert joined([[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 1, 3], [0, 0, 2, 4]]) == [0, 1, 0, 1]


def test_windows_without_an_article_join_those_they_share_vectors_with() -> None:
    """They belong to the articles that contain their vectors, in any order; windows with an id keep it."""
    windows = [[0, 1, 2], [1, 2, 3], [2, 3, 4], [9, 8, 7], [1, 2, 5]]
    assert joined(windows, [0, UNKNOWN, 0, UNKNOWN, 1]) == [0, 0, 0, 1, 0]
    assert joined(windows[::-1], [1, UNKNOWN, 0, UNKNOWN, 0]) == [0, 1, 0, 0, 0]
    assert joined(windows, [0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("missing", [slice(None), slice(None, None, 3)], ids=["all", "a third"])
def test_null_ids_leave_no_window_on_both_sides(tmp_path: Path, missing: slice) -> None:
    """A window without an article is on the side of those it overlaps with."""
    vectors = articles(*[14] * 12)
    ids = np.repeat(np.arange(12), 9).astype(object)
    ids[missing] = None
    rows = read(write_windows(tmp_path / "w.parquet", vectors, article_id=pa.array(ids.tolist(), pa.int64())))
    assert len(np.unique(rows.articles)) == 12
    split = split_by_article(rows, share=0.25, seed=0)
    sides = [
        {*part.contexts.ravel().tolist(), *part.targets.tolist()}
        for part in (split.training, split.validation)
    ]
    assert not sides[0] & sides[1]


def test_a_file_without_ids_changes_no_other_file(tmp_path: Path) -> None:
    """The rows of other files keep their ids."""
    vectors = articles(12, 12, 12)
    write_windows(tmp_path / "a.parquet", vectors[:2], article_id=[7] * 14)
    write_windows(tmp_path / "b.parquet", vectors[2:])
    rows = read(tmp_path)
    assert [len(set(rows.articles[part].tolist())) for part in (slice(14), slice(14, None))] == [1, 1]
    assert len(np.unique(rows.articles)) == 2


@pytest.mark.parametrize("write", [write_sequences, write_windows])
def test_a_zero_target_is_dropped(tmp_path: Path, write: Callable[[Path, list[np.ndarray]], Path]) -> None:
    """A zero vector has no cosine: no window is trained on or evaluated with such a target."""
    vectors = articles(20, 20)
    vectors[0][19] = 0
    rows = read(write(tmp_path / "x.parquet", vectors))
    assert len(rows.windows) == 14 + 15
    assert rows.windows.vectors[rows.windows.targets].any(axis=1).all()


def test_a_bad_vector_takes_its_windows_along(tmp_path: Path) -> None:
    """Of 15 windows the five that read the bad vector are dropped, and the one that predicts it."""
    (vectors,) = articles(20)
    vectors[9, 3] = np.nan
    rows = read(write_sequences(tmp_path / "s.parquet", [vectors]))
    assert rows.windows.targets.tolist() == [5, 6, 7, 8, 15, 16, 17, 18, 19]


def test_a_file_ends_an_article_and_articles_may_span_files(tmp_path: Path) -> None:
    """No window crosses files, but both parts are one article in the split."""
    first, second = articles(10, 10)
    write_sequences(tmp_path / "a.parquet", [first], ["x"])
    write_sequences(tmp_path / "b.parquet", [second], ["x"])
    rows = read(tmp_path)
    assert len(rows.windows) == 10
    assert len(np.unique(rows.articles)) == 1


def test_two_layouts_in_one_dataset_are_refused(tmp_path: Path) -> None:
    """An article in both layouts would be trained on twice, and could also be in the validation split."""
    write_sequences(tmp_path / "s.parquet", articles(9))
    write_windows(tmp_path / "w.parquet", articles(9))
    with pytest.raises(DataError, match=r"w\.parquet has windows, .*s\.parquet sequences"):
        read(tmp_path)


@pytest.mark.parametrize("length", [1, 3, 7])
def test_contexts_may_be_of_any_length(tmp_path: Path, length: int) -> None:
    """Each article gives as many windows as it has vectors beyond the context length."""
    rows = read(write_sequences(tmp_path / "s.parquet", articles(9, 12)), context_length=length)
    assert rows.windows.contexts.shape == (9 + 12 - 2 * length, length)


def test_vectors_are_normalised_on_request(tmp_path: Path) -> None:
    """--input-norm unit normalises vectors; otherwise they are used as they are."""
    path = write_sequences(tmp_path / "s.parquet", articles(9))
    assert np.allclose(np.linalg.norm(read(path, input_norm="unit").windows.vectors, axis=1), 1)
    assert not np.allclose(np.linalg.norm(read(path).windows.vectors, axis=1), 1)


def test_ids_may_be_of_any_type() -> None:
    """Text, dictionaries and numbers: equal values are one article in every batch, and a null has none."""
    codes = Articles()
    codes.add(pa.chunked_array([pa.array(["a", "b", None, "a"])]))
    codes.add(pa.chunked_array([pa.array(["b", None]).dictionary_encode()]))
    codes.add(pa.chunked_array([pa.nulls(2)]))
    codes.add(pa.chunked_array([], pa.string()))
    codes.add(pa.chunked_array([pa.array([3])]))
    assert codes.codes.tolist() == [0, 1, UNKNOWN, 0, 1, UNKNOWN, UNKNOWN, UNKNOWN, 2]


def test_ids_that_differ_in_anything_are_different_articles() -> None:
    """Ids that differ by a nanosecond, past the year 9999 or in the last digit are different articles; NaN is null."""
    plain = {name: column for name, column in every_type.as_read().items() if is_plain(column.type)}
    assert len(plain) > 40
    for name, column in plain.items():
        says_none = (
            pc.is_nan(column).to_pylist() if pa.types.is_floating(column.type) else [False] * len(column)
        )
        values = [
            None if none else every_type.exact(value) for value, none in zip(column, says_none, strict=True)
        ]
        known = list(dict.fromkeys(value for value in values if value is not None))
        expected = [UNKNOWN if value is None else known.index(value) for value in values]
        assert Articles().add(pa.chunked_array([column])).tolist() == expected, name


def test_the_store_recognises_a_vector() -> None:
    """A vector is recognised also within one batch; half-precision values, whose last bits are zero, stay distinct."""
    store = VectorStore(DIM)
    rng = np.random.default_rng(0)
    many = rng.standard_normal((2000, 2, DIM)).astype(np.float16).astype(np.float32)
    many[7, 1] = many[1990, 0]
    places = store.add(many)
    assert places[7, 1] == places[1990, 0]
    assert len(store.vectors) == 3999
    assert np.array_equal(store.vectors[places], many)
    assert np.array_equal(store.add(many[5:6]), places[5:6])


def test_vectors_that_differ_in_few_bits_are_distinct() -> None:
    """None of 120,000 vectors that differ only in their signs is mistaken for another."""
    patterns = np.unique(np.random.default_rng(0).integers(0, 2**24, 120_000))
    signs = ((patterns[:, None] >> np.arange(24)) & 1) * 2 - 1
    store = VectorStore(24)
    places = store.add(signs[:, None].astype(np.float32))
    assert len(store.vectors) == len(patterns)
    assert np.array_equal(places[:, 0], np.arange(len(patterns)))


def test_no_article_is_on_both_sides(tmp_path: Path) -> None:
    """The share is of articles, rounded up; the seed chooses them, and rows marked ood are on neither side."""
    vectors = articles(*[12] * 20)
    marks = np.repeat(["in_dist"] * 15 + ["ood"] * 5, 12).tolist()
    rows = read(write_sequences(tmp_path / "s.parquet", vectors, split=marks))
    split = split_by_article(rows, share=0.1, seed=4)
    assert split.n_articles == (13, 2)
    sides = [{place // 12 for place in part.targets.tolist()} for part in (split.training, split.validation)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == set(range(15))
    assert split.ood is not None
    assert {place // 12 for place in split.ood.targets.tolist()} == set(range(15, 20))
    other = split_by_article(rows, share=0.1, seed=5)
    assert other.validation.targets.tolist() != split.validation.targets.tolist()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [((30,), "one article"), ((5, 5, 4), "none of 14 rows is a window")],
)
def test_too_little_to_split_is_refused(tmp_path: Path, lengths: tuple[int, ...], message: str) -> None:
    """One short article cannot be split, and articles no longer than a context have no window."""
    rows = read(write_sequences(tmp_path / "s.parquet", articles(*lengths)))
    with pytest.raises(DataError, match=message):
        split_by_article(rows, share=0.1, seed=0)


def test_the_end_of_a_single_article_is_kept_apart(tmp_path: Path) -> None:
    """No window for training shares a vector with one for validation, and no article is counted for the latter."""
    rows = read(write_sequences(tmp_path / "s.parquet", articles(100)))
    split = split_by_article(rows, share=0.1, seed=0)
    assert split.n_articles == (1, 0)
    assert split.validation.targets.tolist() == list(range(90, 100))
    used = [
        {*part.contexts.reshape(-1).tolist(), *part.targets.tolist()}
        for part in (split.training, split.validation)
    ]
    assert not used[0] & used[1]
    assert max(used[0]) == min(used[1]) - 1


def test_windows_without_targets_are_refused(tmp_path: Path) -> None:
    """The hint names the missing target column."""
    path = tmp_path / "w.parquet"
    pq.write_table(pa.table({"context": lists(np.ones((4, 5, 768), np.float32))}), path)
    with pytest.raises(DataError) as error:
        split_by_article(read(path), share=0.1, seed=0)
    assert "`target`" in error.value.args[1]
