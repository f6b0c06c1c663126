"""The output folder and its commit protocol.

    OUT/_lvm_batch/job.json          what was asked, written once
    OUT/_lvm_batch/grown/<n>.json    what the dataset has grown by since, each written once
    OUT/_lvm_batch/accepted.json     how far it had grown when it last succeeded
    OUT/_lvm_batch/tmp/              being written
    OUT/_lvm_batch/done/<unit>.json  commit record of one unit
    OUT/_lvm_batch/events.jsonl      the run as it went
    OUT/_lvm_batch/summary.json      what came of it
    OUT/_SUCCESS                     there only if every unit is committed and no row is missing

The rule: a unit's file is written aside, published whole under its final name, and then recorded; a unit counts
as done when its record is there. A published file without a record is adopted if its footer says that this job
wrote it. This module does not know what a job computes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from lvm_batch.io.answers import answers
from lvm_batch.io.errors import InputNotFound, JobChanged, OutputError
from lvm_batch.io.growth import growth, joined
from lvm_batch.io.job_changes import Difference, job_difference
from lvm_batch.io.json_documents import JsonDocuments, Kind, as_json
from lvm_batch.io.listing import look_at
from lvm_batch.io.locations import folders_above, locate
from lvm_batch.io.store import open_store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from contextlib import AbstractContextManager
    from io import BufferedReader
    from pathlib import Path

    from lvm_batch.io.answers import Place
    from lvm_batch.io.locations import Location

PRIVATE = "_lvm_batch"
JOB = f"{PRIVATE}/job.json"
GROWN = f"{PRIVATE}/grown"
ACCEPTED = f"{PRIVATE}/accepted.json"
SUMMARY = f"{PRIVATE}/summary.json"
EVENTS = f"{PRIVATE}/events.jsonl"
DONE = f"{PRIVATE}/done"
TMP = f"{PRIVATE}/tmp"  # noqa: S108 - a folder of the output
SUCCESS = "_SUCCESS"

RECORD_KEY = "lvm_batch.record"
FINGERPRINT_KEY = "lvm_batch.fingerprint"

_MAX_NAME = 200

_REMOVE_ALL = "remove the folder, or choose another --output"
_KINDS = {
    JOB: Kind(frozenset({"identity", "units"}), _REMOVE_ALL),
    GROWN: Kind(frozenset({"inputs", "units", "unreadable"}), _REMOVE_ALL),
    ACCEPTED: Kind(frozenset({"growths"}), "remove that file and run again"),
    DONE: Kind(
        frozenset({"output", "bytes"}),
        "remove that file and run again: its unit is taken from its output, or computed anew",
    ),
}

Record = dict[str, Any]


class OutputFolder:
    """An output folder, seen by the run that drives it and by the workers that fill it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._store = open_store(text, staging=TMP)
        self._documents = JsonDocuments(self._store, text, kinds=_KINDS)

    def job(self) -> dict[str, Any] | None:
        """Return what was asked, with all that the dataset has grown by; ``None`` before the first run."""
        first = self._documents.read(JOB)
        return None if first is None else joined(first, self._documents.read_all(GROWN))

    def required_job(self) -> dict[str, Any]:
        """Return what was asked, as :meth:`job`; raises :class:`InputNotFound` where there is no job."""
        job = self.job()
        if job is None:
            hint = "name the folder that was given to run as --output"
            raise InputNotFound(f"{self.text} holds no job", hint)
        return job

    def accepted_job(self) -> dict[str, Any] | None:
        """Return the job as it was when it last succeeded; ``None`` if it never did, or its units were taken back."""
        first, accepted = self._documents.read(JOB), self._documents.read(ACCEPTED)
        if first is None or accepted is None:
            return None
        return joined(first, self._documents.read_all(GROWN)[: accepted["growths"]])

    def begin(
        self, job: Mapping[str, Any], *, kept: Collection[str] = (), again: Collection[str] = ()
    ) -> dict[str, Any]:
        """Write ``job.json`` unless it is there, and return what was asked by it and since.

        A dataset that has grown is taken as it is now, and so is an input that has changed, as long as no unit of it is
        committed: a file that broke can be mended. Units whose output is in ``again`` are taken back and count as not
        committed. Inputs whose name is in ``kept`` stay in the job without being asked for. Raises :class:`JobChanged`,
        naming what differs, where anything else does, and :class:`OutputError` if the folder holds files of something
        else.
        """
        standing = self.job()
        if standing is None:
            self._refuse_strangers()
            if self._documents.create(JOB, job):
                return dict(job)
            standing = self.job() or {}
        if difference := self._difference(standing, job, kept=kept, again=again):
            raise JobChanged(f"{self.text} holds another job: {difference.text}", difference.hint)
        self._take_back(again)
        return self._grown(standing, job)

    def difference(
        self, job: Mapping[str, Any], *, kept: Collection[str] = (), again: Collection[str] = ()
    ) -> Difference | None:
        """Say in what ``job`` differs from the one that the folder holds; ``None`` if it may go on with it."""
        standing = self.job()
        return self._difference(standing, job, kept=kept, again=again) if standing else None

    def _difference(
        self,
        standing: Mapping[str, Any],
        asked: Mapping[str, Any],
        *,
        kept: Collection[str],
        again: Collection[str],
    ) -> Difference | None:
        if self._is_as_begun(standing, asked):
            return None
        plain = json.loads(as_json({"identity": asked["identity"]}))
        if standing.get("identity") == plain["identity"] and not self._documents.names(GROWN):
            return Difference("its fingerprint differs", "choose another --output")
        committed = {record["input"] for output, record in self.records().items() if output not in again}
        return job_difference(standing, plain, committed=committed, kept=kept)

    def _is_as_begun(self, standing: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
        """Whether what is asked is what the job began with, and still is: one that has grown keeps its fingerprint."""
        return standing.get("fingerprint") == asked["fingerprint"] and not self._documents.names(GROWN)

    def _grown(self, standing: dict[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._is_as_begun(standing, asked) and not standing.get("unreadable"):
            return standing
        grown = growth(standing, json.loads(as_json(asked)))
        if grown is None:
            return standing
        changed = {file["path"] for file in grown["inputs"].values()}
        outdated = [unit["output"] for unit in standing["units"] if unit["input"] in changed]
        self._refuse_committed(outdated)
        self._store.remove(SUCCESS)
        # A file that was published and not recorded would be adopted for what its input is now.
        self._remove_units(outdated)
        number = len(self._documents.names(GROWN)) + 1
        while not self._documents.create(f"{GROWN}/{number:05d}.json", grown):
            number += 1
        return self.job() or {}

    def _refuse_committed(self, outputs: Iterable[str]) -> None:
        for output in outputs:
            if self.record(output) is not None:
                raise JobChanged(
                    f"{self.text} holds {output}, which is committed for what its input was before",
                    "add --reprocess failed to predict changed inputs again",
                )

    def _take_back(self, outputs: Collection[str]) -> None:
        if outputs:  # readers wait from here on
            self._store.remove(SUCCESS)
            self._store.remove(ACCEPTED)
        self._remove_units(outputs)

    def _remove_units(self, outputs: Iterable[str]) -> None:
        """Remove units, each file before its record: a record without its file counts for nothing, while a file without
        its record would be adopted.
        """
        for output in outputs:
            self._store.remove(output)
            self._store.remove(_record_name(output))

    def records(self) -> dict[str, Record]:
        """Return the commit records by the unit's output path; one whose file is gone or cut short does not count."""
        recorded = self.recorded()
        published = self.published() if recorded else {}
        return {
            output: record for output, record in recorded.items() if published.get(output) == record["bytes"]
        }

    def recorded(self) -> dict[str, Record]:
        """Return every commit record by the unit's output path, whatever has become of its file."""
        return {str(record["output"]): record for record in self._documents.read_all(DONE)}

    def published(self) -> dict[str, int]:
        """Return the bytes of every file that readers of the folder take, by its path below it."""
        return self._store.visible_sizes()

    def open(self, output: str) -> pa.NativeFile:
        """Open a published file for reading; raises ``OSError`` if it is not there."""
        place = locate(self.text).child(output)
        return place.filesystem.open_input_file(place.path)

    def record(self, output: str) -> Record | None:
        """Return the commit record of one unit, unless its file is gone or cut short."""
        record = self._documents.read(_record_name(output))
        return record if record is not None and self._store.size(output) == record["bytes"] else None

    def stage(self) -> AbstractContextManager[Path]:
        """Give a local path to write a unit to."""
        return self._store.stage()

    def commit(self, staged: Path, record: Record) -> Record:
        """Publish a unit's file, then record it; return the record, which tells the file's size and checksum."""
        with staged.open("rb") as file:
            record = record | _measured(file)
        self._store.publish(staged, record["output"])
        self._documents.write(_record_name(record["output"]), record)
        return record

    def adopt(self, output: str, fingerprint: str, place: Place | None = None) -> Record | None:
        """Record a unit whose file this job published for the rows at ``place``, but did not record.

        Returns its record, or ``None`` where no such file is there.
        """
        metadata = self._footer(output)
        if metadata.get(FINGERPRINT_KEY) != fingerprint or RECORD_KEY not in metadata:
            return None
        record: Record = json.loads(metadata[RECORD_KEY])
        if record["output"] != output or not answers(record, place or {}):  # another's file under this name
            return None
        with self.open(output) as file:
            record = record | _measured(file)
        self._documents.write(_record_name(output), record)
        return record

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json`` anew."""
        self._documents.write(SUMMARY, summary)

    def summary(self) -> dict[str, Any] | None:
        """Return what ``summary.json`` says, or ``None``."""
        return self._documents.read(SUMMARY)

    def append_events(self, lines: str) -> None:
        """Put lines behind those of earlier runs."""
        self._store.append(EVENTS, lines.encode())

    def mark_success(self, totals: Mapping[str, Any] | None) -> None:
        """Write ``_SUCCESS`` with ``totals`` unless it says so already, or take it away (``None``)."""
        if totals is None:
            self._store.remove(SUCCESS)
        elif self._store.read(SUCCESS) != as_json(totals):
            self._documents.write(ACCEPTED, {"growths": len(self._documents.names(GROWN))})
            self._documents.write(SUCCESS, totals)

    def mark_refused(self) -> None:
        """Take ``_SUCCESS`` away; readers still see the job as it was accepted before it grew, if it was."""
        self._store.remove(SUCCESS)
        accepted = self._documents.read(ACCEPTED)
        if accepted is not None and accepted["growths"] == len(self._documents.names(GROWN)):
            self._store.remove(ACCEPTED)

    def success(self) -> dict[str, Any] | None:
        """Return the totals that ``_SUCCESS`` tells, or ``None`` where it does not stand."""
        return self._documents.read(SUCCESS)

    @property
    def succeeded(self) -> bool:
        """Whether ``_SUCCESS`` stands."""
        return self._store.read(SUCCESS) is not None

    def clear_tmp(self) -> None:
        """Remove what a killed run left half written."""
        for name in self._store.names(TMP):
            self._store.remove(f"{TMP}/{name}")

    def _refuse_strangers(self) -> None:
        stranger = self._store.first_visible()
        if stranger is not None:
            raise OutputError(
                f"{self.text} is not empty and no job of lvm-batch: it holds {stranger}",
                "choose a folder that is new or empty, so that readers of it see predictions only",
            )

    def _footer(self, output: str) -> dict[str, str]:
        try:
            with self.open(output) as file:
                found = pq.read_metadata(file).metadata or {}
        except (pa.ArrowException, OSError):
            return {}  # not published, or not ours: it is computed and replaced
        return {
            key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found.items()
        }


def job_around(output: Location) -> Location | None:
    """Return the output folder of a job that ``output`` lies in; ``None`` where there is none, or none that shows."""
    for folder in folders_above(output):
        with suppress(InputNotFound):  # access may be given to the output alone
            if look_at(folder.child(JOB)).type == fs.FileType.File:
                return folder
    return None


def _measured(file: BufferedReader | pa.NativeFile) -> dict[str, Any]:
    return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": file.tell()}


def _record_name(output: str) -> str:
    name = quote(output, safe="")
    if len(name) > _MAX_NAME:  # file systems allow 255 bytes
        name = f"{name[:_MAX_NAME]}-{hashlib.sha256(output.encode()).hexdigest()[:16]}"
    return f"{DONE}/{name}.json"
