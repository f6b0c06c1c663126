"""``lvm-batch verify``: the faults it finds, and that a rerun repairs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from support.datasets import assert_same_rows, read_rows, windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

N_UNITS = 4


@pytest.fixture
def arguments(tmp_path: Path) -> tuple[object, ...]:
    """The arguments of ``predict`` for a job of four units of 20 rows."""
    contexts, targets = (part[: N_UNITS * 20] for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets, row_group_rows=20)
    return (tmp_path / "in", "--output", tmp_path / "out", "--unit-size", "310KiB")


@pytest.fixture
def out(arguments: tuple[object, ...], predict: Callable[..., Any], tmp_path: Path) -> Path:
    """The output of that job, finished."""
    assert predict(*arguments).done()["units"] == N_UNITS
    return tmp_path / "out"


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(path: Path) -> None:
    """Write the same rows again, as a tool outside the job would."""
    pq.write_table(pq.read_table(path), path)


def stretch(path: Path) -> None:
    """Append bytes to a file."""
    path.write_bytes(path.read_bytes() + b"\0")


def test_an_output_as_it_was_written_is_verified(lvm_batch: Callable[..., Any], out: Path) -> None:
    """All units are read again, and no fault is found."""
    result = lvm_batch("verify", out)
    assert (result.code, result.values["units"], result.values["rows"]) == (0, N_UNITS, N_UNITS * 20)
    assert (result.values["faults"], result.values["units_missing"]) == ([], [])
    assert result.values["success_stands"]


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (flip, "SHA-256"),
        (rewrite, "bytes"),
        (stretch, "bytes"),
        (lambda path: path.unlink(), "gone"),
    ],
)
def test_a_damaged_file_is_named_and_a_rerun_repairs_it(
    lvm_batch: Callable[..., Any],
    predict: Callable[..., Any],
    arguments: tuple[object, ...],
    out: Path,
    harm: Callable[[Path], None],
    what: str,
) -> None:
    """Whatever happened to a file, verify names it; once it is removed as advised, a rerun restores the same rows."""
    before = read_rows(out)
    harmed = out / "a-00001.parquet"
    harm(harmed)
    result = lvm_batch("verify", out)
    assert (result.code, result.values["error"]["kind"]) == (1, "not_verified")
    (fault,) = result.values["faults"]
    assert fault["file"] == "a-00001.parquet"
    assert what in fault["what"]
    harmed.unlink(missing_ok=True)
    assert predict(*arguments).values["units_computed"] == 1
    assert lvm_batch("verify", out).code == 0
    assert_same_rows(read_rows(out), before)


def test_a_file_without_a_unit_is_named(lvm_batch: Callable[..., Any], out: Path) -> None:
    """A file without a record would be read as predictions, so it is a fault."""
    (out / "copy.parquet").write_bytes((out / "a-00000.parquet").read_bytes())
    result = lvm_batch("verify", out)
    assert (result.code, [fault["file"] for fault in result.values["faults"]]) == (1, ["copy.parquet"])


def test_a_foreign_record_does_not_replace_a_missing_unit(lvm_batch: Callable[..., Any], out: Path) -> None:
    """A missing unit and a foreign file with a record are both reported, whatever their number."""
    done = out / "_lvm_batch/done"
    record = json.loads((done / "a-00000.parquet.json").read_text()) | {"output": "old.parquet"}
    (done / "old.parquet.json").write_text(json.dumps(record))
    (out / "old.parquet").write_bytes((out / "a-00000.parquet").read_bytes())
    (out / "a-00003.parquet").unlink()
    (done / "a-00003.parquet.json").unlink()
    result = lvm_batch("verify", out)
    assert result.code == 1
    assert result.values["units_missing"] == ["a-00003.parquet"]
    assert [(fault["file"], "to no unit" in fault["what"]) for fault in result.values["faults"]] == [
        ("old.parquet", True)
    ]


def test_units_that_are_not_done_are_counted(lvm_batch: Callable[..., Any], out: Path) -> None:
    """Verify fails an output that is correct but incomplete, and names the missing units."""
    (out / "a-00002.parquet").unlink()
    (out / "_lvm_batch/done/a-00002.parquet.json").unlink()
    (out / "_SUCCESS").unlink()
    result = lvm_batch("verify", out)
    assert (result.code, result.values["units_missing"]) == (1, ["a-00002.parquet"])
    assert "run the command" in result.values["error"]["hint"]


def test_a_folder_without_a_job_is_refused(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A folder without a job is an error."""
    assert lvm_batch("verify", tmp_path).code == 2


def test_verify_changes_nothing(lvm_batch: Callable[..., Any], out: Path) -> None:
    """No file of the folder is written, whatever is found."""
    flip(out / "a-00001.parquet")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert lvm_batch("verify", out).code == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
