"""Rows of vectors with columns beside them, wherever they come from: what packing reads.

The rule: a source is known from headers and footers before anything is read, and is then read a block at a time.
This module knows no file format.
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

    ``null`` holds by column the rows without a usable vector; what stands there has no meaning. ``padded`` counts
    the rows whose context was filled up.
    """

    vectors: dict[str, NDArray[Any]]
    null: dict[str, list[int]]
    others: pa.Table
    padded: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Rows that are packed into files of their own, called ``stem``.

    ``vectors`` maps the columns of vectors, in order, to their types; the first holds ``length`` vectors a row.
    ``others`` is the schema of the rest, and ``other_bytes`` what a row of it takes at most, if it may be more than
    the vectors.
    ``blocks(n_rows)`` reads the rows in order, ``n_rows`` at a time. ``notices`` say what the user should know.
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
    """How sources are understood: the names of their columns, what is left out, how short contexts are filled."""

    names: ColumnNames = field(default_factory=ColumnNames)
    shape: WindowShape = field(default_factory=WindowShape)
    leave_out: frozenset[str] = frozenset()
    pad: Pad = "repeat"


def stem_of(file: InputFile, part: str = "") -> str:
    """Return what files made of ``file`` are called, in a folder of their own for each ``part`` of it."""
    name = _SUFFIX.sub("", file.name)
    return f"{part}/{name}" if part else name
