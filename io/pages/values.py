"""The values of a page: how they lie there, and their way into an array of float32.

The rule: numbers that are stored as they are used go from the file right into the array; others are decoded in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.pages.headers import BYTE_STREAM_SPLIT, PLAIN
from lvm_batch.io.pages.thrift import Irregular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.formats.parquet import OpenParquet
    from lvm_batch.io.pages.levels import Lists


@dataclass(frozen=True, slots=True)
class Leaf:
    """The leaf column of a column of vectors: its place among the leaves, the type of its numbers, and how its values
    are listed. A value is a number or, in a column of bytes, ``numbers`` of them. ``max_level`` is the definition level
    of a value that is there.
    """

    index: int
    dtype: np.dtype[Any]
    lists: Lists
    max_level: int
    numbers: int = 1

    @property
    def value_bytes(self) -> int:
        """The bytes of a value."""
        return self.numbers * self.dtype.itemsize


class ReadValues:
    """The numbers of a page, in memory."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def read_into(self, out: NDArray[np.float32]) -> None:
        """Fill ``out``, of one axis, with the next numbers; a float64 beyond float32 becomes infinite, which is bad."""
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, self._numbers[: len(out)], casting="same_kind")
        self._numbers = self._numbers[len(out) :]


class UnreadValues:
    """The numbers of a page that has not been read: ``n`` float32 at byte ``at`` of the file."""

    def __init__(self, parquet: OpenParquet, at: int, n: int) -> None:
        self._parquet, self._at, self._n = parquet, at, n

    def __len__(self) -> int:
        return self._n

    def read_into(self, out: NDArray[np.float32]) -> None:
        """Fill ``out``, of one axis, with the next numbers; raises :class:`Irregular` if the file ends before."""
        if self._parquet.read_into(self._at, out) < out.nbytes:
            raise Irregular
        self._at += out.nbytes
        self._n -= len(out)


def decode(values: memoryview, encoding: int, leaf: Leaf) -> NDArray[Any]:
    """Return the numbers of a page's values, as a view of them where they are stored one behind the other."""
    if encoding == PLAIN:
        return np.frombuffer(values, leaf.dtype)
    if encoding == BYTE_STREAM_SPLIT:
        streams = np.frombuffer(values, np.uint8).reshape(leaf.value_bytes, -1)
        return np.ascontiguousarray(streams.T).reshape(-1).view(leaf.dtype)
    raise Irregular
