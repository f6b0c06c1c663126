"""Puts small units into groups that share a task.

The rule: a group holds neighbours of few rows, and never so many units that a worker would be left without a task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Unit

    Group = tuple[Unit, ...]

# A task costs the driver 3 to 7 ms whatever it does (2026-11-23, distributed 2026.8), so small units share one.
_GROUP_ROWS = 1024
_GROUP_UNITS = 32
_TASKS_A_SLOT = 4
"""Tasks for each slot at least, if there are enough units: a group must not leave other workers idle."""


def group_units(units: Sequence[Unit], n_slots: int) -> Iterator[Group]:
    """Group neighbours up to a batch of rows, and leave enough groups for ``n_slots``."""
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
