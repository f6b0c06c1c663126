"""Adds commit records up: counts, rates, means, and the first bad rows.

The rule: every figure follows from the commit records, so that it is the same whether a run resumed or not.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from math import copysign, inf
from typing import TYPE_CHECKING, Any

from lvm_batch.io.output.tally import NOTHING, SHOWN_BAD_ROWS, SquareSums, Sums
from lvm_batch.io.schema import ROUTES, SPLITS
from lvm_batch.jobs.prediction.execution.tally import total_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lvm_batch.io.output.commit_record import CommitRecord


MIN_ROWS = 10
ERRORS = 3
"""A loss is more than chance if at least so many rows show it, by so many standard errors."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over ``n`` rows; ``None`` of none."""

    mean: float | None
    n: int

    @classmethod
    def of(cls, sums: Sums) -> Mean:
        """Return the mean of what was summed."""
        return cls(sums.mean, sums.n)


@dataclass(frozen=True, slots=True)
class Gain:
    """A mean difference over ``n`` rows and its standard deviation (of the sample, n - 1); ``None`` if not known."""

    mean: float | None
    n: int
    std: float | None = None

    @classmethod
    def of(cls, sums: SquareSums) -> Gain:
        """Return the mean and the deviation of what was summed."""
        return cls(sums.mean, sums.n, sums.deviation)

    @property
    def error(self) -> float | None:
        """The standard error of the mean."""
        return None if self.std is None else self.std / self.n**0.5

    @property
    def is_loss(self) -> bool | None:
        """Whether the mean is below zero by more than chance explains; ``None`` if too few rows are known to tell.

        That is three standard errors, not the usual two: neighbouring windows share most of their vectors, so that rows
        count for less than independent ones do, and a job that runs every night should not warn by chance.
        """
        errors = self._errors
        return None if errors is None else errors < -ERRORS

    @property
    def is_gain(self) -> bool | None:
        """Whether the mean is above zero by as much; ``None`` if too few rows are known to tell."""
        errors = self._errors
        return None if errors is None else errors > ERRORS

    @property
    def _errors(self) -> float | None:
        """The mean in standard errors; ``None`` if too few rows are known to tell."""
        if self.mean is None or self.error is None or self.n < MIN_ROWS:
            return None
        return self.mean / self.error if self.error else copysign(inf, self.mean) if self.mean else 0.0


NO_GAIN = Gain(None, 0)


@dataclass(frozen=True, slots=True)
class BadRowInFile:
    """A row that has no prediction: its file, its number there, and why."""

    file: str
    row: int
    detail: str


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of some commit records; ``seconds`` are those of each part of the work, over all workers."""

    rows_in: int
    rows_out: int
    rows_by_route: dict[str, int]
    rows_by_reason: dict[str, int]
    rows_by_status: dict[str, int]
    rows_by_detail: dict[str, int]
    rows_with_reasons: int
    shadow_rows: int
    fallback_rate: float
    bad_row_rate: float
    cosine: Mean
    amn_cosine: Mean
    gru_cosine: Mean
    escalation_gain: Gain
    shadow_gain: Gain
    confidence: Mean
    margin: Mean
    cosine_by_split: dict[str, Mean]
    cosine_by_route: dict[str, Mean]
    bad_rows: tuple[BadRowInFile, ...]
    seconds: dict[str, float]
    context_gain: Gain = NO_GAIN

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the figures."""
        return asdict(self)


def totals_of(records: Iterable[CommitRecord]) -> Totals:
    """Add up commit records."""
    records = sorted(records, key=lambda record: record.output)
    total = total_of(record.tally for record in records)
    routed = sum(total.rows_by_route.values())
    rows_in = sum(record.rows_in for record in records)
    return Totals(
        rows_in=rows_in,
        rows_out=total.rows_out,
        rows_by_route=total.rows_by_route,
        rows_by_reason=total.rows_by_reason,
        rows_by_status=total.rows_by_status,
        rows_by_detail=total.rows_by_detail,
        rows_with_reasons=total.rows_with_reasons,
        shadow_rows=total.shadow_rows,
        fallback_rate=total.rows_by_route["gru"] / routed if routed else 0.0,
        bad_row_rate=total.rows_by_status["bad_input"] / rows_in if rows_in else 0.0,
        cosine=Mean.of(total.cosine),
        amn_cosine=Mean.of(total.amn_cosine),
        gru_cosine=Mean.of(total.gru_cosine),
        escalation_gain=Gain.of(total.escalation_gain),
        shadow_gain=Gain.of(total.shadow_gain),
        confidence=Mean.of(total.confidence),
        margin=Mean.of(total.margin),
        cosine_by_split=_means(total.cosine_by_split, SPLITS),
        cosine_by_route=_means(total.cosine_by_route, ROUTES),
        bad_rows=_bad_rows(records),
        seconds=_seconds(records),
        context_gain=Gain.of(total.context_gain),
    )


def _means(sums: Mapping[str, Sums], parts: Iterable[str]) -> dict[str, Mean]:
    return {part: Mean.of(sums.get(part, NOTHING)) for part in parts}


def _bad_rows(records: Sequence[CommitRecord]) -> tuple[BadRowInFile, ...]:
    places = (
        BadRowInFile(record.place.input, bad.row, bad.detail)
        for record in records
        for bad in record.tally.bad_rows
    )
    return tuple(islice(places, SHOWN_BAD_ROWS))


def _seconds(records: Iterable[CommitRecord]) -> dict[str, float]:
    """Add up the seconds of each part; an adopted unit has none."""
    seconds: dict[str, float] = {}
    for record in records:
        for part, spent in (record.seconds or {}).items():
            seconds[part] = seconds.get(part, 0.0) + spent
    return {part: round(spent, 3) for part, spent in seconds.items()}
