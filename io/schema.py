"""The words of the formats that this project reads and writes, each defined once.

The rule: this module holds names, types and the parts that columns play, and imports nothing of the project, so that
every other module of this room may import it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

Layout = Literal["windows", "sequences"]
"""What a row of the input is: a whole context, or one vector of an article."""

Pad = Literal["repeat", "zero", "reject"]
"""What fills the front of a context that has too few vectors: its first vector, zeros, or nothing: the row is bad."""

FloatDtype = Literal["float32", "float16"]
"""The floats that vectors are packed as."""

OutputDtype = Literal["float32", "float16", "int8", "binary"]
"""How vectors are written: as floats, as codes of 8 bits, or as the signs of their components."""

STATUSES = ("ok", "short_context", "bad_input")
"""What a row can be; the codes below are the places in this list."""
OK, SHORT_CONTEXT, BAD_INPUT = range(3)

ROUTES = ("amn", "gru")
"""Whose prediction a row has: the primary model's or the fallback's."""
NO_ROUTE = -1

SPLITS = ("in_dist", "ood")
"""The values of the split column that evaluation tells apart."""

PREDICTION = "prediction"
"""The column of predictions, which a job may leave out."""

STATUS = "status"
"""The column that says whether a row has a prediction, in the words of :data:`STATUSES`."""

OUTPUT_COLUMNS = (
    PREDICTION,
    "cosine",
    "route",
    "escalation_reasons",
    "confidence",
    "margin",
    "amn_cosine",
    "gru_cosine",
    "shadow",
    STATUS,
    "status_detail",
)
"""The columns that a job adds to the carried ones."""

NEIGHBOUR_COLUMNS = ("neighbour_ids", "neighbour_cosines")
"""The columns that a job adds if it writes neighbours."""


FILE_ARTICLE = "@file"
"""In place of an article column: each file is one article."""
ROW_POSITION = "@row"
"""In place of a position column: the rows of an article are in reading order as they are in the file."""
NO_COLUMN = "@none"
"""In place of an optional column: no column plays the part, whatever the columns are called."""


@dataclass(frozen=True, slots=True)
class WindowShape:
    """The shape of a context: ``length`` vectors of ``dim`` components."""

    length: int = 5
    dim: int = 768

    @property
    def width(self) -> int:
        """Components in one context."""
        return self.length * self.dim


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """What the columns with a part are called in this dataset."""

    context: str = "context"
    vector: str = "vector"
    target: str = "target"
    lane: str = "lane"
    context_tokens: str = "context_tokens"
    tokens: str = "tokens"
    split: str = "split"
    article: str = "article_id"
    position: str = "position"


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """Which columns of the input go to the output: ``only`` these, or all if it is empty, but none of ``dropped``.

    A column that is left out still plays its part: a lane that is not written is routed by all the same.
    """

    only: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def keeps(self, name: str) -> bool:
        """Whether the column ``name`` of the input is carried."""
        return name not in self.dropped and (not self.only or name in self.only)


EVERY_COLUMN = ColumnChoice()
"""The choice to carry all columns."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns of one file by the part they play; ``None`` where the file has no such column.

    ``vectors`` is the column of contexts (windows) or of vectors (sequences), empty if a file without rows has none.
    ``tokens`` is the context's token count (windows) or one sentence's (sequences). In sequences ``position`` is
    ``None`` if rows are in reading order as they are. ``carried`` maps each column that goes to the output, as the
    input calls it, to its name there.
    """

    layout: Layout
    vectors: str
    target: str | None
    lane: str | None
    tokens: str | None
    split: str | None
    article: str | None
    position: str | None
    carried: Mapping[str, str]

    @property
    def read_columns(self) -> list[str]:
        """Every column a reader needs, each once."""
        parts = (self.vectors, self.target, self.lane, self.tokens, self.article, self.position)
        return list(dict.fromkeys([*(p for p in parts if p is not None), *self.carried]))

    @property
    def columns_beside(self) -> list[str]:
        """Every column a reader needs but those of vectors, each once."""
        return [name for name in self.read_columns if name not in {self.vectors, self.target}]

    @property
    def window_columns_beside(self) -> list[str]:
        """Those of ``window_columns`` that are no vectors."""
        return [name for name in self.window_columns if name != self.vectors]

    @property
    def coded_columns(self) -> list[str]:
        """The columns of a few texts each, which are read as codes: each distinct text is held once."""
        return list(dict.fromkeys(part for part in (self.lane, self.split) if part is not None))

    @property
    def window_columns(self) -> list[str]:
        """What a row of the sequences layout gives to the windows of its neighbours, each column once."""
        parts = (self.vectors, self.article, self.position, self.tokens)
        return list(dict.fromkeys(part for part in parts if part is not None))


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A share of a job that a process computes by itself: part ``number`` of ``count``, counted from 1."""

    count: int
    number: int

    @classmethod
    def named(cls, text: str) -> Self | None:
        """Return the part that ``3/16``, or ``3-of-16`` in the name of a file, stands for; ``None`` if none does."""
        found = re.fullmatch("([0-9]{1,6})(?:/|-of-)([0-9]{1,6})", text)
        part = cls(int(found[2]), int(found[1])) if found else None
        return part if part and 1 <= part.number <= part.count else None

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file_name(self) -> str:
        """How names of its files begin."""
        return f"{self.number}-of-{self.count}"

    def share(self, units: Sequence[T]) -> Sequence[T]:
        """Return its share of a job's units: every ``count``-th, from the place of its ``number`` on."""
        return units[self.number - 1 :: self.count]
