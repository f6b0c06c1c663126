"""Tests of full disks, folders without permissions, and files that change while a job runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import predictions_of, read_rows, windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 240


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six files of forty rows."""
    contexts, targets = windows()
    for number in range(6):
        rows = slice(40 * number, 40 * number + 40)
        write_windows(tmp_path / f"in/{number}.parquet", contexts[rows], targets[rows], row_group_rows=20)
    return tmp_path / "in"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A small file system mounted at ``folder``; skips if mounting is not allowed."""
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


def enlarge(folder: Path, size: str) -> None:
    """Enlarge a small disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)  # noqa: S607


def consistent(out: Path) -> int:
    """Check that every file a reader sees is complete; return the number of rows."""
    assert not (out / "_SUCCESS").exists()
    records = [json.loads(path.read_bytes()) for path in out.glob("_lvm_batch/done/*.json")]
    rows = len(read_rows(out))
    assert rows >= sum(record["rows_out"] for record in records)
    assert not list(out.glob("_lvm_batch/tmp/*"))
    return rows


@pytest.mark.parametrize("size", ["40k", "200k", "400k"])
def test_a_full_disk_is_named_and_the_rerun_finishes(
    predict: Callable[..., Any], dataset: Path, tmp_path: Path, size: str
) -> None:
    """The failure is reported by name, existing files are complete, and with more space the same command finishes."""
    with small_disk(tmp_path / "disk", size) as disk:
        result = predict(dataset, "--output", disk / "out")
        assert result.code in {1, 2}, result
        error = result.values["error"]
        assert "No space left on device" in error["message"]
        assert error["hint"]
        assert "Traceback" not in result.stderr
        consistent(disk / "out")
        enlarge(disk, "20m")
        rerun = predict(dataset, "--output", disk / "out")
        assert (rerun.code, rerun.values["rows_out"]) == (0, N_ROWS)
        predict(dataset, "--output", tmp_path / "clean").done()
        np.testing.assert_allclose(
            predictions_of(disk / "out"), predictions_of(tmp_path / "clean"), atol=1e-5
        )


def test_a_bank_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """A full disk is an error; it does not kill the process, as writing through a memory map would."""
    from lvm_batch.io.bank.bank import build_bank, open_bank
    from lvm_batch.io.dataset.files import find_files
    from lvm_batch.io.errors import OutputError

    rows = pa.FixedSizeListArray.from_arrays(pa.array(windows()[1][:400].reshape(-1)), 768)
    path = tmp_path / "v.parquet"
    pq.write_table(pa.table({"vector": rows}), path)
    with small_disk(tmp_path / "disk", "400k") as disk:
        with pytest.raises(OutputError, match=r"bank cannot be written: .*No space left on device"):
            build_bank(find_files([str(path)]), str(disk / "bank"))
        enlarge(disk, "20m")
        build_bank(find_files([str(path)]), str(disk / "bank"))
        assert len(open_bank(str(disk / "bank")).vectors) == 400


def unprivileged() -> list[str]:
    """The prefix that makes a command obey file permissions, which root ignores."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("tests run as root, and nothing is there to give that up")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


_COMMANDS = """
import json, sys
from lvm_batch.jobs.cli import main
for line in sys.stdin:
    code = main(json.loads(line))
    print(code, flush=True)
"""


@pytest.fixture(scope="module")
def run_command() -> Iterator[Callable[..., tuple[int, dict[str, Any]]]]:
    """Run commands in a process that has only its user's permissions."""
    process = subprocess.Popen(
        [*unprivileged(), sys.executable, "-c", _COMMANDS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def call(*arguments: object) -> tuple[int, dict[str, Any]]:
        process.stdin.write(json.dumps([*map(str, arguments), "--json"]) + "\n")
        process.stdin.flush()
        said, code = process.stdout.readline(), process.stdout.readline()
        return int(code), json.loads(said)

    yield call
    process.stdin.close()
    process.stdout.close()
    process.wait()


@pytest.mark.parametrize("what", ["file", "folder", "output", "parent of the output", "model", "bank"])
def test_a_missing_permission_is_named(
    run_command: Callable[..., tuple[int, dict[str, Any]]],
    dataset: Path,
    models: Path,
    tmp_path: Path,
    what: str,
) -> None:
    """Without permission nothing starts: the exit code is 2, and the message gives the path."""
    (tmp_path / "out").mkdir()
    (tmp_path / "locked").mkdir()
    shutil.copy(models / "amn.pt", tmp_path / "amn.pt")
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank/bank.json").write_text("{}")
    path = {
        "file": dataset / "3.parquet",
        "folder": dataset,
        "output": tmp_path / "out",
        "parent of the output": tmp_path / "locked",
        "model": tmp_path / "amn.pt",
        "bank": tmp_path / "bank/bank.json",
    }[what]
    path.chmod(0o500 if "output" in what else 0)
    try:
        code, values = run_command(
            "run",
            dataset,
            "--output",
            tmp_path / ("locked/out" if what == "parent of the output" else "out"),
            "--model",
            tmp_path / "amn.pt",
            *(["--bank", tmp_path / "bank"] if what == "bank" else []),
        )
    finally:
        path.chmod(0o700)
    assert code == 2, values
    assert str(path.parent if what == "bank" else path) in values["error"]["message"]
    assert "ermission denied" in values["error"]["message"]
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture
def meddle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object], int], None]:
    """Change the inputs after a number of batches; the workers are threads here."""

    def when(act: Callable[[], object], after_batches: int) -> None:
        from lvm_batch.io.dataset.windows import WindowsReader

        original, count = WindowsReader._batch, [0]

        def batch(self: Any, *arguments: Any) -> Any:  # noqa: ANN401
            if count[0] == after_batches:
                act()
            count[0] += 1
            return original(self, *arguments)

        monkeypatch.setattr(WindowsReader, "_batch", batch)

    return when


CHANGES: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: os.truncate(path, 50_000),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
    "replaced": lambda path: write_windows(path, windows()[0][900:940]),
    "written over": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "appended to": lambda path: path.write_bytes(path.read_bytes() + b"x"),
}


@pytest.mark.parametrize("after_batches", [pytest.param(0, marks=pytest.mark.soak), 1])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read_fails_by_name(
    predict: Callable[..., Any],
    meddle: Callable[[Callable[[], object], int], None],
    dataset: Path,
    tmp_path: Path,
    change: str,
    after_batches: int,
) -> None:
    """Only the units of that file fail, with its name; after the file is restored, a rerun finishes."""
    target = dataset / "5.parquet"
    content, times = target.read_bytes(), target.stat()
    done = [False]

    def act() -> None:
        if not done[0]:
            done[0] = True
            CHANGES[change](target)

    meddle(act, after_batches)
    result = predict(dataset, "--output", tmp_path / "out")
    assert result.code == 1, result
    error = result.values["error"]
    assert str(target) in error["message"]
    assert "no longer exists" in error["message"] or "has changed" in error["message"]
    assert {failed["kind"] for failed in result.values["failed_units"]} == {"unreadable_file"}
    assert consistent(tmp_path / "out") == N_ROWS - 40

    target.write_bytes(content)
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    rerun = predict(dataset, "--output", tmp_path / "out")
    assert (rerun.code, rerun.values["rows_out"], rerun.values["units_computed"]) == (0, N_ROWS, 1)


@pytest.mark.parametrize("change", ["cut short", "deleted"])
def test_a_file_that_goes_in_the_middle_of_its_unit_fails_by_name(tmp_path: Path, change: str) -> None:
    """A file truncated while it is read is an error; it does not kill the process, as reading a memory map would."""
    from lvm_batch.io.dataset.files import find_files
    from lvm_batch.io.dataset.reading import open_unit
    from lvm_batch.io.dataset.units import DatasetFormat, cut_units, read_footers
    from lvm_batch.io.errors import UnreadableFile

    path = write_windows(tmp_path / "a.parquet", windows()[0][:400], encoding="binary", row_group_rows=100)
    understood = DatasetFormat()
    [(_, footer)] = read_footers(find_files([str(path)]), understood)
    [unit] = cut_units(footer, unit_bytes=2**30, shape=understood.shape)
    with open_unit(unit, understood, batch_rows=50) as rows:
        next(rows.batches)
        CHANGES[change](path)
        with pytest.raises(UnreadableFile, match=r"a\.parquet"):
            list(rows.batches)
