"""Units that share a task.

The rule: units of a few rows go together, neighbours only, as long as no worker has to wait for them. This module does
not know what becomes of a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Unit

    Group = tuple[Unit, ...]

# A task costs the driver 3 to 7 ms whatever it does (2026-11-23, distributed 2026.8): units of a few rows share one.
_GROUP_ROWS = 1024
_GROUP_UNITS = 32
_TASKS_A_SLOT = 4
"""Tasks to each slot at least, as far as there are units: a group must not leave other workers idle."""


def in_groups(units: Sequence[Unit], n_slots: int) -> Iterator[Group]:
    """Put neighbours together until they have a batch of rows, as long as there is enough for every slot."""
    fair_share = max(1, len(units) // (_TASKS_A_SLOT * n_slots))
    group: list[Unit] = []
    n_rows = 0
    for unit in units:
        if group and (n_rows + unit.n_rows > _GROUP_ROWS or len(group) >= min(_GROUP_UNITS, fair_share)):
            yield tuple(group)
            group, n_rows = [], 0
        group.append(unit)
        n_rows += unit.n_rows
    if group:
        yield tuple(group)
