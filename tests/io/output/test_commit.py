"""Tests of the output folder: which files belong to a job, which are refused, and how interruptions are recovered."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.documents import job_of, record_of, success_of

from lvm_batch.io.errors import JobChanged, OutputError, OutputLocked
from lvm_batch.io.output.commit import JOB, SUCCESS, SUMMARY, TMP, OutputFolder
from lvm_batch.io.output.commit_record import UnitPlace
from lvm_batch.io.output.lock import is_held, lock_output
from lvm_batch.io.output.unit_files import DONE, FINGERPRINT_KEY, RECORD_KEY
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument

INPUTS = {"a": {"path": "/in/a", "size": 1}, "b": {"path": "/in/b", "size": 2}}
IDENTITY: dict[str, Any] = {
    "format": 1,
    "inputs": INPUTS,
    "bank": None,
    "settings": {"min_confidence": 0.7, "high_stakes_lane": ["sci-fact"]},
}


def job(fingerprint: str = "f1", **changes: Any) -> JobDocument:  # noqa: ANN401
    """A job document."""
    return job_of({"fingerprint": fingerprint, "identity": IDENTITY | changes})


def put(folder: OutputFolder, name: str, content: bytes) -> None:
    """Put a file into an output, bypassing the commit protocol."""
    folder._store.write(name, content)


def stage_unit(
    staged: Path, output: str, *, fingerprint: str | None = "f1", record: bool = True
) -> CommitRecord:
    """Write a unit's file and return its commit record."""
    new_record = record_of(output=output)
    metadata = {} if fingerprint is None else {FINGERPRINT_KEY: fingerprint}
    metadata |= {RECORD_KEY: json.dumps(new_record.to_json())} if record else {}
    pq.write_table(pa.table({"x": [1, 2, 3]}).replace_schema_metadata(metadata), staged)
    content = staged.read_bytes()
    return replace(new_record, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def commit_unit(folder: OutputFolder, path: str) -> None:
    """Commit a unit of the input at ``path``."""
    with folder.stage() as staged:
        folder.commit(staged, replace(stage_unit(staged, "b-00000.parquet"), place=UnitPlace(path)))


def publish(folder: OutputFolder, output: str, **options: Any) -> CommitRecord:  # noqa: ANN401
    """Publish a unit's file, as a run that dies before it records it."""
    with folder.stage() as staged:
        new_record = stage_unit(staged, output, **options)
        folder._store.publish(staged, output)
    return new_record


def test_a_job_begins_once(address: str) -> None:
    """The first run writes the job document; the second run finds it, with the first run's values."""
    folder = OutputFolder(address)
    assert folder.job() is None
    assert folder.begin(job()) == job()
    again = folder.begin(replace(job(), job_id="another"))
    assert again.job_id == "j"
    assert folder.job() == job()


@pytest.mark.parametrize(
    ("changes", "named", "unnamed"),
    [
        ({"bank": "abc"}, ["bank was absent, is abc"], ["format", "inputs", "lane"]),
        (
            {"settings": IDENTITY["settings"] | {"min_confidence": 0.8}},
            ["min_confidence was 0.7, is 0.8"],
            ["lane"],
        ),
        (
            {"inputs": INPUTS | {"b": {"path": "/in/b", "size": 9}}},
            ["inputs.b.size was 2, is 9"],
            ["inputs.a"],
        ),
        ({"inputs": {"a": INPUTS["a"]}}, ["inputs.b.path was /in/b, is absent"], ["inputs.a"]),
        (dict.fromkeys("uvwxyz", 1), ["u was absent, is 1", "and 3 more"], ["x was"]),
        ({}, ["its fingerprint differs"], ["was"]),
    ],
)
def test_another_job_is_refused_naming_what_differs(
    address: str, changes: dict[str, Any], named: list[str], unnamed: list[str]
) -> None:
    """The message names only the settings that changed, with both values."""
    folder = OutputFolder(address)
    folder.begin(job())
    commit_unit(folder, "/in/b")
    with pytest.raises(JobChanged) as error:
        folder.begin(job("f2", **changes))
    message, hint = error.value.args
    assert message.startswith(address)
    assert all(text in message for text in named)
    assert not any(text in message for text in unnamed)
    assert "--output" in hint
    assert OutputFolder(address).job() == job()


def test_differences_are_listed_without_beginning(address: str) -> None:
    """A plan can list the differences: none for an empty folder, none for the same job."""
    folder = OutputFolder(address)
    assert folder.difference(job()) is None
    folder.begin(job())
    assert folder.difference(job()) is None
    difference = folder.difference(job("f2", bank="abc"))
    assert difference is not None
    assert difference.text == "bank was absent, is abc"


def test_an_input_without_a_committed_unit_may_change(address: str) -> None:
    """An unreadable input may change until one of its units is committed; after that, a change is refused."""
    folder = OutputFolder(address)
    folder.begin(job())
    commit_unit(folder, "/in/b")
    mended = INPUTS | {"a": {"path": "/in/a", "size": 7}}
    assert folder.begin(job("f2", inputs=mended)).fingerprint == "f1"
    with pytest.raises(JobChanged, match=r"inputs\.b\.size"):
        folder.begin(job("f3", inputs=mended | {"b": {"path": "/in/b", "size": 7}}))


@pytest.mark.parametrize("name", ["old.parquet", "notes.txt", "lang=de/old.parquet"])
def test_a_folder_of_something_else_is_refused(address: str, name: str) -> None:
    """Files that readers would take for predictions, at any depth, are named."""
    folder = OutputFolder(address)
    put(folder, name, b"x")
    with pytest.raises(OutputError, match="not empty and holds no lvm-batch job: it has ") as error:
        folder.begin(job())
    assert name.partition("/")[0] in error.value.args[0]
    assert folder.job() is None


def test_hidden_files_are_ignored(address: str) -> None:
    """Files that readers skip do not matter."""
    folder = OutputFolder(address)
    put(folder, ".gitkeep", b"")
    put(folder, "_logs/x.txt", b"")
    folder.begin(job())


def test_a_committed_unit_is_published_and_recorded(address: str) -> None:
    """After a commit the file has its final name, its record exists, and no staged file is left."""
    folder = OutputFolder(address)
    output = "lang=de/a b%ü-00000.parquet"
    with folder.stage() as staged:
        new_record = stage_unit(staged, output)
        assert folder.record(output) is None
        folder.commit(staged, new_record)
    other = OutputFolder(address)
    assert other.record(output) == new_record
    assert other.records() == {output: new_record}
    place = locate(address).child(output)
    assert pq.read_table(place.path, filesystem=place.filesystem).num_rows == 3
    assert folder._store.names(DONE) == ["lang%3Dde%2Fa%20b%25%C3%BC-00000.parquet.json"]
    assert folder._store.names(TMP) == []


def test_outputs_with_long_names_are_recorded(address: str) -> None:
    """Percent-encoding may make a name too long for the file system; long names are truncated and stay distinct."""
    folder = OutputFolder(address)
    outputs = [
        "/".join([f"sprache={letter}{'日本' * 9}" for letter in letters]) + ".parquet"
        for letters in ("abc", "abd")
    ]
    for output in outputs:
        with folder.stage() as staged:
            folder.commit(staged, stage_unit(staged, output))
    assert sorted(folder.records()) == sorted(outputs)
    assert all(folder.record(output) for output in outputs)
    assert all(len(name) < 240 for name in folder._store.names(DONE))


def test_a_unit_that_is_committed_again_stays_as_it_was(address: str) -> None:
    """A task that runs twice keeps the first file and record, and returns that record."""
    folder = OutputFolder(address)
    committed = []
    for seconds in (1, 2):
        with folder.stage() as staged:
            new_record = replace(stage_unit(staged, "a-00000.parquet"), seconds={"read": seconds})
            committed.append(folder.commit(staged, new_record))
    assert [record.seconds for record in committed] == [{"read": 1}, {"read": 1}]
    assert folder.records() == {"a-00000.parquet": committed[0]}
    assert folder._store.names("") == ["a-00000.parquet"]


def test_a_record_without_its_file_does_not_count(tmp_path: Path) -> None:
    """A unit whose file was removed or truncated is not done, even if its record exists."""
    folder = OutputFolder(str(tmp_path / "out"))
    commit_unit(folder, "/in/b")
    assert set(folder.records()) == {"b-00000.parquet"}
    path = tmp_path / "out/b-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert (folder.records(), folder.record("b-00000.parquet")) == ({}, None)
    path.unlink()
    assert (folder.records(), folder.record("b-00000.parquet")) == ({}, None)


def test_a_published_file_without_a_record_is_adopted(address: str) -> None:
    """If a file's footer shows that this job wrote it, its lost record is written again."""
    folder = OutputFolder(address)
    new_record = publish(folder, "x/a-00000.parquet")
    assert folder.adopt("x/a-00000.parquet", "f1") == new_record
    assert folder.record("x/a-00000.parquet") == new_record


@pytest.mark.parametrize(
    "options",
    [{"fingerprint": "f2"}, {"fingerprint": None}, {"record": False}, {"fingerprint": None, "record": False}],
)
def test_files_of_others_are_not_adopted(address: str, options: dict[str, Any]) -> None:
    """A file of another job, or of no job, is not an output of this one."""
    folder = OutputFolder(address)
    publish(folder, "a-00000.parquet", **options)
    assert folder.adopt("a-00000.parquet", "f1") is None
    assert folder.records() == {}


def test_a_file_under_another_units_name_is_not_adopted(address: str) -> None:
    """A copy of one unit's output is not accepted for another unit."""
    folder = OutputFolder(address)
    with folder.stage() as staged:
        stage_unit(staged, "a-00000.parquet")
        folder._store.publish(staged, "a-00001.parquet")
    assert folder.adopt("a-00001.parquet", "f1") is None
    assert folder.records() == {}


@pytest.mark.parametrize("content", [b"", b"text", b"PAR1" + b"\0" * 50, None])
def test_files_without_a_footer_are_not_adopted(address: str, content: bytes | None) -> None:
    """If the file is missing, truncated or not Parquet, the unit is computed again."""
    folder = OutputFolder(address)
    assert folder.adopt("a-00000.parquet", "f1") is None
    publish(folder, "a-00000.parquet")
    whole = folder._store.read("a-00000.parquet") or b""
    put(folder, "a-00000.parquet", whole[:-9] if content is None else content)
    assert folder.adopt("a-00000.parquet", "f1") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"12", b"null", b"{}", b"\xff\xfe", b'"output"'])
def test_a_damaged_record_is_named(address: str, content: bytes) -> None:
    """An unreadable record is an error with its path and a hint; following the hint fixes it."""
    folder = OutputFolder(address)
    new_record = publish(folder, "a-00000.parquet")
    folder.adopt("a-00000.parquet", "f1")
    name = f"{DONE}/a-00000.parquet.json"
    put(folder, name, content)
    for ask in (folder.records, lambda: folder.record("a-00000.parquet")):
        with pytest.raises(OutputError) as error:
            ask()
        assert f"{address}/{name} is damaged" in error.value.args[0]
        assert "remove that file and run again" in error.value.args[1]
    folder._store.remove(name)
    assert folder.adopt("a-00000.parquet", "f1") == new_record


@pytest.mark.parametrize(("name", "advice"), [(JOB, "another --output"), (SUMMARY, "run again")])
def test_a_damaged_job_is_named(address: str, name: str, advice: str) -> None:
    """An unreadable job or summary is an error that says what to do about the file."""
    folder = OutputFolder(address)
    put(folder, name, b"{")
    with pytest.raises(OutputError, match=f"{name} is damaged") as error:
        folder.job() if name == JOB else folder.summary()
    assert advice in error.value.args[1]
    assert "unit" not in error.value.args[1]


def test_other_files_between_records_are_ignored(address: str) -> None:
    """Files that network file systems leave between the records are ignored."""
    folder = OutputFolder(address)
    put(folder, f"{DONE}/.nfs0001", b"x")
    assert folder.records() == {}


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    """Partly written files are removed; outputs, records and the job stay."""
    folder = OutputFolder(str(tmp_path))
    folder.begin(job())
    with folder.stage() as staged:
        folder.commit(staged, stage_unit(staged, "a-00000.parquet"))
    for name in ("1.part", "2.part"):
        put(folder, f"{TMP}/{name}", b"half")
    folder.clear_tmp()
    folder.clear_tmp()
    assert folder._store.names(TMP) == []
    assert (list(folder.records()), folder._store.names("")) == (["a-00000.parquet"], ["a-00000.parquet"])


def test_summary_events_and_success(address: str) -> None:
    """A new summary replaces the last, events are appended, and the success marker can be removed."""
    folder = OutputFolder(address)
    assert (folder.summary(), folder.succeeded) == (None, False)
    for rows in (1, 2):
        folder.write_summary({"rows": rows, "name": "ü"})
        folder.append_events(f'{{"run": {rows}}}\n')
    folder.mark_success(success_of(2))
    assert folder.summary() == {"rows": 2, "name": "ü"}
    assert folder._store.read("_lvm_batch/events.jsonl") == b'{"run": 1}\n{"run": 2}\n'
    assert folder.succeeded
    assert json.loads(folder._store.read(SUCCESS) or b"") == success_of(2).to_json()
    folder.mark_success(None)
    folder.mark_success(None)
    assert not folder.succeeded


def test_records_hold_no_nan(address: str) -> None:
    """JSON has no NaN, so a NaN in a record raises at once and writes nothing."""
    folder = OutputFolder(address)
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_summary({"mean": float("nan")})
    assert folder.summary() is None


HOLD = """
import sys, time
from lvm_batch.io.output.lock import lock_output
with lock_output(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    """An output locked by another process is refused; after `kill -9` it is free at once."""
    out = str(tmp_path / "out")
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(out)
        with pytest.raises(OutputLocked) as error, lock_output(out):
            pass
        assert out in error.value.args[0]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert not is_held(out)
        with lock_output(out):
            assert is_held(out)


def test_the_lock_is_one_for_each_output(tmp_path: Path) -> None:
    """Two outputs are locked independently; one output can be locked only once, even within a process."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    assert not is_held(one)
    with lock_output(one), lock_output(other), pytest.raises(OutputLocked), lock_output(one):
        pass
    with lock_output(one):
        pass
    assert OutputFolder(one).begin(job()) == job()


def test_an_exception_frees_the_lock(tmp_path: Path) -> None:
    """A run that fails releases the lock."""
    with pytest.raises(ZeroDivisionError), lock_output(str(tmp_path)):
        raise ZeroDivisionError
    assert not is_held(str(tmp_path))


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file in place of the folder is refused before anything else happens."""
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="cannot be written"), lock_output(str(out)):
            pass
        assert not is_held(str(out))
        assert OutputFolder(str(out)).records() == {}
