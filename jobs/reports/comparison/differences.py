"""Says whether the second of two means is better than the first, and how much that is.

The rule: a difference is always the second minus the first. One that chance explains is neither better nor worse.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.prediction.results.totals import ERRORS, MIN_ROWS
from lvm_batch.jobs.reports.groups import spread_of
from lvm_batch.jobs.reports.parts import Cell
from lvm_batch.jobs.reports.text import DASH

if TYPE_CHECKING:
    from lvm_batch.jobs.reports.groups import Spread, Values

_SIZES = ((0.2, "very small"), (0.5, "small"), (0.8, "medium"))
_LARGE = "large"
LEGEND = (
    "Better and worse are marked if chance does not explain the difference: if it exceeds three standard "
    "errors, of the differences row by row if both jobs have the same rows, else of independent rows. Its size "
    "is in standard deviations of"
    " the rows: very small below 0.2, small below 0.5, medium below 0.8, else large (Cohen 1988)."
)


def compare_spreads(first: Spread | None, second: Spread | None) -> Cell:
    """Return whether the second mean is better, that is higher, than the first, and the size of the difference."""
    if first is None or second is None or first.mean is None or second.mean is None:
        return Cell(DASH)
    error = sqrt(first.variance / first.n + second.variance / second.n)
    return _read(first, second, error)


def compare_values(first: Values, second: Values, *, same_rows: bool) -> Cell:
    """Return as :func:`compare_spreads` does for the finite values of each.

    With ``same_rows`` a value of one belongs to the row of the value at its place in the other. Then chance is judged
    by the differences row by row, if the same rows have values: what is hard in both does not blur the comparison.
    """
    spreads = spread_of(first), spread_of(second)
    if same_rows and len(first) == len(second) and (np.isfinite(first) == np.isfinite(second)).all():
        gains = spread_of(second - first)
        return _read(*spreads, sqrt(gains.variance / max(1, gains.n)))
    return compare_spreads(*spreads)


def _read(first: Spread, second: Spread, error: float) -> Cell:
    if first.mean is None or second.mean is None:
        return Cell(DASH)
    gained = second.mean - first.mean
    if gained == 0:
        return Cell("the same")
    if min(first.n, second.n) < MIN_ROWS or abs(gained) <= ERRORS * error:
        return Cell("within chance")
    deviation = sqrt((first.variance + second.variance) / 2)
    size = next((name for below, name in _SIZES if abs(gained) < below * deviation), _LARGE)
    return Cell(f"▲ better, {size}", "better") if gained > 0 else Cell(f"▼ worse, {size}", "worse")
