"""A table at one version: its data files.

The rule: a file is named as part of a dataset, whatever path leads to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TableFile:
    """A data file: its path or URL, its name as part of the dataset, its bytes, and the values of its partition that
    are not in it, as texts.
    """

    path: str
    name: str
    n_bytes: int
    partition: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class TableVersion:
    """The files of a table at a version, sorted by name."""

    table: str
    version: int
    files: tuple[TableFile, ...]
