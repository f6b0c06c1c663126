"""Adds a run that came to its end to the history.

The rule: a history that cannot be written changes nothing about the run.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.prediction.observers import RunObserver
from lvm_batch.jobs.prediction.results.events import RunSummarised

if TYPE_CHECKING:
    from collections.abc import Callable

    from lvm_batch.jobs.prediction.observers import RunBeginning
    from lvm_batch.jobs.prediction.results.events import Event
    from lvm_batch.jobs.prediction.telemetry.input_sample import Sample
    from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors


class History(RunObserver):
    """Writes one entry for a run that did anything, to the history at ``place``.

    If the history cannot be written (``OSError``, ``DataError``: a full disk, no access, a store that is away, an
    address that leads nowhere), ``tell`` gets one note. If the input cannot be sampled any more, the entry has no
    sample. Anything else is a bug.
    """

    _run: RunBeginning

    def __init__(self, place: str, *, tell: Callable[[str], object]) -> None:
        self._place = place
        self._tell = tell

    def begin(self, run: RunBeginning) -> None:
        """Keep what the entry needs of the run."""
        self._run = run

    def event(self, event: Event) -> None:
        """Write the entry, unless the run has lost its output: an entry tells others that the run came to its end."""
        if isinstance(event, RunSummarised):
            self._run.hold.check()
            if event.computed or event.summary.failed_units:
                self._add(event)

    def _add(self, end: RunSummarised) -> None:
        from lvm_batch.io.history.history import write_run
        from lvm_batch.jobs.prediction.telemetry.history_entry import entry_of

        try:
            write_run(self._place, entry_of(self._run, end, self._sample(end)))
        except (OSError, DataError) as problem:
            self._tell(f"the run was not added to the history {redact(self._place)}: {_what(problem)}")

    def _sample(self, end: RunSummarised) -> Sample:
        from lvm_batch.jobs.prediction.telemetry.input_sample import NO_SAMPLE, sample_input

        try:
            computed = {record.output for record in end.computed}
            return sample_input(self._run.plan, computed, digest=self._digest())
        except (OSError, DataError) as problem:
            self._tell(f"no sample of the input was added to the history: {_what(problem)}")
            return NO_SAMPLE

    def _digest(self) -> TrainingVectors | None:
        """Return the digest of what the primary model was trained on, None if its file tells nothing (any more)."""
        from lvm_batch.io.storage.locations import read_file
        from lvm_batch.lvm.checkpoints.training_vectors import training_vectors_of
        from lvm_batch.lvm.errors import ModelError

        primary = self._run.plan.job.models.primary
        try:
            content = read_file(primary.path)
            is_same = hashlib.sha256(content).hexdigest() == primary.sha256
            return training_vectors_of(content, primary.path) if is_same else None
        except (OSError, DataError, ModelError) as problem:
            self._tell(f"it is unknown whether the model was trained on this input: {redact(str(problem))}")
            return None


def _what(problem: OSError | DataError) -> str:
    return redact(str(problem.args[0] if isinstance(problem, DataError) else problem))
