"""Tests of units that several runs commit at once: a valid file stays, and every record matches its file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.documents import job_of, record_of

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.commit_record import UnitPlace
from lvm_batch.io.output.unit_files import FINGERPRINT_KEY, RECORD_KEY, UnitFiles, record_name
from lvm_batch.io.output.verification import file_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument

UNIT, OTHER = "a-00000.parquet", "b-00000.parquet"
PLACE = UnitPlace("/in/a", first_row=0, input_size=1, input_modified_ns=5)


@pytest.fixture
def folder(address: str) -> OutputFolder:
    """An output whose job has one unit, of an input of one byte."""
    folder = OutputFolder(address)
    folder.begin(job())
    return folder


def job(**changes: int) -> JobDocument:
    """A job of one unit."""
    file = {"path": "/in/a", "size": 1, "modified_ns": 5} | changes
    units = [{"output": UNIT, "input": "/in/a", "first_row": 0, "rows": 3}]
    identity = {"format": 1, "inputs": {"a": file}}
    return job_of({"fingerprint": json.dumps(file), "identity": identity, "units": units, "rows": 3})


def record(**changes: Any) -> CommitRecord:  # noqa: ANN401
    """The record in a unit's file."""
    return record_of(**{"output": UNIT, **PLACE.to_json()} | changes)


def write(
    staged: Path, record: CommitRecord, *, by: str = "", fingerprint: str = "f", n_rows: int = 3
) -> None:
    """Write a unit's file; ``by`` changes its content but not its size."""
    file_metadata = {
        FINGERPRINT_KEY: fingerprint,
        RECORD_KEY: json.dumps(record.to_json()),
        "by": by,
        b"\xff": b"\xff",
    }
    pq.write_table(pa.table({"x": range(n_rows)}).replace_schema_metadata(file_metadata), staged)


def commit(folder: OutputFolder, *, by: str = "we", seconds: float = 1.0, **changes: Any) -> CommitRecord:  # noqa: ANN401
    """Commit the unit."""
    made = record(**changes)
    with folder.stage() as staged:
        write(staged, made, by=by)
        return folder.commit(staged, replace(made, seconds={"read": seconds}))


def publish(folder: OutputFolder, *, by: str = "they", fingerprint: str = "f", **changes: Any) -> None:  # noqa: ANN401
    """Publish the unit's file, as a run that dies before recording it."""
    with folder.stage() as staged:
        write(staged, record(**changes), by=by, fingerprint=fingerprint)
        folder._store.publish(staged, UNIT)


def record_of_unit(folder: OutputFolder) -> CommitRecord:
    """The record in the folder."""
    found = folder.record(UNIT)
    assert found is not None
    return found


def written_by(folder: OutputFolder) -> str:
    """Who wrote the published file; checks that the record matches it, byte for byte."""
    assert list(file_faults(folder, folder.records(), "f")) == []
    assert folder.records().keys() == folder.published().keys()
    with folder.open(UNIT) as file:
        return str(pq.read_metadata(file).metadata[b"by"].decode())


def test_a_file_of_the_same_unit_stays(folder: OutputFolder) -> None:
    """The worker that published it may be about to record it, so the record is made from the file."""
    publish(folder)
    adopted = commit(folder)
    assert written_by(folder) == "they"
    assert folder.record(UNIT) == adopted
    assert adopted.seconds is None


def test_a_unit_that_is_committed_stays(folder: OutputFolder) -> None:
    """Its record has more than its file, and is returned unchanged."""
    first = commit(folder, by="they", seconds=2.0)
    assert commit(folder) == first
    assert written_by(folder) == "they"


def test_a_file_whose_response_was_lost_is_recognised(folder: OutputFolder) -> None:
    """If the same bytes are already there, the record gets the values that only their writer knows."""
    publish(folder, by="we")
    assert commit(folder).seconds == {"read": 1.0}
    assert record_of_unit(folder).seconds == {"read": 1.0}


@pytest.mark.parametrize(
    "stranger",
    [
        {"fingerprint": "another job's"},
        {"output": OTHER},
        {"first_row": 3},
        {"input_size": 2},
        {"input_modified_ns": 4},
        {"input": "/in/b"},
    ],
)
def test_a_file_of_anything_else_is_replaced(folder: OutputFolder, stranger: dict[str, Any]) -> None:
    """Files of another job, unit or place, or of an old version of the input, are replaced."""
    publish(folder, **stranger)
    assert folder.adopt(UNIT, "f", PLACE) is None
    commit(folder)
    assert written_by(folder) == "we"


def test_a_foreign_file_is_replaced(folder: OutputFolder) -> None:
    """Any other content under the name is replaced."""
    folder._store.write(UNIT, b"PAR1 and no more")
    commit(folder)
    assert written_by(folder) == "we"


def test_a_record_of_other_bytes_is_written_anew(folder: OutputFolder) -> None:
    """A late record of a replaced file is replaced by one of the current file."""
    publish(folder)
    late = record(sha256="0" * 64, bytes=folder.published()[UNIT])
    folder._documents.write(record_name(UNIT), late.to_json())
    commit(folder)
    assert written_by(folder) == "they"


def test_a_record_of_another_place_is_written_anew(folder: OutputFolder) -> None:
    """It is replaced even if the bytes are the same, since the input's current version counts."""
    first = commit(folder)
    folder._documents.write(record_name(UNIT), first.to_json() | {"input_size": 2})
    assert folder.adopt(UNIT, "f", PLACE) is not None
    assert record_of_unit(folder).place == PLACE


@pytest.mark.parametrize("existing", [None, "of what it is now", "damaged"])
def test_an_old_version_of_an_input_replaces_nothing(folder: OutputFolder, existing: str | None) -> None:
    """A worker that outlived its run finds that the job has grown and no longer has its unit."""
    folder.begin(job(size=2))
    if existing:
        publish(folder, by="they", input_size=2)
    if existing == "damaged":
        folder._store.write(UNIT, b"PAR1 and no more")
    before = folder._store.read(UNIT)
    if existing is None:  # its file is published, and readers ignore it
        commit(folder)
        assert folder.adopt(UNIT, "f", replace(PLACE, input_size=2)) is None
        return
    with pytest.raises(
        OutputError, match="is not replaced, because this run read an earlier state of its input"
    ):
        commit(folder)
    assert folder._store.read(UNIT) == before


def test_without_a_job_nothing_is_outdated(address: str) -> None:
    """A folder emptied meanwhile has no job, so an existing file is replaced."""
    folder = OutputFolder(address)
    publish(folder, input_size=2)
    commit(folder)
    assert written_by(folder) == "we"


def test_a_record_that_changes_meanwhile_is_read_again(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two workers adopt one file, the second finds the first one's record, whatever it knows about the file."""
    publish(folder, by="we")
    swap = folder._store.swap

    def come_second(name: str, content: bytes, *, before: bytes | None) -> bool:
        monkeypatch.setattr(folder._store, "swap", swap)
        other = OutputFolder(folder.text).adopt(UNIT, "f", PLACE)
        assert other is not None
        folder._documents.write(name, other.to_json() | {"sha256": "0" * 64})
        return swap(name, content, before=before)

    monkeypatch.setattr(folder._store, "swap", come_second)
    assert commit(folder).seconds == {"read": 1.0}
    assert written_by(folder) == "we"


def test_a_file_is_adopted_though_its_record_changes_meanwhile(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new content is checked once more, and adopted or replaced."""
    publish(folder)
    swap = folder._store.swap

    def come_second(name: str, content: bytes, *, before: bytes | None) -> bool:
        monkeypatch.setattr(folder._store, "swap", swap)
        folder._documents.write(name, record(sha256="0" * 64, bytes=1).to_json())
        return swap(name, content, before=before)

    monkeypatch.setattr(folder._store, "swap", come_second)
    assert folder.adopt(UNIT, "f", PLACE) is not None
    assert written_by(folder) == "they"


def test_a_file_that_keeps_changing_is_an_error(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another program keeps writing there, the commit fails with an error after a few tries."""
    tries: list[str] = []

    def taken(_: Path, name: str) -> bool:
        folder._store.write(name, b"theirs")
        tries.append(name)
        return False

    monkeypatch.setattr(folder._store, "publish_new", taken)
    with pytest.raises(OutputError, match="keeps changing"):
        commit(folder)
    assert 1 < len(tries) < 20
    assert UNIT not in folder.records()


def test_an_unreachable_store_is_not_a_missing_file(
    folder: OutputFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise existing work would be repeated; a file that is really missing is reported as missing."""

    def raising(error: Exception) -> Callable[[str], Any]:
        def refuse(_: str) -> None:
            raise error

        return refuse

    monkeypatch.setattr(folder, "open", raising(ConnectionError("no answer")))
    with pytest.raises(ConnectionError):
        folder.adopt(UNIT, "f", PLACE)
    for error in (FileNotFoundError(), pa.ArrowInvalid()):
        monkeypatch.setattr(folder, "open", raising(error))
        assert folder.adopt(UNIT, "f", PLACE) is None


def test_a_file_of_any_place_is_adopted_without_a_place(folder: OutputFolder) -> None:
    """Callers without a place, such as readers of an output, adopt a file from any place."""
    publish(folder, first_row=9)
    assert folder.adopt(UNIT, "f") is not None
    assert record_of_unit(folder).place.first_row == 9


def test_units_belong_to_a_job() -> None:
    """Unit files exist only within a job."""
    with pytest.raises(TypeError, match="abstract"):
        UnitFiles("x", None, None)  # type: ignore[abstract, arg-type]
