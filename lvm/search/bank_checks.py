"""Whether an array is a bank, and whether queries fit it.

The rule: a bank is a matrix of finite rows of unit norm, so that no cosine is above 1 or NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.errors import BankError

if TYPE_CHECKING:
    from lvm_batch.lvm.search.neighbours import Floats

_VECTORS = 1024  # checked at a time
_NORM_TOLERANCE = 1e-3  # what float16 leaves of a unit norm


def check_bank(vectors: Floats) -> None:
    """Raise BankError unless the bank is a matrix of finite rows of unit norm."""
    if vectors.ndim != 2:  # noqa: PLR2004
        raise BankError(f"a bank of shape {vectors.shape}, not (vectors, dim)", "build the bank again")
    for start in range(0, len(vectors), _VECTORS):
        block = vectors[start : start + _VECTORS]
        norms = np.sqrt(np.einsum("nd,nd->n", block, block))
        bad = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))
        if len(bad):
            message = f"vector {start + bad[0]} of the bank has a norm of {norms[bad[0]]:.3g}, not 1"
            raise BankError(message, "build the bank again: it makes unit norms")


def check_queries(queries: Floats, dim: int) -> None:
    """Raise BankError unless the queries are a matrix of the bank's width."""
    if queries.ndim != 2 or queries.shape[1] != dim:  # noqa: PLR2004
        message = f"a bank of dimension {dim} cannot be searched with vectors of shape {queries.shape}"
        raise BankError(message, "build the bank from vectors of the model's dimension")
