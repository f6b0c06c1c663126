"""Rows of vectors and their other columns, wherever they come from: what packing reads.

The rule: everything about a source is known from headers and footers before any row is read; its rows are then read a
block at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.schema import Pad, WindowShape

_SUFFIX = re.compile(r"\.(npz|npy|parquet|parq|pq|(jsonl|ndjson|json)(\.(gz|zst|bz2))?)$", re.IGNORECASE)
_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows: vectors as float arrays (rows, floats), and the other columns.

    ``null`` lists for each column the rows without a usable vector, whose values have no meaning. ``padded`` counts the
    rows whose context was padded.
    """

    vectors: dict[str, NDArray[Any]]
    null: dict[str, list[int]]
    others: pa.Table
    padded: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that are packed into files of their own, named ``stem``.

    ``vectors`` maps the columns of vectors, in order, to their types; the first holds contexts or vectors, as ``shape``
    says: vectors of ``shape.dim``, ``shape.length`` a row. ``others`` is the schema of the other columns, and
    ``other_bytes`` an upper bound of their bytes a row, if that may be more than the vectors. ``blocks(n_rows)`` reads
    the rows in order, ``n_rows`` at a time, and ``columns(names, n_rows)`` those of the other columns alone.
    ``notices`` is what the user should know.
    """

    file: InputFile
    part: str
    n_rows: int
    shape: WindowShape
    vectors: dict[str, np.dtype[Any]]
    others: pa.Schema
    notices: tuple[str, ...]
    blocks: Callable[[int], Iterator[Block]]
    columns: Callable[[Sequence[str], int], Iterator[pa.Table]]
    other_bytes: int = 0

    @property
    def path(self) -> str:
        """The path of its file."""
        return self.file.path

    @property
    def stem(self) -> str:
        """The stem of the names of its files; each part of a file has a folder of its own."""
        name = _SUFFIX.sub("", self.file.name)
        return f"{self.part}/{name}" if self.part else name

    @property
    def row_bytes(self) -> int:
        """Bytes of a row as float32, or more if its other columns may take more."""
        return max(self.shape.width * _FLOAT32_BYTES, self.other_bytes)


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources are read: the user's columns by the parts they play, what is left out, how contexts are padded.

    Unless ``shape`` is given, it is measured.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    shape: WindowShape | None = None
    leave_out: frozenset[str] = frozenset()
    pad: Pad = "repeat"
