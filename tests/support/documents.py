"""Documents of an output folder, built from the few values that a test is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.output.commit_record import CommitRecord
from lvm_batch.io.output.job_documents import JobDocument, Success

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOB = {
    "version": "0.1.0",
    "job_id": "j",
    "unreadable": [],
    "settings": {},
    "models": {},
    "rows": 0,
    "units": [],
}


def job_of(values: Mapping[str, Any]) -> JobDocument:
    """A job with these values; it has no units and all else is empty unless given."""
    return JobDocument.from_json({**_JOB, **values})


def record_of(**values: Any) -> CommitRecord:  # noqa: ANN401 - of any field, in its JSON form
    """The record of a unit of three rows of `/in/a`, with these values changed."""
    return CommitRecord.from_json({"input": "/in/a", "rows_in": 3, "rows_out": 3, **values})


def success_of(units: int = 0) -> Success:
    """The success marker of these units."""
    return Success("j", "f", units, 3 * units, 3 * units, {"amn": 3 * units}, {"ok": 3 * units})
