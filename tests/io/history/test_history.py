"""The history of runs: files that are written once, and read with nothing passed over in silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.past_runs import NOW, make_run_entry

from lvm_batch.io.errors import DataError, InputNotFound, OutputError, UnreadableFile
from lvm_batch.io.history.history import FORMAT_KEY, HISTORY_FORMAT, read_history, write_run
from lvm_batch.io.history.run_entry import SCHEMA, Figure, RunEntry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def runs_of(history: Path) -> list[RunEntry]:
    """All runs of a history that is whole."""
    found = [runs for _, runs in read_history(str(history))]
    assert not [problem for problem in found if isinstance(problem, DataError)]
    return [run for runs in found for run in runs]


def problem_of(history: Path) -> DataError:
    """What is wrong with the only file of a history."""
    ((_, found),) = read_history(str(history))
    assert isinstance(found, DataError)
    return found


def rewritten(history: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Change the only file of a history."""
    (path,) = history.rglob("*.parquet")
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    return path


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives, with and without those that may be missing."""
    whole = make_run_entry(
        peak_bytes=2**40,
        projected_bytes=5,
        query_p95_ms=0.28,
        input_norm=Figure(1.0, 512, 1e-5),
        input_centroid=tuple(np.linspace(-1, 1, 768).tolist()),
        cosine_ood=Figure(0.61, 400),
        dataset=("a", "é/*.parquet"),
    )
    bare = make_run_entry(hours_ago=2, fallback=None, bank=None, fallback_rate=None, rows_per_s=None)
    for run in (whole, bare):
        write_run(str(tmp_path), run)
    assert runs_of(tmp_path) == [bare, whole]


def test_a_file_is_named_by_day_time_and_job(tmp_path: Path) -> None:
    """The day is a hive partition, in UTC; colons, which some stores and systems refuse, stand nowhere."""
    name = write_run(str(tmp_path), make_run_entry())
    assert name == "date=2026-11-23/20261123T105000.000000Z-0c9e946ca597.parquet"
    assert (tmp_path / name).is_file()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Two runs of one job that started at the same moment have a file each."""
    names = [write_run(str(tmp_path), make_run_entry(units=units)) for units in (1, 2, 3)]
    assert len(set(names)) == 3
    assert sorted(run.units for run in runs_of(tmp_path)) == [1, 2, 3]


def test_a_file_is_one_small_table_that_others_read(tmp_path: Path) -> None:
    """A run is one row with a column for each figure, and takes a few kilobytes."""
    write_run(
        str(tmp_path), make_run_entry(input_centroid=tuple([0.5] * 768), input_norm=Figure(1.0, 9, 0.1))
    )
    (path,) = tmp_path.rglob("*.parquet")
    assert pq.read_table(path, partitioning=None).to_pylist()[0]["cosine"] == {
        "mean": 0.65,
        "n": 1000,
        "std": None,
    }
    assert path.stat().st_size < 40_000


def test_times_are_utc_wherever_they_were_read(tmp_path: Path) -> None:
    """A time with another offset is the same moment."""
    there = timezone(timedelta(hours=5, minutes=30))
    started = datetime(2026, 11, 23, 1, tzinfo=there)
    write_run(str(tmp_path), make_run_entry(started=started.astimezone(UTC)))
    (run,) = runs_of(tmp_path)
    assert (run.started, run.started.utcoffset()) == (started, timedelta(0))
    assert run.ended == NOW - timedelta(hours=1)


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    """A history that a later version wrote is not guessed at."""
    write_run(str(tmp_path), make_run_entry())
    path = rewritten(
        tmp_path, lambda table: table.replace_schema_metadata({FORMAT_KEY: str(HISTORY_FORMAT + 1)})
    )
    problem = problem_of(tmp_path)
    assert isinstance(problem, UnreadableFile)
    assert path.name in problem.args[0]
    assert "history format 2, and this one reads up to 1" in problem.args[0]


def test_a_newer_version_may_lack_columns(tmp_path: Path) -> None:
    """That a file is of a newer version is told before that it looks different."""
    write_run(str(tmp_path), make_run_entry())
    metadata = {FORMAT_KEY: "7"}
    rewritten(tmp_path, lambda _: pa.table({"other": [1]}).replace_schema_metadata(metadata))
    assert "history format 7" in problem_of(tmp_path).args[0]


def test_unknown_columns_are_passed_over(tmp_path: Path) -> None:
    """A column more, of the same format, changes nothing."""
    write_run(str(tmp_path), make_run_entry())
    rewritten(tmp_path, lambda table: table.append_column("more", pa.array([1])))
    assert runs_of(tmp_path) == [make_run_entry()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.replace_schema_metadata(None), "was not written by a run"),
        (lambda table: table.replace_schema_metadata({FORMAT_KEY: "one"}), "was not written by a run"),
        (lambda table: table.drop_columns(["state"]), "has no column `state` of type string"),
        (lambda table: _with(table, "rows_in", pa.array(["9"])), "has no column `rows_in` of type int64"),
        (
            lambda table: _with(table, "ended", pa.nulls(1, SCHEMA.field("ended").type)),
            "has nothing in its column",
        ),
        (lambda table: _with(table, "rows_in", pa.array([-1])), "`rows_in` cannot be -1"),
        (lambda table: _with(table, "wall_s", pa.array([float("nan")])), "`wall_s` cannot be nan"),
        (
            lambda table: _with(table, "cosine", _one("cosine", {"mean": 0.1, "n": None, "std": None})),
            "has a hole",
        ),
        (lambda table: _with(table, "rows_by_route", _one("rows_by_route", [("amn", None)])), "has a hole"),
        (lambda table: _with(table, "dataset", _one("dataset", [None])), "has a hole"),
    ],
)
def test_what_no_run_writes_is_named(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    """A file that is Parquet, but tells of no run, is an error that names the file and the column."""
    write_run(str(tmp_path), make_run_entry())
    path = rewritten(tmp_path, change)
    problem = problem_of(tmp_path)
    assert isinstance(problem, UnreadableFile)
    assert said in problem.args[0]
    assert str(path) in problem.args[0]


def _one(name: str, value: Any) -> pa.Array:  # noqa: ANN401 - of any column
    return pa.array([value], SCHEMA.field(name).type)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, values)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    """Damage is told by file; it takes nothing else along."""
    write_run(str(tmp_path), make_run_entry())
    name = write_run(str(tmp_path), make_run_entry(hours_ago=30))
    content = (tmp_path / name).read_bytes()
    broken = {"cut": content[:-40], "empty": b"", "text": b"hello"}
    flipped = content[:-6] + bytes([content[-6] ^ 0xFF]) + content[-5:]
    (tmp_path / name).write_bytes(broken.get(damage, flipped))
    found = dict(read_history(str(tmp_path)))
    assert isinstance(found[name], UnreadableFile)
    assert [runs for key, runs in found.items() if key != name] == [[make_run_entry()]]


def test_a_long_history_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read a few at a time, as they are asked for: one that goes meanwhile is passed over."""
    monkeypatch.setattr("lvm_batch.io.history.history._READ_AT_ONCE", 2)
    names = sorted(write_run(str(tmp_path), make_run_entry(hours_ago=hours)) for hours in range(5))
    found = read_history(str(tmp_path))
    first = next(found)
    (tmp_path / names[3]).unlink()
    assert [name for name, _ in (first, *found)] == [*names[:3], names[4]]


def test_hidden_and_other_files_are_not_read(tmp_path: Path) -> None:
    """What stands beside a history, or is being written, is not taken for runs."""
    write_run(str(tmp_path), make_run_entry())
    (tmp_path / "README.md").write_text("whose history this is")
    (tmp_path / "_tmp").mkdir(exist_ok=True)
    (tmp_path / "_tmp" / "half.parquet").write_bytes(b"PAR1")
    assert runs_of(tmp_path) == [make_run_entry()]


@pytest.mark.parametrize("place", ["nothing", "empty", "file"])
def test_no_history_is_an_error(tmp_path: Path, place: str) -> None:
    """A folder that is not there, one without runs and a file are refused by name."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputNotFound, match=f"{place} holds no history"):
        list(read_history(str(tmp_path / place)))


def test_a_history_can_be_a_url(tmp_path: Path) -> None:
    """A history is where its URL says."""
    write_run(f"file://{tmp_path}/history", make_run_entry())
    assert [runs for _, runs in read_history(f"file://{tmp_path}/history")] == [[make_run_entry()]]
    assert runs_of(tmp_path / "history") == [make_run_entry()]


def test_where_nothing_can_be_written_is_an_error(tmp_path: Path) -> None:
    """A history below a file cannot be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/history/.* cannot be written: Not a directory"):
        write_run(str(tmp_path / "file" / "history"), make_run_entry())


def test_a_history_in_a_bucket(server: Any, bucket: str) -> None:  # noqa: ANN401 - of a module that may be missing
    """A history of an object store is written on the condition that the name is free, and read as a folder is."""
    history = f"s3://{bucket}/a/history"
    n_before = len(server.requests)
    names = [write_run(history, make_run_entry(units=units)) for units in (1, 2)]
    found = dict(read_history(history))
    assert sorted(found) == sorted(names)
    assert [found[name][0].units for name in names] == [1, 2]
    assert all("?" not in line for line in server.requests[n_before:] if line.startswith("PUT"))


def test_a_store_that_refuses_is_an_error(server: Any, bucket: str) -> None:  # noqa: ANN401 - of a module that may be missing
    """No access to a store is a DataError, when writing and when reading."""
    write_run(f"s3://{bucket}/history", make_run_entry())
    server.fail("403", "PUT", times=9)
    with pytest.raises(DataError, match="cannot be uploaded"):
        write_run(f"s3://{bucket}/history", make_run_entry(hours_ago=2))
    server.faults.clear()
    server.fail("403", "GET", "parquet", times=9)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_history(f"s3://{bucket}/history"))
    server.faults.clear()
