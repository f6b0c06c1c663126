"""Cosines by split, lane and route, and distributions: what a report's tables and histograms hold.

The rule: a figure is None where no row has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lvm_batch.io.schema import ROUTES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.jobs.reports.columns import Columns, Labels

    Values = NDArray[np.float32]

N_LANES = 20
"""Lanes with most rows, of which figures are given."""

UNNAMED = "(none)"
"""What rows are called whose lane or split is null."""


class Spread(NamedTuple):
    """The mean of the known values among ``n_rows`` rows, their number, and their variance (of the sample, n - 1)."""

    mean: float | None
    n_rows: int
    n: int = 0
    variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share a name; ``spread`` and the quantiles are of the cosines of those with a known target.

    ``by_route`` holds the cosines of the rows of each route; ``gain`` is GRU's cosine minus AMN's where both ran.
    """

    name: str
    rows: int
    spread: Spread
    quantiles: tuple[float, ...]
    by_route: dict[str, Spread]
    gain: float | None

    @property
    def cosine(self) -> float | None:
        """The mean cosine."""
        return self.spread.mean


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def groups_by(columns: Columns, labels: Labels | None) -> list[Group]:
    """Return a group for each name, those with most rows first, and never more than ``N_LANES``."""
    if labels is None:
        return []
    names = (*labels.names, UNNAMED)
    counts = np.bincount(labels.codes % len(names), minlength=len(names))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], names[code]))
    places = labels.codes % len(names)  # -1 is the last
    return [_group(names[code], columns, places == code) for code in order[:N_LANES]]


def everything(columns: Columns) -> Group:
    """Return all rows as one group."""
    return _group("all rows", columns, np.ones(columns.n_rows, np.bool_))


def known(values: Values) -> Values:
    """Return the finite values."""
    return values[np.isfinite(values)]


def mean_of(values: Values) -> float | None:
    """Return the mean of the finite values, in float64, or ``None`` of none."""
    finite = known(values)
    return float(finite.mean(dtype=np.float64)) if len(finite) else None


def spread_of(values: Values) -> Spread:
    """Return mean and variance of the finite values, in float64."""
    finite = known(values)
    variance = float(finite.var(ddof=1, dtype=np.float64)) if len(finite) > 1 else 0.0
    return Spread(mean_of(finite), len(values), len(finite), variance)


def summary_of(values: Values) -> dict[str, Any]:
    """Return count, mean, standard error of the mean, and share above zero of the finite values."""
    finite = known(values)
    n = len(finite)
    return {
        "n": n,
        "mean": mean_of(finite),
        "error": float(finite.std(ddof=1, dtype=np.float64) / np.sqrt(n)) if n > 1 else None,
        "positive": float((finite > 0).mean()) if n else None,
    }


def _group(name: str, columns: Columns, rows: NDArray[np.bool_]) -> Group:
    cosine = columns.floats["cosine"][rows]
    route = columns.route.codes[rows]
    finite = known(cosine)
    routed = {route_name: route == code for code, route_name in enumerate(ROUTES)}
    return Group(
        name=name,
        rows=int(rows.sum()),
        spread=spread_of(cosine),
        quantiles=tuple(np.quantile(finite, QUANTILES).tolist()) if len(finite) else (),
        by_route={route_name: spread_of(cosine[taken]) for route_name, taken in routed.items()},
        gain=mean_of(columns.gain[rows]),
    )
