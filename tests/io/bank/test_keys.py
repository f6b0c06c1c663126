"""Tests that rows of a dataset are recognised among those that a bank was built of, by article and position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.bank.keys import BankKeys
from lvm_batch.io.dataset.batches import ContextPlaces

ARTICLES, POSITIONS = ["a", "a", "b", None, "b", "a"], [0, 1, 0, 1, None, 1]


def of(keys: BankKeys, articles: Any, positions: Any) -> list[int]:  # noqa: ANN401 - Arrow columns
    """The numbers of single rows."""
    index = np.arange(len(positions))[:, np.newaxis]
    places = ContextPlaces(pa.chunked_array([articles]), pa.chunked_array([positions]), index)
    return keys.of_contexts(places)[:, 0].tolist()


def test_equal_rows_have_equal_numbers() -> None:
    """Rows of the bank that are the same row twice have one number; without an article or a position, it is -1."""
    keys = BankKeys(pa.array(ARTICLES), pa.array(POSITIONS), digest="d")
    numbers = keys.numbers.tolist()
    assert numbers[3:5] == [-1, -1]
    assert numbers[1] == numbers[5]
    assert len({*numbers} - {-1}) == 3
    assert of(keys, pa.array(ARTICLES), pa.array(POSITIONS)) == numbers
    assert of(keys, pa.array(["a", "c", "b"]), pa.array([2, 0, 1])) == [-1, -1, keys.numbers[2] + 1]


@pytest.mark.parametrize(
    ("article", "position"),
    [
        (pa.large_string(), pa.int8()),
        (pa.string_view(), pa.uint64()),
        (pa.dictionary(pa.int8(), pa.string()), pa.float64()),
        (pa.binary(), pa.decimal128(19)),
    ],
)
def test_the_encoding_does_not_matter(article: pa.DataType, position: pa.DataType) -> None:
    """Texts, numbers and dictionaries are compared by their values."""
    keys = BankKeys(pa.array(ARTICLES), pa.array(POSITIONS, pa.int16()), digest="d")
    articles, positions = pa.array(ARTICLES).cast(article), pa.array(POSITIONS).cast(position)
    assert of(keys, articles, positions) == keys.numbers.tolist()


def test_ids_of_another_kind_are_nobodys() -> None:
    """Numbers are not the texts that spell them."""
    keys = BankKeys(pa.array([1, 2]), pa.array([0, 0]), digest="d")
    assert of(keys, pa.array(["1", "2"]), pa.array([0, 0])) == [-1, -1]
    assert of(keys, pa.array([2, 3], pa.int8()), pa.array([0, 0])) == [keys.numbers[1], -1]
