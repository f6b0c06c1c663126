"""How a run is watched: what its observers hear, and when.

The rule: a run tells its observers and knows none of them; a new output of a run is a new observer.
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
    """A run that holds its output: what it plans, what it was asked for, and where it writes."""

    plan: Plan
    settings: RunSettings
    folder: OutputFolder
    hold: LockGuard


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended: its summary, the same as text, and the error that stands in the way of success, if any."""

    summary: Summary
    text: str
    error: JobError | None


class RunObserver:
    """Watches one run; each method does nothing unless an observer overrides it.

    ``begin`` and ``event`` are called while the run holds its output. ``conclude`` or ``fail``, one of the two, is the
    last call, made once the output is free again. Observers that deal with their own failures print one note and let
    the run go on; whatever an observer raises ends the run.
    """

    def begin(self, run: RunBeginning) -> None:
        """The output is held and work begins; a run that fails before has no beginning."""

    def event(self, event: Event) -> None:
        """Something has happened."""

    def conclude(self, outcome: RunOutcome) -> None:
        """The run came to its end, with success or with the error of ``outcome``."""

    def fail(self, error: BaseException) -> None:
        """``error`` ended the run before it came to its end, or before it began."""


def make_listener(observers: Sequence[RunObserver], hold: LockGuard) -> Listener:
    """Return what passes an event to ``observers``, one after the other.

    It raises :class:`OutputLocked` if ``hold`` is lost. The first observer, which shows the run, hears the event even
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
    """Tell all ``observers``, the last one first, what the block raises.

    If one of them raises another error, those before it hear of that one, and so does the caller.
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
