"""Checks whether a run can get its workers, before anything is contacted.

The rule: every problem is reported at once.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from lvm_batch.jobs.clusters.kinds import KINDS, backends_of
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.settings.sources import flag_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.settings.run import RunSettings

_ONE = "keep one of the two; `lvm-batch config show --origin` shows where each was set"


def check_cluster(settings: RunSettings) -> None:
    """Raise :class:`SettingsError` or :class:`MissingExtra` if the workers are not available."""
    backends = backends_of(settings)
    checks = (backend.check() for backend in backends)
    problems = [*_contradictions(settings), *chain.from_iterable(checks)]
    problems = problems or list(backends[-1].check_request())
    if problems:
        raise SettingsError(*problems)


def _contradictions(settings: RunSettings) -> Iterator[Problem]:
    yield from _contradictions_of_parts(settings)
    if settings.cluster and settings.scheduler:
        yield Problem(
            f"--cluster {settings.cluster} and --scheduler {settings.scheduler} are both given", _ONE
        )
    elif settings.scheduler and settings.workers:
        yield Problem(
            f"--workers {settings.workers} and --scheduler {settings.scheduler} are both given",
            "leave out --workers: the scheduler's own workers do the work",
        )
    if settings.adapt and settings.workers:
        yield Problem(f"--adapt {settings.adapt} and --workers {settings.workers} are both given", _ONE)
    if settings.adapt and not (settings.cluster and KINDS[settings.cluster].adapts):
        adapting = " or ".join(name for name, kind in KINDS.items() if kind.adapts)
        yield Problem(
            "--adapt needs a cluster that can grow and shrink",
            f"give --cluster {adapting}, or leave --adapt out",
        )


_OF_RUNS = ("scheduler", "cluster", "adapt", "wait_for_workers", "dashboard", "performance_report")
"""Settings of Dask and its clusters, which parts do without."""


def _contradictions_of_parts(settings: RunSettings) -> Iterator[Problem]:
    """Yield what a part of a job, or the end of one, cannot be told."""
    if settings.part and settings.finish:
        yield Problem(f"--part {settings.part} and --finish are both given", _ONE)
    if not (settings.part or settings.finish):
        return
    given = f"--part {settings.part}" if settings.part else "--finish"
    for name in _OF_RUNS:
        if getattr(settings, name):
            yield Problem(
                f"{flag_of(name)} and {given} are both given",
                "a part is computed by processes of the machine that it is started on: leave out one of the two",
            )
    if settings.reprocess != "missing":
        yield Problem(
            f"--reprocess {settings.reprocess} and {given} are both given",
            "parts take nothing back, as others are computed beside them: leave out --part, or choose another --output",
        )
