"""Tests of growing datasets: readers see the output before the growth or after it, never in between."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.documents import job_of, record_of, success_of

from lvm_batch.io.dataset.file_times import MODIFIED, Span, files_within
from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.errors import DataError, JobChanged, NotFinished, OutputError
from lvm_batch.io.output.commit import ACCEPTED, GROWN, JOB, OutputFolder
from lvm_batch.io.output.committed import committed
from lvm_batch.io.output.job_documents import UnitEntry
from lvm_batch.io.output.unit_files import FINGERPRINT_KEY, RECORD_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.io.output.job_documents import JobDocument


def job(*names: str, unreadable: tuple[str, ...] = (), **sizes: int) -> JobDocument:
    """A job over inputs of one unit each."""
    inputs = {name: {"path": f"/in/{name}", "size": sizes.get(name, 1)} for name in names}
    units = [{"output": f"{name}-00000.parquet", "input": f"/in/{name}", "rows": 3} for name in names]
    return job_of(
        {
            "fingerprint": json.dumps(inputs),
            "identity": {"format": 1, "inputs": inputs, "settings": {"min_margin": 0.02}},
            "units": [unit for unit in units if unit["input"] not in unreadable],
            "unreadable": list(unreadable),
            "rows": 3 * (len(units) - len(unreadable)),
        }
    )


def with_unit(job: JobDocument, output: str) -> JobDocument:
    """A job over the same inputs with another unit of `/in/a`."""
    return replace(job, units=(*job.units, UnitEntry(output, "/in/a", None, 3)))


def commit(folder: OutputFolder, *names: str, recorded: bool = True) -> None:
    """Commit the units of inputs; unless ``recorded``, die between publishing and recording."""
    for name in names:
        output = f"{name}-00000.parquet"
        record = record_of(output=output, input=f"/in/{name}", first_row=0)
        metadata = {FINGERPRINT_KEY: "f", RECORD_KEY: json.dumps(record.to_json())}
        with folder.stage() as staged:
            pq.write_table(pa.table({"x": [1, 2, 3]}).replace_schema_metadata(metadata), staged)
            if recorded:
                folder.commit(staged, record)
            else:
                folder._store.publish(staged, output)


def read(address: str) -> list[str]:
    """The inputs whose rows a reader gets."""
    return [file.input.removeprefix("/in/") for file in committed(address, require_success=True).files]


def test_a_job_covers_the_first_inputs_and_all_added_ones(address: str) -> None:
    """New inputs are added to the earlier ones; existing documents are not written again."""
    folder = OutputFolder(address)
    folder.begin(job("a", "c"))
    before = folder._store.read(JOB)
    grown = folder.begin(job("a", "b", "c"))
    assert list(grown.identity.inputs) == ["a", "b", "c"]
    assert sorted(unit.input for unit in grown.units) == ["/in/a", "/in/b", "/in/c"]
    assert (grown.rows, grown.fingerprint) == (9, job("a", "c").fingerprint)
    assert folder._store.read(JOB) == before
    assert folder.begin(job("a", "b", "c")) == folder.job() == grown
    assert folder._store.names(GROWN) == ["00001.json"]


def test_a_removed_input_is_a_difference_unless_inputs_are_kept(address: str) -> None:
    """A dataset that lost a file is another job; runs over one night's files keep the earlier inputs."""
    folder = OutputFolder(address)
    folder.begin(job("a", "b"))
    with pytest.raises(JobChanged, match=r"inputs\.a\.path was /in/a, is absent"):
        folder.begin(job("b", "c"))
    assert len(folder.begin(job("b", "c"), kept={"a"}).units) == 3


def test_a_changed_input_is_refused_until_its_units_are_taken_back(address: str) -> None:
    """Their old files and records are removed before the new ones are requested."""
    folder = OutputFolder(address)
    folder.begin(job("a", "b"))
    commit(folder, "a", "b")
    with pytest.raises(JobChanged, match=r"inputs\.b\.size was 1, is 2") as refused:
        folder.begin(job("a", "b", b=2))
    assert "--reprocess failed" in refused.value.args[1]
    changed = folder.begin(job("a", "b", b=2), again={"b-00000.parquet"})
    assert changed.identity.inputs["b"].size == 2
    assert len(changed.units) == 2
    assert list(folder.records()) == ["a-00000.parquet"]
    assert "b-00000.parquet" not in folder.published()
    commit(folder, "b")
    assert folder.begin(job("a", "b", b=2)) == changed


def test_a_changed_input_may_have_fewer_units(address: str) -> None:
    """Units that the changed input no longer has leave the job."""
    folder = OutputFolder(address)
    folder.begin(with_unit(job("a"), "a-00001.parquet"))
    changed = folder.begin(job("a", a=2))
    assert [unit.output for unit in changed.units] == ["a-00000.parquet"]


def test_a_changed_input_ignores_files_of_its_old_version(address: str) -> None:
    """A file published by a run that died before recording it is from the input's old version and does not count."""
    folder = OutputFolder(address)
    folder.begin(job("a", "b"))
    commit(folder, "a", "b", recorded=False)
    folder.begin(job("a", "b", b=2))
    assert folder.adopt("a-00000.parquet", "f") is not None
    assert folder.adopt("b-00000.parquet", "f") is None
    assert list(folder.published()) == ["a-00000.parquet"]


def test_an_input_that_changes_back_counts_as_changed(address: str) -> None:
    """Committed units match the latest version of an input, not the version that the job began with."""
    folder = OutputFolder(address)
    folder.begin(job("a"))
    folder.begin(job("a", a=2))
    commit(folder, "a")
    with pytest.raises(JobChanged, match=r"inputs\.a\.size was 2, is 1"):
        folder.begin(job("a"))


def test_records_of_removed_units_are_ignored_by_readers(address: str) -> None:
    """Records of units that no longer exist are ignored: their files are gone, and their input has fewer units."""
    folder = OutputFolder(address)
    folder.begin(with_unit(job("a"), "b-00000.parquet"))
    commit(folder, "a", "b")
    for output in ("a-00000.parquet", "b-00000.parquet"):
        folder._store.remove(output)
    folder.begin(job("a", a=2))
    assert folder.recorded() == {}
    commit(folder, "a")
    folder.mark_success(success_of(1))
    assert read(address) == ["a"]


@pytest.mark.parametrize("name", [JOB, ACCEPTED, f"{GROWN}/00001.json"])
def test_an_incomplete_document_is_named(name: str, tmp_path: Path) -> None:
    """A document with missing entries is an error that names the file, not an internal error."""
    folder = OutputFolder(str(tmp_path))
    folder.begin(job("a"))
    folder.begin(job("a", "b"))
    commit(folder, "a", "b")
    folder.mark_success(success_of(2))
    (tmp_path / name).write_text("{}")
    with pytest.raises(OutputError, match=f"{name} is damaged: it has no ") as error:
        folder.accepted_job()
    assert "remove" in error.value.args[1]


def test_a_refused_job_removes_nothing(address: str) -> None:
    """If the job is refused as another one, nothing is removed."""
    folder = OutputFolder(address)
    folder.begin(job("a"))
    commit(folder, "a")
    other = job("a", a=2)
    other = replace(other, identity=replace(other.identity, values={"settings": {"min_margin": 0.1}}))
    with pytest.raises(JobChanged, match="min_margin"):
        folder.begin(other, again={"a-00000.parquet"})
    assert list(folder.records()) == ["a-00000.parquet"]


def test_a_file_that_was_left_out_joins_once_it_can_be_read(address: str) -> None:
    """A file that could not be opened joins again even if neither its size nor its time changed."""
    folder = OutputFolder(address)
    assert len(folder.begin(job("a", "b", unreadable=("/in/b",))).units) == 1
    mended = folder.begin(job("a", "b"))
    assert len(mended.units) == 2
    assert mended.unreadable == ()


def test_readers_see_the_job_as_it_was_accepted(address: str) -> None:
    """Until the added units are accepted, readers get all the earlier rows, and only those."""
    folder = OutputFolder(address)
    folder.begin(job("a", "b"))
    commit(folder, "a", "b")
    with pytest.raises(NotFinished):
        read(address)
    folder.mark_success(success_of(2))
    folder.begin(job("a", "b", "c", "d"))
    folder.mark_success(None)
    commit(folder, "c")
    assert read(address) == ["a", "b"]
    folder.mark_refused()
    assert read(address) == ["a", "b"]
    commit(folder, "d")
    folder.mark_success(success_of(4))
    assert read(address) == ["a", "b", "c", "d"]


def test_a_job_that_is_not_accepted_any_more_is_not_read(address: str) -> None:
    """If a gate fails now, the earlier acceptance of the same job is withdrawn."""
    folder = OutputFolder(address)
    folder.begin(job("a"))
    commit(folder, "a")
    folder.mark_success(success_of(1))
    folder.mark_refused()
    assert folder._store.read(ACCEPTED) is None
    with pytest.raises(NotFinished, match="not accepted"):
        read(address)


def test_units_that_are_taken_back_are_not_read_in_part(address: str) -> None:
    """Readers wait while accepted units are replaced, since rows would be missing."""
    folder = OutputFolder(address)
    folder.begin(job("a", "b"))
    commit(folder, "a", "b")
    folder.mark_success(success_of(2))
    folder.mark_success(None)
    folder.begin(job("a", "b"), again={"b-00000.parquet"})
    with pytest.raises(NotFinished, match="1 of 2 units"):
        read(address)


NIGHT = Span(datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))


def list_files(*names: str, modified: str = "2026-11-21T12:00+00:00") -> list[InputFile]:
    """List files below /data, all with one modification time."""
    modified_ns = int(datetime.fromisoformat(modified).timestamp() * 1e9)
    return [InputFile(f"/data/{name}", name, 1, modified_ns) for name in names]


@pytest.mark.parametrize(
    ("before", "first", "last", "after"),
    [
        ("date=2026-11-20/a", "date=2026-11-21/a", "lane=x/date=2026-11-21/b", "date=2026-11-22/a"),
        (
            "date=2026-11-20/hour=23/a",
            "date=2026-11-21/hour=0/a",
            "date=2026-11-21/hour=23/a",
            "date=2026-11-22/hour=00/a",
        ),
        (
            "year=2026/month=11/day=20/a",
            "year=2026/month=11/day=21/a",
            "year=2026/month=11/day=21/hour=23/a",
            "year=2026/month=12/a",
        ),
        ("dt=20261120/a", "dt=20261121/a", "dt=20261121/b", "dt=20261122/a"),
        (
            "datetime=2026-11-21T01%3A00%2B02%3A00/a",
            "datetime=2026-11-21T02%3A00%2B02%3A00/a",
            "datetime=2026-11-21T23%3A59/a",
            "datetime=2026-11-22/a",
        ),
    ],
)
def test_a_span_includes_its_start_and_excludes_its_end(
    before: str, first: str, last: str, after: str
) -> None:
    """A span includes its start and excludes its end; folder dates and times are in UTC and replace file times."""
    names = [file.name for file in files_within(list_files(before, first, last, after), NIGHT)]
    assert names == [first, last]


def test_spans_may_be_open() -> None:
    """A span may lack either bound."""
    files = list_files("date=2026-11-20/a", "date=2026-11-21/a", "date=2026-11-22/a")
    assert files_within(files, Span(since=NIGHT.since)) == files[1:]
    assert files_within(files, Span(until=NIGHT.since)) == files[:1]


def test_files_outside_such_folders_have_the_time_they_were_written_at() -> None:
    """Files outside date folders use their modification time; with the option, all files do."""
    files = list_files("lane=x/a") + list_files("b", modified="2026-11-22T00:00+00:00")
    assert files_within(files, NIGHT) == files[:1]
    (dated,) = list_files("date=2020-01-01/a")
    assert files_within([dated], NIGHT, by=MODIFIED) == [dated]


def test_any_column_may_give_the_time() -> None:
    """An option names the time column; a month stands for its first day."""
    files = list_files("batch=2026-11-21/date=2020-01-01/a", "batch=2026-11-22/date=2026-11-21/a")
    assert files_within(files, NIGHT, by="batch") == files[:1]


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "date=soon/a",
        "date=__HIVE_DEFAULT_PARTITION__/a",
        "date=2026-02-30/a",
        "date=2026-11-21/hour=x/a",
        "date=9999-12-31/hour=99/a",
    ],
)
def test_a_file_without_a_time_is_named(name: str) -> None:
    """A file without a time would belong to no night and never be predicted, so it is refused by name."""
    with pytest.raises(DataError, match=f"/data/{name} is not in a folder date="):
        files_within([*list_files("date=2026-11-21/b"), *list_files(name)], NIGHT)
