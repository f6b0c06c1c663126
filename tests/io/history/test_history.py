"""Tests of the run history: its files are written once, and every unreadable file is reported."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.past_runs import NOW, make_row_sample, make_run_entry

from lvm_batch.io.errors import DataError, InputNotFound, OutputError, UnreadableFile
from lvm_batch.io.history.history import FORMAT_KEY, HISTORY_FORMAT, read_history, write_run
from lvm_batch.io.history.run_entry import SCHEMA, Figure, RunEntry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def runs_of(history: Path) -> list[RunEntry]:
    """All runs of an undamaged history."""
    found = [runs for _, runs in read_history(str(history))]
    assert not [problem for problem in found if isinstance(problem, DataError)]
    return [run for runs in found for run in runs]


def problem_of(history: Path) -> DataError:
    """The problem reported for the only file of a history."""
    ((_, found),) = read_history(str(history))
    assert isinstance(found, DataError)
    return found


def rewritten(history: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """Change the only file of a history."""
    (path,) = history.rglob("*.parquet")
    pq.write_table(change(pq.ParquetFile(path).read()), path)
    return path


def test_a_run_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """Every field is read back, with and without the optional ones."""
    complete = make_run_entry(
        peak_bytes=2**40,
        projected_bytes=5,
        query_p95_ms=0.28,
        query_mean_ms=0.21,
        query_processor="A processor",
        input_norm=Figure(1.0, 512, 1e-5),
        input_centroid=tuple(np.linspace(-1, 1, 768).tolist()),
        row_sample=make_row_sample(1),
        cosine_ood=Figure(0.61, 400),
        dataset=("a", "é/*.parquet"),
    )
    bare = make_run_entry(hours_ago=2, fallback=None, bank=None, fallback_rate=None, rows_per_s=None)
    for run in (complete, bare):
        write_run(str(tmp_path), run)
    assert runs_of(tmp_path) == [bare, complete]


def test_a_file_is_named_by_day_time_and_job(tmp_path: Path) -> None:
    """The day is a hive partition in UTC; names have no colons, which some stores and systems refuse."""
    name = write_run(str(tmp_path), make_run_entry())
    assert name == "date=2026-11-23/20261123T105000.000000Z-0c9e946ca597.parquet"
    assert (tmp_path / name).is_file()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Two runs of one job that start at the same moment get a file each."""
    names = [write_run(str(tmp_path), make_run_entry(units=units)) for units in (1, 2, 3)]
    assert len(set(names)) == 3
    assert sorted(run.units for run in runs_of(tmp_path)) == [1, 2, 3]


def test_a_file_is_one_small_table_that_others_read(tmp_path: Path) -> None:
    """A run is one row with one column a figure, in a few kilobytes."""
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
    """Times with another offset are converted to UTC."""
    there = timezone(timedelta(hours=5, minutes=30))
    started = datetime(2026, 11, 23, 1, tzinfo=there)
    write_run(str(tmp_path), make_run_entry(started=started.astimezone(UTC)))
    (run,) = runs_of(tmp_path)
    assert (run.started, run.started.utcoffset()) == (started, timedelta(0))
    assert run.ended == NOW - timedelta(hours=1)


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    """A history file of a newer format version is refused, and the version is named."""
    write_run(str(tmp_path), make_run_entry())
    path = rewritten(
        tmp_path, lambda table: table.replace_schema_metadata({FORMAT_KEY: str(HISTORY_FORMAT + 1)})
    )
    problem = problem_of(tmp_path)
    assert isinstance(problem, UnreadableFile)
    assert path.name in problem.args[0]
    assert "history format is 2, and this version reads up to 1" in problem.args[0]


def test_a_newer_version_may_lack_columns(tmp_path: Path) -> None:
    """The newer version is reported even if expected columns are missing."""
    write_run(str(tmp_path), make_run_entry())
    metadata = {FORMAT_KEY: "7"}
    rewritten(tmp_path, lambda _: pa.table({"other": [1]}).replace_schema_metadata(metadata))
    assert "history format is 7" in problem_of(tmp_path).args[0]


def test_unknown_columns_are_passed_over(tmp_path: Path) -> None:
    """An additional column in the same format version is ignored."""
    write_run(str(tmp_path), make_run_entry())
    rewritten(tmp_path, lambda table: table.append_column("more", pa.array([1])))
    assert runs_of(tmp_path) == [make_run_entry()]


@pytest.mark.parametrize(
    ("change", "message"),
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
        (
            lambda table: _with(
                table, "row_sample", _one("row_sample", asdict(make_row_sample(1)) | {"inputs": b"123"})
            ),
            "`inputs` of a sample of 200 rows cannot have 3 bytes",
        ),
    ],
)
def test_a_file_that_holds_no_run_is_named(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    """A valid Parquet file that holds no run is an error with the file and the column."""
    write_run(str(tmp_path), make_run_entry())
    path = rewritten(tmp_path, change)
    problem = problem_of(tmp_path)
    assert isinstance(problem, UnreadableFile)
    assert message in problem.args[0]
    assert str(path) in problem.args[0]


def _one(name: str, value: Any) -> pa.Array:  # noqa: ANN401 - of any column
    return pa.array([value], SCHEMA.field(name).type)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, values)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, damage: str) -> None:
    """A damaged file is reported by name, and all other files are read."""
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
    """Files are read a few at a time, on demand; a file that disappears meanwhile is skipped."""
    monkeypatch.setattr("lvm_batch.io.history.history._READ_AT_ONCE", 2)
    names = sorted(write_run(str(tmp_path), make_run_entry(hours_ago=hours)) for hours in range(5))
    found = read_history(str(tmp_path))
    first = next(found)
    (tmp_path / names[3]).unlink()
    assert [name for name, _ in (first, *found)] == [*names[:3], names[4]]


def test_hidden_and_other_files_are_not_read(tmp_path: Path) -> None:
    """Hidden files and files that are being written are not read as runs."""
    write_run(str(tmp_path), make_run_entry())
    (tmp_path / "README.md").write_text("whose history this is")
    (tmp_path / "_tmp").mkdir(exist_ok=True)
    (tmp_path / "_tmp" / "half.parquet").write_bytes(b"PAR1")
    assert runs_of(tmp_path) == [make_run_entry()]


@pytest.mark.parametrize("place", ["nothing", "empty", "file"])
def test_no_history_is_an_error(tmp_path: Path, place: str) -> None:
    """A missing folder, a folder without runs and a file are refused by name."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputNotFound, match=f"{place} holds no history"):
        list(read_history(str(tmp_path / place)))


def test_a_history_can_be_a_url(tmp_path: Path) -> None:
    """A history can be at a URL."""
    write_run(f"file://{tmp_path}/history", make_run_entry())
    assert [runs for _, runs in read_history(f"file://{tmp_path}/history")] == [[make_run_entry()]]
    assert runs_of(tmp_path / "history") == [make_run_entry()]


def test_a_history_below_a_file_is_an_error(tmp_path: Path) -> None:
    """A history cannot be below a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/history/.* cannot be written: Not a directory"):
        write_run(str(tmp_path / "file" / "history"), make_run_entry())


def test_a_history_in_a_bucket(server: Any, bucket: str) -> None:  # noqa: ANN401 - of a module that may be missing
    """In an object store a history file is created only if its name is free, and read as from a folder."""
    history = f"s3://{bucket}/a/history"
    n_before = len(server.requests)
    names = [write_run(history, make_run_entry(units=units)) for units in (1, 2)]
    found = dict(read_history(history))
    assert sorted(found) == sorted(names)
    assert [found[name][0].units for name in names] == [1, 2]
    assert all("?" not in line for line in server.requests[n_before:] if line.startswith("PUT"))


def test_a_store_that_refuses_is_an_error(server: Any, bucket: str) -> None:  # noqa: ANN401 - of a module that may be missing
    """If a store denies access, reading and writing raise DataError."""
    write_run(f"s3://{bucket}/history", make_run_entry())
    server.fail("403", "PUT", times=9)
    with pytest.raises(DataError, match="cannot be uploaded"):
        write_run(f"s3://{bucket}/history", make_run_entry(hours_ago=2))
    server.faults.clear()
    server.fail("403", "GET", "parquet", times=9)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_history(f"s3://{bucket}/history"))
    server.faults.clear()


def test_a_file_of_a_version_before_a_column_is_read(tmp_path: Path) -> None:
    """A column that is younger than a file is unknown there; any other that is missing is damage."""
    name = write_run(str(tmp_path), make_run_entry(input_seen=Figure(0.25, 400)))
    ((_, runs),) = read_history(str(tmp_path))
    assert not isinstance(runs, DataError)
    assert runs[0].input_seen == Figure(0.25, 400)
    table = pq.read_table(tmp_path / name)
    for column, is_younger in (("input_seen", True), ("row_sample", True), ("rows_in", False)):
        pq.write_table(table.drop_columns([column]), tmp_path / name)
        ((_, found),) = read_history(str(tmp_path))
        assert isinstance(found, DataError) != is_younger
