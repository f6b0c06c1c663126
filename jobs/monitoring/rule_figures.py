"""Figures of several runs, pooled.

The rule: a pooled figure is that of one run over all the rows, so runs are weighted by their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta  # noqa: TC003 - a dataclass's
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.history.run_entry import Figure, RunEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Window:
    """The runs that ended from ``since`` on, and those that ended before, both in the order of their ends."""

    since: datetime
    until: datetime
    inside: tuple[RunEntry, ...]
    before: tuple[RunEntry, ...]

    @property
    def length(self) -> timedelta:
        """The length of the window."""
        return self.until - self.since

    def reference(self, has: Callable[[RunEntry], bool]) -> tuple[RunEntry, ...]:
        """Return the runs to compare the window's with: of those that ``has`` takes, the ones of the equally long time
        before it, or, where there are none, the last one before.
        """
        able = tuple(run for run in self.before if has(run))
        near = tuple(run for run in able if run.ended >= self.since - self.length)
        return near or able[-1:]


def pooled(figures: Iterable[Figure | None]) -> Figure:
    """Return the mean and standard deviation of all rows that ``figures`` are of.

    The deviation is ``None`` where that of a figure is not known; that of a single row is no matter.
    """
    known = [figure for figure in figures if figure is not None and figure.mean is not None and figure.n > 0]
    n = sum(figure.n for figure in known)
    if not n:
        return Figure(None, 0)
    mean = sum(figure.n * _mean(figure) for figure in known) / n
    if n == 1 or any(figure.std is None and figure.n > 1 for figure in known):
        return Figure(mean, n)
    squares = sum(
        (figure.n - 1) * (figure.std or 0.0) ** 2 + figure.n * (_mean(figure) - mean) ** 2 for figure in known
    )
    return Figure(mean, n, (squares / (n - 1)) ** 0.5)


def interval(figure: Figure, confidence: float) -> tuple[float, float] | None:
    """Return the two-sided z-interval of a mean: mean ± z · std / √n; ``None`` where the deviation is not known.

    Rows are taken as independent; those of one article are not quite, so the interval is rather too narrow.
    """
    if figure.mean is None or figure.std is None:
        return None
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * figure.std / figure.n**0.5
    return figure.mean - reach, figure.mean + reach


def fallback_rate(runs: Iterable[RunEntry]) -> Figure:
    """Return the fraction of routed rows that took the fallback, and how many were routed."""
    counts = [run.rows_by_route for run in runs]
    n = sum(sum(rows.values()) for rows in counts)
    return Figure(sum(rows.get("gru", 0) for rows in counts) / n, n) if n else Figure(None, 0)


def input_norm(runs: Iterable[RunEntry]) -> Figure:
    """Return the mean norm of the input: that of each run's sample, for all rows of the run; without a deviation."""
    return pooled(Figure(run.input_norm.mean, run.rows_in) for run in runs if run.input_norm)


def centroid(runs: Sequence[RunEntry]) -> np.ndarray | None:
    """Return the mean vector of the input, (dim,) float64: that of each run's sample, for all rows of the run.

    ``None`` of no vectors, or where widths differ.
    """
    sampled = [(run.rows_in, run.input_centroid) for run in runs if has_centroid(run)]
    if not sampled or len({len(vector or ()) for _, vector in sampled}) > 1:
        return None
    weights, vectors = zip(*sampled, strict=True)
    return np.asarray(np.average(np.asarray(vectors, np.float64), axis=0, weights=weights))


def has_norm(run: RunEntry) -> bool:
    """Whether the run's input was sampled."""
    norm = run.input_norm
    return run.rows_in > 0 and norm is not None and norm.n > 0 and norm.mean is not None


def has_centroid(run: RunEntry) -> bool:
    """Whether the run's input was sampled, its mean vector too."""
    return has_norm(run) and bool(run.input_centroid)


def _mean(figure: Figure) -> float:
    return 0.0 if figure.mean is None else figure.mean
