"""How a run is watched: the calls that its observers receive, and when.

The rule: a run calls its observers and knows none of them; a new output of a run is a new observer.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.storage.lock_guard import LockGuard
    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.prediction.results.events import Event, Listener
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


@dataclass(frozen=True, slots=True)
class RunBeginning:
    """A run that holds its output: its plan, its settings, and the folder that it writes to."""

    plan: Plan
    settings: RunSettings
    folder: OutputFolder
    hold: LockGuard


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: its summary, the summary as text, and the error if the job is no success."""

    summary: Summary
    text: str
    error: JobError | None


class RunObserver:
    """Watches one run; each method does nothing unless an observer overrides it.

    ``begin`` and ``event`` are called while the run holds its output. The last call is either ``conclude`` or ``fail``,
    after the output is free again. An observer that can do without its work prints one note and lets the run continue;
    an error that an observer raises ends the run.
    """

    def begin(self, run: RunBeginning) -> None:
        """The output is locked and work begins; not called if the run fails earlier."""

    def event(self, event: Event) -> None:
        """``event`` has happened."""

    def conclude(self, outcome: RunOutcome) -> None:
        """The run has ended, with success or with the error of ``outcome``."""

    def fail(self, error: BaseException) -> None:
        """``error`` has stopped the run, or kept it from beginning."""


def make_listener(observers: Sequence[RunObserver], hold: LockGuard) -> Listener:
    """Return a function that passes an event to ``observers``, one after the other.

    It raises :class:`OutputLocked` if ``hold`` is lost. The first observer, which shows the run, gets the event even
    then; the others, which may write about the output, do not.
    """

    def tell(event: Event) -> None:
        for observer in observers[:1]:
            observer.event(event)
        hold.check()
        for observer in observers[1:]:
            observer.event(event)

    return tell


@contextmanager
def report_failures(observers: Sequence[RunObserver]) -> Iterator[None]:
    """Pass the error that the block raises to all ``observers``, the last one first.

    If an observer raises another error, the observers before it and the caller receive that error instead.
    """
    with ExitStack() as stack:
        for observer in observers:
            stack.enter_context(_report_failure(observer))
        yield


@contextmanager
def _report_failure(observer: RunObserver) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        observer.fail(error)
        raise
