"""The rows that two models are compared on before a role changes.

The rule: both models get the same rows, and the same dataset gives the same rows. Only the user knows whether a model
was trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.jobs.evaluation.judged_rows import JudgedDataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lvm_batch.io.schema import WindowShape
    from lvm_batch.jobs.evaluation.judged_rows import JudgedRows
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

    Floats = NDArray[np.float32]

_LOOK_AHEAD = 20
"""How many times ``n_rows`` are searched for rows out of distribution."""


@dataclass(frozen=True, slots=True)
class HeldOutSample:
    """Contexts (n, length, dim) and targets (n, dim), float32; the first ``n_ood`` are out of distribution.

    ``notices`` say what the user should know of the files.
    """

    contexts: Floats
    targets: Floats
    n_ood: int
    notices: tuple[str, ...] = ()


@dataclass(slots=True)
class _FirstRows:
    """The first rows of one kind; ``room`` is how many more fit."""

    room: int
    contexts: list[Floats]
    targets: list[Floats]

    def add(self, rows: JudgedRows, which: NDArray[np.bool_]) -> None:
        chosen = np.flatnonzero(which)[: self.room]
        self.contexts.append(rows.contexts[chosen])
        self.targets.append(rows.targets[chosen])
        self.room -= len(chosen)


def held_out_sample(settings: EvaluateSettings, *, shape: WindowShape, n_rows: int) -> HeldOutSample:
    """Read the first ``n_rows`` windows with a target, those with the split ``ood`` first.

    If few are ``ood``, the first 20 times as many rows are searched for them. Raises ``DataError`` if the dataset
    cannot be read, has contexts of another ``shape``, or has no window with a target.
    """
    ood, others = _FirstRows(n_rows, [], []), _FirstRows(n_rows, [], [])
    n_seen = 0
    dataset = JudgedDataset(settings, dim=shape.dim, length=shape.length)
    for rows in dataset:
        n_seen += len(rows.targets)
        is_ood = _is_ood(rows)
        ood.add(rows, is_ood)
        others.add(rows, ~is_ood)
        enough = n_rows if rows.splits is None else _LOOK_AHEAD * n_rows
        if not ood.room or (not others.room and n_seen >= enough):
            break
    return HeldOutSample(
        np.concatenate([*ood.contexts, *others.contexts])[:n_rows],
        np.concatenate([*ood.targets, *others.targets])[:n_rows],
        n_rows - ood.room,
        dataset.notices,
    )


def _is_ood(rows: JudgedRows) -> NDArray[np.bool_]:
    if rows.splits is None:
        return np.zeros(len(rows.targets), np.bool_)
    return np.asarray(rows.splits == "ood", np.bool_)
