"""What is counted while a unit is written: part of its commit record, and what a summary is made of.

The rule: a tally is a sum. Tallies of blocks add up to a unit's and those of units to a job's, in any order; means are
computed at the very end. A field is declared once: its JSON form and its addition follow from its type.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import chain, islice
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SHOWN_BAD_ROWS = 20

Counts = dict[str, int]


class Sums(NamedTuple):
    """How many values are known, and their sum, in float64."""

    n: int = 0
    sum: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean of the values, or ``None`` of none."""
        return self.sum / self.n if self.n else None


class SquareSums(NamedTuple):
    """Sums with squares, which are counted by themselves, as records of older versions have none."""

    n: int = 0
    sum: float = 0.0
    n_squares: int = 0
    squares: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean of the values, or ``None`` of none."""
        return Sums(self.n, self.sum).mean

    @property
    def deviation(self) -> float | None:
        """The standard deviation (of a sample, n - 1).

        ``None`` of fewer than two values, and where the squares of some are not known.
        """
        if self.n < 2 or self.n_squares != self.n:  # noqa: PLR2004 - one value has no deviation
            return None
        return sqrt(max(0.0, self.squares - self.sum**2 / self.n) / (self.n - 1))


NOTHING = Sums()
NO_SQUARES = SquareSums()
"""The sums of no values."""

SumsByPart = dict[str, Sums]


class BadRow(NamedTuple):
    """A row of the input that has no prediction: its number in the file, and why."""

    row: int
    detail: str


BadRows = tuple[BadRow, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of rows, sums of figures over the rows that have them, and the first few bad rows."""

    rows_out: int
    rows_by_route: Counts = field(default_factory=dict)
    rows_by_reason: Counts = field(default_factory=dict)
    rows_by_status: Counts = field(default_factory=dict)
    rows_by_detail: Counts = field(default_factory=dict)
    rows_with_reasons: int = 0
    shadow_rows: int = 0
    cosine: Sums = NOTHING
    amn_cosine: Sums = NOTHING
    gru_cosine: Sums = NOTHING
    cosine_by_split: SumsByPart = field(default_factory=dict)
    cosine_by_route: SumsByPart = field(default_factory=dict)
    escalation_gain: SquareSums = NO_SQUARES
    shadow_gain: SquareSums = NO_SQUARES
    confidence: Sums = NOTHING
    margin: Sums = NOTHING
    bad_rows: BadRows = ()
    context_gain: SquareSums = NO_SQUARES

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the tally of a record; records of older versions have fewer fields.

        Raises an error of ``MALFORMED`` where a count is missing or no number.
        """
        return cls(**{name: kind.read(values[name]) for name, kind in _FIELDS.items() if name in values})

    def to_json(self) -> dict[str, Any]:
        """Return the tally's part of a record; fields that 0.1.0 does not have are left out where they are empty."""
        values = {name: getattr(self, name) for name in _FIELDS}
        return {
            name: _FIELDS[name].write(value)
            for name, value in values.items()
            if name not in _YOUNGER or value != _YOUNGER[name]
        }


def add_tallies(tallies: Iterable[Tally]) -> Tally:
    """Add tallies up; of bad rows the first few are kept."""
    every = tuple(tallies)
    return Tally(
        **{name: kind.add(getattr(tally, name) for tally in every) for name, kind in _FIELDS.items()}
    )


def as_count(value: object) -> int:
    """Return a whole number; raises ``TypeError`` for anything else."""
    if type(value) is not int:
        raise TypeError(f"{value!r} is no count")
    return value


def _read_counts(values: Counts) -> Counts:
    if not {int}.issuperset(map(type, values.values())):
        raise TypeError(f"{values} has a value that is not a count")
    return values


def _add_counts(parts: Iterable[Counts]) -> Counts:
    total: Counts = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total


def _read_sums(values: Mapping[str, Any]) -> Sums:
    return Sums(as_count(values["n"]), float(values["sum"]))


def _add_sums(parts: Iterable[Sums]) -> Sums:
    n, total = 0, 0.0
    for part in parts:
        n, total = n + part.n, total + part.sum
    return Sums(n, total)


def _read_square_sums(values: Mapping[str, Any]) -> SquareSums:
    return SquareSums(
        as_count(values["n"]),
        float(values["sum"]),
        as_count(values.get("n_squares", 0)),
        float(values.get("squares", 0.0)),
    )


def _add_square_sums(parts: Iterable[SquareSums]) -> SquareSums:
    n, total, n_squares, squares = 0, 0.0, 0, 0.0
    for part in parts:
        n, total = n + part.n, total + part.sum
        n_squares, squares = n_squares + part.n_squares, squares + part.squares
    return SquareSums(n, total, n_squares, squares)


def _read_parts(values: Mapping[str, Any]) -> SumsByPart:
    return {name: _read_sums(part) for name, part in values.items()}


def _write_parts(parts: SumsByPart) -> dict[str, Any]:
    return {name: sums._asdict() for name, sums in parts.items()}


def _add_parts(parts: Iterable[SumsByPart]) -> SumsByPart:
    total: SumsByPart = {}
    for part in parts:
        for name, sums in part.items():
            total[name] = _add_sums((total.get(name, NOTHING), sums))
    return total


def _read_bad_rows(values: Iterable[Mapping[str, Any]]) -> BadRows:
    return tuple(BadRow(as_count(bad["row"]), str(bad["detail"])) for bad in values)


def _write_bad_rows(rows: BadRows) -> list[dict[str, Any]]:
    return [row._asdict() for row in rows]


def _add_bad_rows(parts: Iterable[BadRows]) -> BadRows:
    return tuple(islice(chain.from_iterable(parts), SHOWN_BAD_ROWS))


class _Kind(NamedTuple):
    """How a field of one type is read from JSON, written to it, and added."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    add: Callable[[Iterable[Any]], Any]


_KINDS = {
    "int": _Kind(as_count, int, sum),
    "Counts": _Kind(_read_counts, dict, _add_counts),
    "Sums": _Kind(_read_sums, Sums._asdict, _add_sums),
    "SquareSums": _Kind(_read_square_sums, SquareSums._asdict, _add_square_sums),
    "SumsByPart": _Kind(_read_parts, _write_parts, _add_parts),
    "BadRows": _Kind(_read_bad_rows, _write_bad_rows, _add_bad_rows),
}
_YOUNGER = {"context_gain": NO_SQUARES}
_FIELDS = {each.name: _KINDS[str(each.type)] for each in fields(Tally)}
