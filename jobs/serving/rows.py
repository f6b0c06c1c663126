"""Rows as requests bring them, and what the models make of them.

The rule: arrays only, one entry for each row; rows of several requests can be joined and divided again. Does not know
how a body is written, or what answers a row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """``contexts`` is float32 (n, length, dim), finite; ``lanes`` holds n strings or ``None``.

    ``context_tokens`` is float64 (n,), NaN where not known; ``targets`` is float32 (n, dim), NaN where there is none.
    ``usable`` is bool (n,): a row that is not keeps its place, takes part in nothing and has no answer.
    """

    contexts: NDArray[np.float32]
    lanes: Sequence[str | None]
    context_tokens: NDArray[np.float64]
    targets: NDArray[np.float32] | None
    usable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.contexts)


def joined(groups: Sequence[Rows]) -> Rows:
    """Put the rows of several requests behind one another."""
    if len(groups) == 1:
        return groups[0]
    return Rows(
        np.concatenate([rows.contexts for rows in groups]),
        [lane for rows in groups for lane in rows.lanes],
        np.concatenate([rows.context_tokens for rows in groups]),
        _joined_targets(groups),
        np.concatenate([rows.usable for rows in groups]),
    )


def _joined_targets(groups: Sequence[Rows]) -> NDArray[np.float32] | None:
    if all(rows.targets is None for rows in groups):
        return None
    shape = groups[0].contexts.shape[2]
    return np.concatenate(
        [
            np.full((len(rows), shape), np.nan, np.float32) if rows.targets is None else rows.targets
            for rows in groups
        ]
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """What the models say of n rows; floats are NaN where there is nothing to say.

    ``prediction`` is float32 (n, dim) of unit norm; ``escalated`` (n,) tells whose it is; ``reasons`` is bool (n, 4),
    in the order of ``REASONS``. ``answered`` (n,) is false of rows that were not usable, and of those so large that
    float32 could not hold their answer.
    """

    prediction: NDArray[np.float32]
    escalated: NDArray[np.bool_]
    reasons: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    amn_cosine: NDArray[np.float32]
    gru_cosine: NDArray[np.float32]
    answered: NDArray[np.bool_]

    @property
    def cosine(self) -> NDArray[np.float32]:
        """Cosine of each prediction with its target, float32 (n,)."""
        return np.where(self.escalated, self.gru_cosine, self.amn_cosine)

    def divided(self, sizes: Sequence[int]) -> Iterator[Answers]:
        """Yield the answers of each request, of ``sizes`` rows."""
        if len(sizes) == 1:
            yield self
            return
        start = 0
        for size in sizes:
            part = slice(start, start + size)
            yield Answers(*(getattr(self, field.name)[part] for field in fields(self)))
            start += size
