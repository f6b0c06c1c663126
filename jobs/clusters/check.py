"""Checks whether a run can get its workers, before anything is contacted.

The rule: every problem is reported at once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.kinds import KINDS, backends_of
from lvm_batch.jobs.errors import Problem, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.settings.run import RunSettings

_ONE = "keep one of the two; `lvm-batch config show --origin` says where each is from"


def check_cluster(settings: RunSettings) -> None:
    """Raise :class:`SettingsError` or :class:`MissingExtra` if the workers are not available."""
    backends = backends_of(settings)
    checks = (backend.check() for backend in backends)
    problems = [*_contradictions(settings), *chain.from_iterable(checks)]
    problems = problems or list(backends[-1].check_request())
    if problems:
        raise SettingsError(*problems)


def _contradictions(settings: RunSettings) -> Iterator[Problem]:
    if settings.cluster and settings.scheduler:
        yield Problem(
            f"--cluster {settings.cluster} and --scheduler {settings.scheduler} are both given", _ONE
        )
    elif settings.scheduler and settings.workers:
        yield Problem(
            f"--workers {settings.workers} and --scheduler {settings.scheduler} are both given",
            "leave out --workers: those of the scheduler do the work, as many as there are",
        )
    if settings.adapt and settings.workers:
        yield Problem(f"--adapt {settings.adapt} and --workers {settings.workers} are both given", _ONE)
    if settings.adapt and not (settings.cluster and KINDS[settings.cluster].adapts):
        adapting = " or ".join(name for name, kind in KINDS.items() if kind.adapts)
        yield Problem("--adapt needs a cluster to adapt", f"give --cluster {adapting}, or leave it out")
