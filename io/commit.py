"""The output folder and its commit protocol.

    OUT/_lvm_batch/job.json          what was asked, written once
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
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.errors import JobChanged, OutputError
from lvm_batch.io.locations import locate
from lvm_batch.io.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

PRIVATE = "_lvm_batch"
JOB = f"{PRIVATE}/job.json"
SUMMARY = f"{PRIVATE}/summary.json"
EVENTS = f"{PRIVATE}/events.jsonl"
DONE = f"{PRIVATE}/done"
TMP = f"{PRIVATE}/tmp"  # noqa: S108 - a folder of the output
SUCCESS = "_SUCCESS"

RECORD_KEY = "lvm_batch.record"
FINGERPRINT_KEY = "lvm_batch.fingerprint"

_MAX_NAME = 200

Record = dict[str, Any]


class OutputFolder:
    """An output folder, seen by the run that drives it and by the workers that fill it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._store = open_store(text, staging=TMP)

    def job(self) -> dict[str, Any] | None:
        """Return what ``job.json`` says, or ``None`` before the first run."""
        return self._read_json(JOB)

    def begin(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``job.json`` unless it is there, and return what it says.

        An input that has changed since is taken as it is now, as long as no unit of it is committed: a file that
        broke can be mended. Raises :class:`JobChanged`, naming what differs, where anything else does, and
        :class:`OutputError` if the folder holds files of something else.
        """
        standing = self.job()
        if standing is None:
            self._refuse_strangers()
            if self._store.create(JOB, _as_json(job)):
                return dict(job)
            standing = self.job() or {}
        if standing.get("fingerprint") != job["fingerprint"]:
            self._refuse_change(standing, json.loads(_as_json(job)))
        return standing

    def _refuse_change(self, standing: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        committed = {record["input"] for record in self.records().values()}
        before = _settled(standing.get("identity", {}), committed)
        now = _settled(asked["identity"], committed)
        if before != now or standing.get("identity") == asked["identity"]:
            raise JobChanged(
                f"{self.text} holds another job: {_difference(before, now)}",
                "choose another --output, or run the command that began this one",
            )

    def records(self) -> dict[str, Record]:
        """Return the commit records by the unit's output path; one whose file is gone or cut short does not count."""
        # Network file systems leave other files behind.
        names = [f"{DONE}/{name}" for name in self._store.names(DONE) if name.endswith(".json")]
        published = self._store.visible_sizes() if names else {}
        records = {}
        for name, content in zip(names, self._store.read_many(names), strict=True):
            record = self._parsed(name, content)
            if record is not None and published.get(record["output"]) == record["bytes"]:
                records[str(record["output"])] = record
        return records

    def record(self, output: str) -> Record | None:
        """Return the commit record of one unit, unless its file is gone or cut short."""
        record = self._read_json(_record_name(output))
        return record if record is not None and self._store.size(output) == record["bytes"] else None

    def stage(self) -> AbstractContextManager[Path]:
        """Give a local path to write a unit to."""
        return self._store.stage()

    def commit(self, staged: Path, record: Record) -> None:
        """Publish a unit's file, then record it."""
        self._store.publish(staged, record["output"])
        self._store.write(_record_name(record["output"]), _as_json(record))

    def adopt(self, output: str, fingerprint: str) -> Record | None:
        """Record a unit whose file was published by this job, but not recorded; return its record, or ``None``."""
        metadata = self._footer(output)
        if metadata.get(FINGERPRINT_KEY) != fingerprint or RECORD_KEY not in metadata:
            return None
        record: Record = json.loads(metadata[RECORD_KEY])
        if record["output"] != output:  # another unit's file under this one's name
            return None
        record["bytes"] = self._store.size(output)
        self._store.write(_record_name(output), _as_json(record))
        return record

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json`` anew."""
        self._store.write(SUMMARY, _as_json(summary))

    def summary(self) -> dict[str, Any] | None:
        """Return what ``summary.json`` says, or ``None``."""
        return self._read_json(SUMMARY)

    def append_events(self, lines: str) -> None:
        """Put lines behind those of earlier runs."""
        self._store.append(EVENTS, lines.encode())

    def mark_success(self, totals: Mapping[str, Any] | None) -> None:
        """Write ``_SUCCESS`` with ``totals`` unless it says so already, or take it away (``None``)."""
        if totals is None:
            self._store.remove(SUCCESS)
        elif self._store.read(SUCCESS) != _as_json(totals):
            self._store.write(SUCCESS, _as_json(totals))

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
        place = locate(self.text).child(output)
        try:
            found = pq.read_metadata(place.path, filesystem=place.filesystem).metadata or {}
        except (FileNotFoundError, pa.ArrowException, OSError):
            return {}  # not published, or not ours: it is computed and replaced
        return {key.decode(): value.decode("utf-8", "replace") for key, value in found.items()}

    def _read_json(self, name: str) -> dict[str, Any] | None:
        return self._parsed(name, self._store.read(name))

    def _parsed(self, name: str, content: bytes | None) -> dict[str, Any] | None:
        if content is None:
            return None
        try:
            value = json.loads(content, object_pairs_hook=_with_shared_keys)
        except (ValueError, RecursionError) as error:
            raise self._damaged(name, str(error)) from error
        if not isinstance(value, dict) or (name.startswith(DONE) and not {"output", "bytes"} <= value.keys()):
            raise self._damaged(name, "it is no record of a job")
        return value

    def _damaged(self, name: str, why: str) -> OutputError:
        hints = {
            JOB: "remove the folder, or choose another --output",
            SUMMARY: "remove that file and run again",
        }
        hint = hints.get(
            name, "remove that file and run again: its unit is taken from its output, or computed anew"
        )
        return OutputError(f"{self.text}/{name} is damaged: {why}", hint)


def _with_shared_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Keep one copy of each key over all records: of 100,000 that is 200 MB."""
    return {sys.intern(key): value for key, value in pairs}


def _record_name(output: str) -> str:
    name = quote(output, safe="")
    if len(name) > _MAX_NAME:  # file systems allow 255 bytes
        name = f"{name[:_MAX_NAME]}-{hashlib.sha256(output.encode()).hexdigest()[:16]}"
    return f"{DONE}/{name}.json"


def _as_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _settled(identity: Mapping[str, Any], committed: set[str]) -> dict[str, Any]:
    """Return what of an identity must not change any more, flat: of inputs without a committed unit only the path."""
    inputs = {
        name: file if file["path"] in committed else {"path": file["path"]}
        for name, file in identity.get("inputs", {}).items()
    }
    return _flat({**identity, "inputs": inputs})


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the first few settings that differ, with both values."""
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    if not keys:
        return "its fingerprint differs"
    shown = [f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}" for key in keys[:3]]
    return "; ".join(shown) + (f"; and {len(keys) - 3} more" if len(keys) > 3 else "")  # noqa: PLR2004


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    if not isinstance(value, dict):
        return {prefix: value}
    inner = (_flat(item, f"{prefix}.{key}" if prefix else str(key)) for key, item in value.items())
    return {key: item for part in inner for key, item in part.items()}


def _brief(value: Any) -> str:  # noqa: ANN401 - any JSON
    return "absent" if value is None else str(value)[:80]
