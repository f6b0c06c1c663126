"""The files of units in an output folder, and their commit records.

The rule: a unit's file is written aside, published whole under its final name, where none is, and then recorded; a unit
counts as done when its record is there and describes that file. A published file without a record is adopted if its
footer says that this job wrote it, and one that the job still asks for is never replaced: workers may outlive the run
that they work for.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace, answering
from lvm_batch.io.storage.json_documents import MALFORMED, as_json
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from io import BufferedReader
    from pathlib import Path

    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.storage.json_documents import JsonDocuments
    from lvm_batch.io.storage.store import Store

PRIVATE = "_lvm_batch"
DONE = f"{PRIVATE}/done"

RECORD_KEY = "lvm_batch.record"
FINGERPRINT_KEY = "lvm_batch.fingerprint"

_MAX_NAME = 200
_TRIES = 5


class UnitFiles(ABC):
    """The units that are committed in the folder at ``text``."""

    def __init__(self, text: str, store: Store, documents: JsonDocuments) -> None:
        self.text = text
        self._store = store
        self._documents = documents

    @abstractmethod
    def job(self) -> JobDocument | None:
        """Return the job whose units these are; ``None`` before the first run."""

    def records(self, outputs: Iterable[str] | None = None) -> dict[str, CommitRecord]:
        """Return the commit records by the unit's output path; one whose file is gone or cut short does not count.

        If ``outputs`` are given, only theirs are read.
        """
        recorded = self.recorded(outputs)
        published = self.published() if recorded else {}
        return {
            output: record for output, record in recorded.items() if published.get(output) == record.bytes
        }

    def recorded(self, outputs: Iterable[str] | None = None) -> dict[str, CommitRecord]:
        """Return every commit record, or those of ``outputs``, whatever has become of their files."""
        names = self._documents.names(DONE) if outputs is None else list(map(record_name, outputs))
        found = self._documents.read_these(names)
        return {record.output: record for record in (self._record(values) for _, values in found)}

    def n_recorded(self, outputs: Iterable[str]) -> int:
        """Return how many of ``outputs`` have a commit record; none of them is read."""
        return len(set(self._documents.names(DONE)).intersection(map(record_name, outputs)))

    def _record(self, values: dict[str, Any]) -> CommitRecord:
        try:
            return CommitRecord.from_json(values)
        except MALFORMED as error:
            raise OutputError(
                f"{self.text}/{DONE} is damaged: the record of {values['output']} lacks a count",
                "remove what is damaged, then run the job's command again",
            ) from error

    def published(self) -> dict[str, int]:
        """Return the bytes of every file that readers of the folder take, by its path below it."""
        return self._store.visible_sizes()

    def open(self, output: str) -> pa.NativeFile:
        """Open a published file for reading; raises ``OSError`` if it is not there."""
        place = locate(self.text).child(output)
        return place.filesystem.open_input_file(place.path)

    def record(self, output: str) -> CommitRecord | None:
        """Return the commit record of one unit, unless its file is gone or cut short."""
        values = self._documents.read(record_name(output))
        record = self._record(values) if values is not None else None
        return record if record is not None and self._store.size(output) == record.bytes else None

    def stage(self) -> AbstractContextManager[Path]:
        """Give a local path to write a unit to."""
        return self._store.stage()

    def commit(self, staged: Path, record: CommitRecord) -> CommitRecord:
        """Publish a unit's file, then record it; return the record, which has the file's size and checksum.

        Where another run has published the unit in the meantime, its file stays, and its record is returned. Raises
        :class:`OutputError` if the job no longer has the unit.
        """
        with staged.open("rb") as file:
            whole = _measured(record, file)
        output = record.output
        for _ in range(_TRIES):
            if self._store.publish_new(staged, output) and self._documents.create(
                record_name(output), whole.to_json()
            ):
                return whole
            if existing := self._adopted_for(staged, whole):
                return existing
            self._refuse_outdated(record)
            self._store.remove(output)
        raise OutputError(
            f"{self.text}/{output} cannot be published: it keeps changing",
            "check what else writes there, then run again",
        )

    def _adopted_for(self, staged: Path, whole: CommitRecord) -> CommitRecord | None:
        """Adopt the file that is published already, if it is the same unit of this job, or the staged one itself."""
        with staged.open("rb") as file:
            fingerprint = _metadata(file).get(FINGERPRINT_KEY, "")
        return self.adopt(whole.output, fingerprint, whole.place, staged=whole)

    def _refuse_outdated(self, record: CommitRecord) -> None:
        job = self.job()
        if job is not None and not answering(job, {record.output: record}):
            raise OutputError(
                f"{self.text}/{record.output} is not replaced, because this run read an earlier state of its input",
                "another run is predicting its present state; wait until it ends, then run again",
            )

    def adopt(
        self,
        output: str,
        fingerprint: str,
        place: UnitPlace | None = None,
        *,
        staged: CommitRecord | None = None,
    ) -> CommitRecord | None:
        """Write the record of a unit whose file this job published for the rows at ``place`` without recording it.

        Returns its record, or ``None`` where no such file is there. ``staged`` is the record of a file that it may be,
        which has more in it than its footer.
        """
        try:
            with self.open(output) as file:
                record = _footer_record(file, fingerprint)
                if (
                    record is None
                    or record.output != output
                    or not record.place.agrees_with(place or record.place)
                ):
                    return None  # another's file under this name
                # First: it may change while the file is measured.
                before = self._store.read(record_name(output))
                record = _measured(record, file)
        except ConnectionError:
            raise
        except (pa.ArrowException, OSError):
            return None  # not published, or not ours: it is computed and replaced
        if staged is not None and _same_bytes(staged, record):
            record = staged
        return self._recorded_as(record, before) or self.adopt(output, fingerprint, place, staged=staged)

    def _recorded_as(self, record: CommitRecord, before: bytes | None) -> CommitRecord | None:
        """Write a record in place of ``before`` unless it says the same; ``None`` if it has changed."""
        name = record_name(record.output)
        values = self._documents.parsed(name, before)
        existing = self._record(values) if values is not None else None
        if existing and _same_bytes(existing, record) and existing.place.agrees_with(record.place):
            return existing
        return record if self._store.swap(name, as_json(record.to_json()), before=before) else None

    def remove_units(self, outputs: Iterable[str]) -> None:
        """Remove units, each file before its record: a record without its file counts for nothing, while a file without
        its record would be adopted.
        """
        for output in outputs:
            self._store.remove(output)
            self._store.remove(record_name(output))


def _footer_record(file: pa.NativeFile, fingerprint: str) -> CommitRecord | None:
    """Return the record in the footer of a file of the job with this fingerprint; ``None`` of any other file."""
    metadata = _metadata(file)
    if metadata.get(FINGERPRINT_KEY) != fingerprint or RECORD_KEY not in metadata:
        return None
    try:
        return CommitRecord.from_json(json.loads(metadata[RECORD_KEY]))
    except MALFORMED:
        return None


def _metadata(file: BufferedReader | pa.NativeFile) -> dict[str, str]:
    found = pq.read_metadata(file).metadata or {}
    return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found.items()}


def _same_bytes(record: CommitRecord, other: CommitRecord) -> bool:
    return (record.sha256, record.bytes) == (other.sha256, other.bytes)


def _measured(record: CommitRecord, file: BufferedReader | pa.NativeFile) -> CommitRecord:
    file.seek(0)
    return replace(record, sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=file.tell())


def record_name(output: str) -> str:
    """Return the path of a unit's commit record below the output folder."""
    name = quote(output, safe="")
    if len(name) > _MAX_NAME:  # file systems allow 255 bytes
        name = f"{name[:_MAX_NAME]}-{hashlib.sha256(output.encode()).hexdigest()[:16]}"
    return f"{DONE}/{name}.json"
