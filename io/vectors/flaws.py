"""What is wrong with rows of vectors, judged by their values.

The rule: a value is judged once it is float32, so that the same numbers have the same flaws in every encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Flaws:
    """The rows of an array that are bad or were padded, by their row numbers.

    ``bad`` gives the reason why a row is unusable; ``short`` the number of vectors of a padded row.
    """

    bad: dict[int, str] = field(default_factory=dict)
    short: dict[int, int] = field(default_factory=dict)


def checked_values(out: NDArray[np.float32]) -> Flaws:
    """Return the flaws of full rows in ``out``, float32 (rows, length, dim), and make bad rows zeros."""
    flaws = Flaws()
    find_bad_values(out, flaws)
    for row in flaws.bad:
        out[row] = 0.0
    return flaws


def find_bad_values(out: NDArray[np.float32], flaws: Flaws) -> None:
    """Mark rows that hold NaN or infinity, or, in contexts, only zeros.

    One pass of sums of squares finds suspects; only these are checked value by value, since a sum may also overflow or
    underflow over good values. Padding repeats a vector or adds zeros, so it does not change the result.
    """
    n_rows, length, dim = out.shape
    flat = out.reshape(n_rows, length * dim)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", flat, flat)
    suspects = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
    for row in (row for row in suspects.tolist() if row not in flaws.bad):
        if np.isnan(flat[row]).any():
            flaws.bad[row] = "nan"
        elif np.isinf(flat[row]).any():
            flaws.bad[row] = "inf"
        elif length > 1 and not flat[row].any():
            flaws.bad[row] = "zero_norm"
