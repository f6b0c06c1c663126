"""Tests of an output's documents: their JSON stays byte for byte as in the release that introduced it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.documents import job_of, record_of
from support.released import RELEASED

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace
from lvm_batch.io.output.job_documents import (
    FORMAT,
    Acceptance,
    Growth,
    Identity,
    InputEntry,
    JobDocument,
    Success,
    UnitEntry,
)
from lvm_batch.io.output.tally import BadRow, SquareSums, Sums, Tally
from lvm_batch.io.storage.json_documents import as_json

if TYPE_CHECKING:
    from pathlib import Path

OUT = RELEASED / "out"
PRIVATE = OUT / "_lvm_batch"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (JobDocument, PRIVATE / "job.json"),
        (Growth, PRIVATE / "grown/00001.json"),
        (Acceptance, PRIVATE / "accepted.json"),
        (Success, OUT / "_SUCCESS"),
        *((CommitRecord, path) for path in sorted((PRIVATE / "done").iterdir())),
    ],
    ids=lambda value: value.name if hasattr(value, "parts") else value.__name__,
)
def test_a_released_document_is_written_again_as_it_was(kind: Any, path: Path) -> None:  # noqa: ANN401 - any of them
    """Reading and writing a released document keeps every key in its place; keys of later versions are dropped."""
    content = path.read_bytes()
    values = json.loads(content)
    assert as_json(kind.from_json(values).to_json()) == content
    assert kind.from_json(values | {"since a later version": 1}) == kind.from_json(values)


RECORD = CommitRecord(
    "a-00000.parquet",
    UnitPlace("/in/a.parquet", 0, 7569, None),
    (0, 1),
    3,
    Tally(
        3,
        {"amn": 1, "gru": 1},
        {"low_margin": 1},
        {"ok": 2, "bad_input": 1},
        {"nan": 1},
        1,
        0,
        Sums(2, 1.5),
        Sums(2, 1.25),
        Sums(1, 0.5),
        {"ood": Sums(1, 0.5)},
        {"gru": Sums(1, 0.5)},
        SquareSums(1, 0.25, 1, 0.0625),
        SquareSums(),
        Sums(2, 1.0),
        Sums(),
        (BadRow(2, "nan: position 17"),),
        SquareSums(1, -0.5, 1, 0.25),
    ),
    {"read": 0.25},
    316362752,
    "7d",
    6662,
    "tcp://w1",
)
WRITTEN = (
    '{"output": "a-00000.parquet", "input": "/in/a.parquet", "first_row": 0, "input_size": 7569, '
    '"input_modified_ns": null, "row_groups": [0, 1], "rows_in": 3, "rows_out": 3, "rows_by_route": '
    '{"amn": 1, "gru": 1}, "rows_by_reason": {"low_margin": 1}, "rows_by_status": {"ok": 2, "bad_input": '
    '1}, "rows_by_detail": {"nan": 1}, "rows_with_reasons": 1, "shadow_rows": 0, "cosine": {"n": 2, '
    '"sum": 1.5}, "amn_cosine": {"n": 2, "sum": 1.25}, "gru_cosine": {"n": 1, "sum": 0.5}, '
    '"cosine_by_split": {"ood": {"n": 1, "sum": 0.5}}, "cosine_by_route": {"gru": {"n": 1, "sum": 0.5}}, '
    '"escalation_gain": {"n": 1, "sum": 0.25, "n_squares": 1, "squares": 0.0625}, "shadow_gain": {"n": '
    '0, "sum": 0.0, "n_squares": 0, "squares": 0.0}, "confidence": {"n": 2, "sum": 1.0}, "margin": {"n": '
    '0, "sum": 0.0}, "bad_rows": [{"row": 2, "detail": "nan: position 17"}], "context_gain": '
    '{"n": 1, "sum": -0.5, "n_squares": 1, "squares": 0.25}, "seconds": {"read": 0.25}, '
    '"worker_peak": 316362752, "sha256": "7d", "bytes": 6662}'
)


def test_a_record_has_its_keys_in_their_order() -> None:
    """The keys are those of the unit, the tally and the file, in this order; the worker's address is not written."""
    assert json.dumps(RECORD.to_json()) == WRITTEN
    read = CommitRecord.from_json(json.loads(WRITTEN))
    assert (read.worker, json.dumps(read.to_json())) == ("", WRITTEN)


def test_a_job_has_its_keys_in_their_order() -> None:
    """An input with values from its folders lists them last."""
    inputs = {"a": InputEntry("/in/a", 1, None, {"lane": None}), "b": InputEntry("/in/b", 2, 3)}
    unit = UnitEntry("a-00000.parquet", "/in/a", 0, 5)
    identity = Identity(FORMAT, inputs, {"bank": None})
    job = JobDocument("1.0", "j", "f", identity, ("/in/b",), {"pad": None}, {"primary": None}, 5, (unit,))
    assert json.dumps(job.to_json()) == (
        '{"version": "1.0", "job_id": "j", "fingerprint": "f", "identity": {"format": 1, "inputs": {"a": '
        '{"path": "/in/a", "size": 1, "modified_ns": null, "folders": {"lane": null}}, "b": {"path": '
        '"/in/b", "size": 2, "modified_ns": 3}}, "bank": null}, "unreadable": ["/in/b"], "settings": {"pad": '
        'null}, "models": {"primary": null}, "rows": 5, "units": [{"output": "a-00000.parquet", "input": '
        '"/in/a", "first_row": 0, "rows": 5}]}'
    )
    assert JobDocument.from_json(json.loads(json.dumps(job.to_json()))) == job


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 0, 1, 5), True),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 0), True),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 0, 1), True),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/b", 0, 1, 5), False),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 3, 1, 5), False),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 0, 2, 5), False),
        (UnitPlace("/a", 0, 1, 5), UnitPlace("/a", 0, 1, 6), False),
    ],
)
def test_a_missing_value_is_no_difference(one: UnitPlace, other: UnitPlace, agree: bool) -> None:  # noqa: FBT001
    """Records of 0.1.0 lack the size and time of their input; a missing value is not a difference."""
    assert one.agrees_with(other) is other.agrees_with(one) is agree


def rewrite(folder: OutputFolder, name: str, document: JobDocument | CommitRecord, **changes: Any) -> None:  # noqa: ANN401
    """Write a document with changed values; `...` removes one."""
    values = document.to_json() | changes
    folder._documents.write(name, {key: value for key, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fingerprint": ...}, "it has no fingerprint"),
        ({"units": "many"}, "a value is of another type"),
        ({"units": [{"output": "a"}]}, "it has no input"),
        ({"identity": {"format": 1, "inputs": {"a": {}}}}, "it has no path"),
    ],
)
def test_an_incomplete_job_is_named(address: str, changes: dict[str, Any], why: str) -> None:
    """The error says what is missing and what to do."""
    folder = OutputFolder(address)
    rewrite(folder, "_lvm_batch/job.json", job_of({"fingerprint": "f", "identity": {"format": 1}}), **changes)
    with pytest.raises(OutputError, match=rf"job\.json is damaged: {why}") as error:
        folder.job()
    assert "another --output" in error.value.args[1]


def test_a_job_of_a_newer_format_is_read_for_its_version_only(address: str) -> None:
    """Inputs and units of a newer format are not interpreted; only the writing version is needed, for the message."""
    folder = OutputFolder(address)
    later = {"version": "9.9", "identity": {"format": FORMAT + 1, "inputs": [1]}, "units": {"a": 1}}
    rewrite(folder, "_lvm_batch/job.json", job_of({"fingerprint": "f", "identity": {}}), **later)
    job = folder.required_job()
    assert (job.version, job.identity.is_newer, job.identity.inputs, job.units) == ("9.9", True, {}, ())


@pytest.mark.parametrize(
    "changes",
    [
        {"rows_out": ...},
        {"rows_in": None},
        {"cosine": "high"},
        {"rows_by_status": {"ok": "3"}},
        {"bad_rows": [{"row": 1.5, "detail": ""}]},
    ],
)
def test_a_record_that_lacks_a_count_is_named(address: str, changes: dict[str, Any]) -> None:
    """Readers of records get an error with the unit; a file with such a footer belongs to no unit."""
    folder = OutputFolder(address)
    rewrite(folder, "_lvm_batch/done/a.json", record_of(output="a", sha256="0", bytes=1), **changes)
    with pytest.raises(OutputError, match="done is damaged: the record of a lacks a count") as error:
        folder.recorded()
    assert "remove what is damaged" in error.value.args[1]


def test_records_of_older_versions_have_fewer_figures() -> None:
    """Older records lack sums of squares and later counts; these are unknown."""
    values = json.loads(WRITTEN)
    for name in ("cosine_by_split", "rows_by_detail", "seconds", "worker_peak"):
        del values[name]
    values["escalation_gain"] = {"n": 1, "sum": 0.25}
    read = CommitRecord.from_json(values)
    assert read.tally.escalation_gain == SquareSums(1, 0.25, 0, 0.0)
    assert (read.tally.cosine_by_split, read.tally.rows_by_detail) == ({}, {})
    assert (read.seconds, read.worker_peak) == (None, None)
    assert (read.to_json().keys() & {"seconds", "worker_peak"}) == set()
