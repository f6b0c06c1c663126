"""The output folder and its commit protocol.

    OUT/_lvm_batch/job.json          the job as it was requested, written once
    OUT/_lvm_batch/grown/<n>.json    what was added to the dataset since, each written once
    OUT/_lvm_batch/accepted.json     how far it had grown when it last succeeded
    OUT/_lvm_batch/tmp/              being written
    OUT/_lvm_batch/done/<unit>.json  commit record of one unit
    OUT/_lvm_batch/events.jsonl      the run as it went
    OUT/_lvm_batch/summary.json      its results
    OUT/_lvm_batch/report.html       the same as a page
    OUT/_lvm_batch/lock              which run writes here and, in a store, which of these documents are valid
    OUT/_lvm_batch/parts/<k>-of-<n>.lock, .events.jsonl   the same of a part of the job, computed beside others
    OUT/_SUCCESS                     there only if every unit is committed and no row is missing

The rule: the requested job is written once, ``_SUCCESS`` is valid for all of it or not there, and a run that has lost
the output changes nothing any more. ``unit_files`` commits units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import InputNotFound, JobChanged, OutputError
from lvm_batch.io.output.fenced_documents import CountedDocuments
from lvm_batch.io.output.growth import growth, joined, refused_growth
from lvm_batch.io.output.job_difference import Difference, job_difference
from lvm_batch.io.output.job_documents import Acceptance, Growth, JobDocument, Success
from lvm_batch.io.output.unit_files import DONE, PRIVATE, UnitFiles
from lvm_batch.io.storage.json_documents import JsonDocuments, Kind, as_json
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from lvm_batch.io.schema import Part
    from lvm_batch.io.storage.lock_guard import LockGuard

JOB = f"{PRIVATE}/job.json"
GROWN = f"{PRIVATE}/grown"
ACCEPTED = f"{PRIVATE}/accepted.json"
SUMMARY = f"{PRIVATE}/summary.json"
EVENTS = f"{PRIVATE}/events.jsonl"
REPORT = f"{PRIVATE}/report.html"
LOCK = f"{PRIVATE}/lock"
PARTS, PART_EVENTS = f"{PRIVATE}/parts", ".events.jsonl"
TMP = f"{PRIVATE}/tmp"  # noqa: S108 - a folder of the output
SUCCESS = "_SUCCESS"

_REMOVE_ALL = "remove the folder, or choose another --output"
_KINDS = {
    JOB: Kind(frozenset({"identity", "units"}), _REMOVE_ALL),
    GROWN: Kind(frozenset({"inputs", "units", "unreadable"}), _REMOVE_ALL),
    ACCEPTED: Kind(frozenset({"growths"}), "remove that file and run again"),
    DONE: Kind(
        frozenset({"output", "bytes"}),
        "remove that file and run again: its unit is read from its output, or computed again",
    ),
}


class OutputFolder(UnitFiles):
    """An output folder, seen by the run that drives it and by the workers that fill it.

    A run passes its ``hold``: each change raises :class:`OutputLocked` if the hold is lost. So does a ``part`` of one,
    which adds units and events of its own, and for the rest is a reader.
    """

    def __init__(self, text: str, *, hold: LockGuard | None = None, part: Part | None = None) -> None:
        may_change = hold.check if hold is not None else lambda: None
        store = open_store(text, staging=TMP, may_change=may_change)
        super().__init__(text, store, JsonDocuments(store, text, kinds=_KINDS))
        self._counted = CountedDocuments(self._store, self._documents, lock=LOCK, hold=None if part else hold)
        self._events = f"{PARTS}/{part.file_name}{PART_EVENTS}" if part else EVENTS

    def job(self) -> JobDocument | None:
        """Return the job with all that was added to its dataset; ``None`` before the first run."""
        first = self._first_job()
        return None if first is None else joined(first, self._growths())

    def required_job(self) -> JobDocument:
        """Return the job, as :meth:`job` does; raises :class:`InputNotFound` if there is none."""
        job = self.job()
        if job is None:
            hint = "give the folder that `run` got as --output"
            raise InputNotFound(f"{self.text} holds no job", hint)
        return job

    def accepted_job(self) -> JobDocument | None:
        """Return the job as it last succeeded; ``None`` if it never did, or if units of it were removed since."""
        first, accepted = self._first_job(), self._acceptance()
        if first is None or accepted is None:
            return None
        return joined(first, self._growths()[: accepted.growths])

    def _first_job(self) -> JobDocument | None:
        values = self._documents.read(JOB)
        return None if values is None else self._documents.as_type(JobDocument, JOB, values)

    def _acceptance(self) -> Acceptance | None:
        values = self._counted.read(ACCEPTED)
        return None if values is None else self._documents.as_type(Acceptance, ACCEPTED, values)

    def _growths(self) -> list[Growth]:
        found = self._documents.read_these(self._counted.names(GROWN))
        return [self._documents.as_type(Growth, name, values) for name, values in found]

    def begin(
        self, job: JobDocument, *, kept: Collection[str] = (), again: Collection[str] = ()
    ) -> JobDocument:
        """Write ``job.json`` unless it is there, and return the job with all that was added to it.

        New inputs are added, and an input that has changed replaces its earlier version if none of its units is
        committed, so that a damaged file can be repaired. Units whose output is in ``again`` are removed, and count as
        not committed. Inputs whose name is in ``kept`` stay in the job even if ``job`` lacks them. Raises
        :class:`JobChanged`, naming the first differences, if anything else differs, and :class:`OutputError` if the
        folder holds other files.
        """
        existing = self._begun(job, kept=kept, again=again)
        self._take_back(again)
        return self._grown(existing, job)

    def join(self, job: JobDocument, *, kept: Collection[str] = ()) -> JobDocument:
        """Do as :meth:`begin`, but raise :class:`JobChanged` if inputs are new or changed: parts share a job."""
        existing = self._begun(job, kept=kept, again=())
        if added := refused_growth(existing, job):
            raise JobChanged(f"{self.text} holds the job without what is new: {added.text}", added.hint)
        return existing

    def _begun(self, job: JobDocument, *, kept: Collection[str], again: Collection[str]) -> JobDocument:
        """Return the job, written now unless it is there; raises :class:`JobChanged` if it is another."""
        self._counted.begin((SUCCESS, ACCEPTED), folder=GROWN)
        existing = self.job()
        if existing is None:
            self._refuse_strangers()
            if self._documents.create(JOB, job.to_json()):
                return job
            existing = self.required_job()
        if difference := self._difference(existing, job, kept=kept, again=again):
            raise JobChanged(f"{self.text} holds another job: {difference.text}", difference.hint)
        return existing

    def difference(
        self, job: JobDocument, *, kept: Collection[str] = (), again: Collection[str] = ()
    ) -> Difference | None:
        """Return how ``job`` differs from the job in the folder; ``None`` if it may continue that job."""
        existing = self.job()
        return self._difference(existing, job, kept=kept, again=again) if existing else None

    def _difference(
        self, existing: JobDocument, requested: JobDocument, *, kept: Collection[str], again: Collection[str]
    ) -> Difference | None:
        if self._is_as_begun(existing, requested):
            return None
        if existing.identity == requested.identity and not self._counted.names(GROWN):
            return Difference("its fingerprint differs", "choose another --output")
        committed = {record.place.input for output, record in self.records().items() if output not in again}
        return job_difference(existing.identity, requested.identity, committed=committed, kept=kept)

    def _is_as_begun(self, existing: JobDocument, requested: JobDocument) -> bool:
        """Whether the request equals the first one and nothing was added since: additions keep the fingerprint."""
        return existing.fingerprint == requested.fingerprint and not self._counted.names(GROWN)

    def _grown(self, existing: JobDocument, requested: JobDocument) -> JobDocument:
        if self._is_as_begun(existing, requested) and not existing.unreadable:
            return existing
        grown = growth(existing, requested)
        if grown is None:
            return existing
        changed = {file.path for file in grown.inputs.values()}
        outdated = [unit.output for unit in existing.units if unit.input in changed]
        self._refuse_committed(outdated)
        self._counted.set({SUCCESS: None})
        # A file that was published but not recorded would be adopted for the changed input.
        self.remove_units(outdated)
        self._counted.add(GROWN, grown.to_json())
        return self.required_job()

    def _refuse_committed(self, outputs: Iterable[str]) -> None:
        for output in outputs:
            if self.record(output) is not None:
                raise JobChanged(
                    f"{self.text} holds {output}, which is committed for an earlier state of its input",
                    "add --reprocess failed to predict changed inputs again",
                )

    def _take_back(self, outputs: Collection[str]) -> None:
        if outputs:  # readers wait from here on
            self._counted.set({SUCCESS: None, ACCEPTED: None})
        self.remove_units(outputs)

    def write_report(self, page: bytes) -> None:
        """Write ``report.html``, replacing the previous one."""
        self._store.write(REPORT, page)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``, replacing the previous one."""
        self._documents.write(SUMMARY, summary)

    def summary(self) -> dict[str, Any] | None:
        """Return the content of ``summary.json``; ``None`` if there is none."""
        return self._documents.read(SUMMARY)

    def append_events(self, lines: str) -> None:
        """Append lines after those of earlier runs, each part to a file of its own."""
        self._store.append(self._events, lines.encode())

    def mark_success(self, success: Success | None) -> None:
        """Write ``_SUCCESS`` unless its content is the same already; with ``None``, remove it."""
        if success is None:
            self._counted.set({SUCCESS: None})
        elif self._counted.content(SUCCESS) != as_json(success.to_json()):
            accepted = Acceptance(len(self._counted.names(GROWN)))
            self._counted.set({ACCEPTED: accepted.to_json(), SUCCESS: success.to_json()})

    def mark_refused(self) -> None:
        """Remove ``_SUCCESS``; readers still see the job as it last succeeded before inputs were added, if it did."""
        self._counted.set({SUCCESS: None})
        accepted = self._acceptance()
        if accepted is not None and accepted.growths == len(self._counted.names(GROWN)):
            self._counted.set({ACCEPTED: None})

    def success(self) -> Success | None:
        """Return the content of ``_SUCCESS``; ``None`` if there is no valid one."""
        values = self._counted.read(SUCCESS)
        return None if values is None else self._documents.as_type(Success, SUCCESS, values)

    @property
    def succeeded(self) -> bool:
        """Whether ``_SUCCESS`` is there, and the run that wrote it held the output."""
        return self._counted.content(SUCCESS) is not None

    @property
    def success_is_stray(self) -> bool:
        """Whether there is a ``_SUCCESS`` that is not valid, because its run had lost the output."""
        return self._store.size(SUCCESS) is not None and not self.succeeded

    def clear_tmp(self) -> None:
        """Remove incomplete files of a killed run."""
        for name in self._store.names(TMP):
            self._store.remove(f"{TMP}/{name}")

    def _refuse_strangers(self) -> None:
        stranger = self._store.first_visible()
        if stranger is not None and self.job() is None:  # another run may have begun the job meanwhile
            raise OutputError(
                f"{self.text} is not empty and holds no lvm-batch job: it has {stranger}",
                "choose a new or empty folder, so that its readers see only predictions",
            )
