"""Rows of vectors and their other columns, wherever they come from: what packing reads.

The rule: everything about a source is known from headers and footers before any row is read; its rows are then read a
block at a time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import ColumnNames, WindowShape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from lvm_batch.io.dataset.files import InputFile
    from lvm_batch.io.schema import Pad

_SUFFIX = re.compile(r"\.(npz|npy|parquet|parq|pq)$", re.IGNORECASE)


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

    ``vectors`` maps the columns of vectors, in order, to their types; the first holds ``length`` vectors a row.
    ``others`` is the schema of the other columns, and ``other_bytes`` an upper bound of their bytes a row, if that may
    be more than the vectors. ``blocks(n_rows)`` reads the rows in order, ``n_rows`` at a time. ``notices`` is what the
    user should know.
    """

    path: str
    part: str
    stem: str
    n_rows: int
    length: int
    vectors: dict[str, np.dtype[Any]]
    others: pa.Schema
    notices: tuple[str, ...]
    blocks: Callable[[int], Iterator[Block]]
    other_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How sources are read: the names of their columns, what is left out, how short contexts are padded."""

    names: ColumnNames = field(default_factory=ColumnNames)
    shape: WindowShape = field(default_factory=WindowShape)
    leave_out: frozenset[str] = frozenset()
    pad: Pad = "repeat"


def stem_of(file: InputFile, part: str = "") -> str:
    """Return the stem of the files that ``file`` is packed into; each ``part`` of it has a folder of its own."""
    name = _SUFFIX.sub("", file.name)
    return f"{part}/{name}" if part else name
