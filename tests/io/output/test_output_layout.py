"""Tests of the file names in an output, which match folders written by earlier releases, and of who may begin
or grow a job.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.documents import job_of, record_of, success_of

from lvm_batch.io.errors import InputNotFound, JobChanged, OutputError
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.growth import growth, joined
from lvm_batch.io.output.job_documents import Growth, InputEntry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lvm_batch.io.output.job_documents import JobDocument


def job(*names: str, **changes: Any) -> JobDocument:  # noqa: ANN401
    """A job over inputs of one unit each."""
    inputs = {name: {"path": f"/in/{name}", "size": 1} for name in names}
    units = [{"output": f"{name}-00000.parquet", "input": f"/in/{name}", "rows": 3} for name in names]
    identity = {"format": 1, "inputs": inputs}
    values = {"fingerprint": "-".join(names), "identity": identity, "units": units, "rows": 3 * len(names)}
    return job_of(values | changes)


def with_input(job: JobDocument, name: str, size: int) -> JobDocument:
    """A job over one more input, of this size."""
    inputs = job.identity.inputs | {name: InputEntry(f"/in/{name}", size)}
    return replace(job, identity=replace(job.identity, inputs=inputs))


def commit(folder: OutputFolder, *names: str) -> None:
    """Commit the units of inputs."""
    for name in names:
        with folder.stage() as staged:
            pq.write_table(pa.table({"x": [1, 2, 3]}), staged)
            folder.commit(staged, record_of(output=f"{name}-00000.parquet", input=f"/in/{name}", first_row=0))


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    """An output that does not exist yet."""
    return OutputFolder(str(tmp_path / "out"))


def files(folder: OutputFolder) -> list[str]:
    """Every file of an output."""
    from pathlib import Path

    root = Path(folder.text)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_every_file_has_the_name_that_it_had_in_the_first_release(folder: OutputFolder) -> None:
    """Later versions continue, read and verify outputs of earlier ones, so names must not change."""
    folder.begin(job("a"))
    folder.begin(job("a", "b"))
    commit(folder, "a", "b")
    folder.append_events("{}\n")
    folder.write_summary({"rows": 6})
    folder.mark_success(success_of(2))
    with folder.stage() as staged:
        staged.touch()
        assert staged.parent.relative_to(folder.text).as_posix() == "_lvm_batch/tmp"
    assert files(folder) == [
        "_SUCCESS",
        "_lvm_batch/accepted.json",
        "_lvm_batch/done/a-00000.parquet.json",
        "_lvm_batch/done/b-00000.parquet.json",
        "_lvm_batch/events.jsonl",
        "_lvm_batch/grown/00001.json",
        "_lvm_batch/job.json",
        "_lvm_batch/summary.json",
        "a-00000.parquet",
        "b-00000.parquet",
    ]


def test_footer_keys_are_those_of_the_first_release(folder: OutputFolder) -> None:
    """A run of another version can adopt a published file by its footer keys; other keys may hold any bytes."""
    record = record_of(output="a-00000.parquet")
    footer = {
        b"lvm_batch.record": json.dumps(record.to_json()).encode(),
        b"lvm_batch.fingerprint": b"f1",
        b"other": b"\xff\xfe",
    }
    with folder.stage() as staged:
        pq.write_table(pa.table({"x": [1]}).replace_schema_metadata(footer), staged)
        content = staged.read_bytes()
        folder._store.publish(staged, "a-00000.parquet")
    sha256 = hashlib.sha256(content).hexdigest()
    assert folder.adopt("a-00000.parquet", "f1") == replace(record, sha256=sha256, bytes=len(content))
    with folder.stage() as staged:
        pq.write_table(pa.table({"x": [1]}), staged, store_schema=False)
        folder._store.publish(staged, "b-00000.parquet")
    assert folder.adopt("b-00000.parquet", "f1") is None


@pytest.mark.parametrize(("n_bytes", "is_cut"), [(200, False), (201, True)])
def test_records_are_named_after_their_unit(folder: OutputFolder, n_bytes: int, is_cut: bool) -> None:  # noqa: FBT001
    """Record names are percent-encoded; a long name is truncated and ends with a digest of the whole."""
    output = f"x/{'a' * (n_bytes - 12)}.parquet"
    name = f"x%2F{'a' * (n_bytes - 12)}.parquet"
    assert len(name) == n_bytes
    with folder.stage() as staged:
        staged.write_bytes(b"rows")
        folder.commit(staged, record_of(output=output))
    digest = hashlib.sha256(output.encode()).hexdigest()[:16]
    expected = f"{name[:200]}-{digest}.json" if is_cut else f"{name}.json"
    assert folder._store.names("_lvm_batch/done") == [expected]


def test_a_commit_returns_its_record(folder: OutputFolder) -> None:
    """The returned record equals the one in the folder, with the file's size and checksum."""
    with folder.stage() as staged:
        staged.write_bytes(b"rows")
        returned = folder.commit(staged, record_of(output="a"))
    assert returned == folder.record("a")
    assert returned == record_of(output="a", bytes=4, sha256=hashlib.sha256(b"rows").hexdigest())


def test_a_folder_without_a_job_is_named(folder: OutputFolder) -> None:
    """The error names the folder, both for a job and for the accepted job."""
    with pytest.raises(InputNotFound, match="out holds no job"):
        folder.required_job()
    folder._documents.write("_lvm_batch/accepted.json", {"growths": 0})
    assert folder.accepted_job() is None
    folder.begin(job("a"))
    assert folder.required_job() == folder.accepted_job() == job("a")


def test_two_runs_that_begin_at_once_share_one_job(folder: OutputFolder) -> None:
    """The job is written once; the second run continues with it if its own job is the same."""
    create = folder._documents.create

    def come_second(name: str, value: dict[str, Any]) -> bool:
        OutputFolder(folder.text).begin(job("a", job_id="first"))
        return create(name, value)

    folder._documents.create = come_second  # type: ignore[method-assign, assignment]
    assert folder.begin(job("a", job_id="second")).job_id == "first"
    other = OutputFolder(folder.text)
    with pytest.raises(JobChanged):
        other.begin(job("b"))
    assert other.required_job().job_id == "first"


def test_a_removed_input_is_a_difference(folder: OutputFolder) -> None:
    """A removed input is a difference unless the job keeps its inputs."""
    folder.begin(job("a", "b"))
    assert folder.difference(job("b"), kept={"a"}) is None
    difference = folder.difference(job("b"))
    assert difference is not None
    assert "inputs.a.path was /in/a, is absent" in difference.text


def test_units_to_be_replaced_may_have_changed(folder: OutputFolder) -> None:
    """A plan can ask for the difference with changed units allowed, without removing anything."""
    folder.begin(job("a"))
    commit(folder, "a")
    changed = with_input(job("a", fingerprint="other"), "a", 2)
    assert folder.difference(changed) is not None
    assert folder.difference(changed, again={"a-00000.parquet"}) is None
    assert list(folder.records()) == ["a-00000.parquet"]


def succeeded(folder: OutputFolder) -> None:
    """A job over one input, finished with success."""
    folder.begin(job("a"))
    commit(folder, "a")
    folder.mark_success(success_of(1))


def test_a_growth_ends_the_success(folder: OutputFolder) -> None:
    """Success counts again once everything is committed; the accepted job stays until then."""
    succeeded(folder)
    folder.begin(job("a"))
    assert folder.succeeded
    folder.begin(job("a", "b"))
    assert not folder.succeeded
    accepted = folder.accepted_job()
    assert accepted is not None
    assert list(accepted.identity.inputs) == ["a"]


def test_replacing_units_withdraws_the_acceptance(folder: OutputFolder) -> None:
    """Its rows are being replaced, so neither ``_SUCCESS`` nor the earlier acceptance may count."""
    succeeded(folder)
    folder.begin(job("a"), again=())
    assert (folder.succeeded, folder.accepted_job()) == (True, job("a"))
    folder.begin(job("a"), again={"a-00000.parquet"})
    assert (folder.succeeded, folder.accepted_job()) == (False, None)
    assert files(folder) == ["_lvm_batch/job.json"]


def test_a_growth_never_overwrites_another(folder: OutputFolder) -> None:
    """A run never overwrites a growth document: it takes the next free number."""
    folder.begin(job("a"))
    for number in (2, 3):
        folder._documents.write(
            f"_lvm_batch/grown/{number:05d}.json", {"inputs": {}, "units": [], "unreadable": []}
        )
    grown = folder.begin(job("a", "b"))
    assert list(grown.identity.inputs) == ["a", "b"]
    assert [name for name in files(folder) if "grown" in name] == [
        "_lvm_batch/grown/00002.json",
        "_lvm_batch/grown/00003.json",
        "_lvm_batch/grown/00004.json",
    ]


def test_success_is_written_when_it_is_new(folder: OutputFolder) -> None:
    """An unchanged ``_SUCCESS`` is not written again, so that file watchers are not triggered."""
    writes: list[str] = []
    write = folder._store.write

    def noting(name: str, content: bytes) -> None:
        writes.append(name)
        write(name, content)

    folder._store.write = noting  # type: ignore[method-assign]
    folder.begin(job("a"))
    for units in (1, 1, 2):
        folder.mark_success(success_of(units))
        assert folder.success() == success_of(units)
    assert writes == ["_lvm_batch/accepted.json", "_SUCCESS"] * 2
    folder.mark_success(None)
    assert folder.success() is None


def test_a_refusal_leaves_an_output_that_was_never_accepted_as_it_is(folder: OutputFolder) -> None:
    """After a growth, what was accepted before stays accepted."""
    folder.begin(job("a"))
    folder.mark_refused()
    assert folder.accepted_job() is None
    folder.mark_success(success_of(1))
    folder.begin(job("a", "b"))
    folder.mark_refused()
    assert folder.accepted_job() == job("a")
    folder.mark_success(success_of(2))
    folder.mark_refused()
    assert (folder.accepted_job(), folder.succeeded) == (None, False)


def test_all_leftovers_of_a_killed_run_are_removed(folder: OutputFolder) -> None:
    """All leftovers are removed, however many there are."""
    for number in range(3):
        folder._store.write(f"_lvm_batch/tmp/{number}.part", b"half")
    folder.clear_tmp()
    assert files(folder) == []


def test_a_foreign_file_is_named_by_its_relative_path(folder: OutputFolder) -> None:
    """The error gives the path relative to the folder, and nothing is written beside the file."""
    folder._store.write("de/notes.txt", b"x")
    with pytest.raises(OutputError, match=r"out is not empty and holds no lvm-batch job: it has de"):
        folder.begin(job("a"))
    assert files(folder) == ["de/notes.txt"]


def grown_by(*names: str, unreadable: Sequence[str] = (), rows: int = 3) -> Growth:
    """A growth by inputs of one unit each, except unreadable ones."""
    requested = job(*names)
    read = tuple(replace(unit, rows=rows) for unit in requested.units if unit.input not in unreadable)
    return Growth("0.1.0", requested.identity.inputs, read, tuple(unreadable))


def test_a_job_that_has_not_grown_is_as_it_was_written() -> None:
    """Without growth, the job equals the document that was written."""
    current = job("a", unreadable=["/in/x"], settings={"pad": None})
    assert joined(current, []) == current


def test_the_latest_document_that_names_an_input_counts() -> None:
    """The latest document decides an input's entry, units and readability; inputs are sorted, rows are summed."""
    first = job("c", "a", unreadable=["/in/x"])
    added = joined(first, [grown_by("b", "a", unreadable=["/in/b"], rows=5), grown_by("b", rows=7)])
    assert list(added.identity.inputs) == ["a", "b", "c"]
    assert added.identity.format == 1
    assert [(unit.input, unit.rows) for unit in added.units] == [
        ("/in/c", 3),
        ("/in/a", 5),
        ("/in/b", 7),
    ]
    assert (added.rows, added.unreadable, added.job_id) == (15, ("/in/x",), "j")


def test_a_growth_holds_what_is_new_and_nothing_else() -> None:
    """It holds new or changed inputs, with their units or the fact that they are unreadable, and the version."""
    requested = job("a", "b", "c", "d", unreadable=["/in/c", "/in/e"])
    requested = replace(requested, units=tuple(unit for unit in requested.units if unit.input != "/in/c"))
    requested = with_input(requested, "b", 9)
    added = growth(job("a", "b", "e", unreadable=["/in/e"]), requested)
    assert added is not None
    assert added.version == "0.1.0"
    assert list(added.inputs) == ["b", "c", "d"]
    assert [unit.input for unit in added.units] == ["/in/b", "/in/d"]
    assert added.unreadable == ("/in/c",)


def test_nothing_new_is_no_growth() -> None:
    """Fewer inputs, or an input that became unreadable, are no growth either."""
    current = job("a", "b")
    assert growth(current, job("a")) is None
    assert growth(current, job("a", "b", unreadable=["/in/b"])) is None


def test_an_input_that_could_not_be_read_is_new_once_it_can() -> None:
    """It counts as new even if neither its size nor its time has changed."""
    current = job("a", "b", unreadable=["/in/b"])
    assert growth(current, job("a", "b", unreadable=["/in/b"])) is None
    added = growth(current, job("a", "b"))
    assert added is not None
    assert list(added.inputs) == ["b"]
