"""Runs that are stopped from outside, as real processes with real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from support.datasets import assert_same_predictions, windows, write_windows
from support.waiting import HANG_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

_COMMAND = (
    "import sys; from lvm_batch.jobs.cli import main; sys.exit(main()) if __name__ == '__main__' else None"
)


def start(tmp_path: Path, arguments: list[str]) -> subprocess.Popen[str]:
    """Start the command in its own process group, as a terminal would."""
    script = tmp_path / "command.py"
    script.write_text(_COMMAND.replace("; ", "\n", 2))
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_records(out: Path, count: int) -> None:
    """Wait until ``count`` units are committed."""
    wait_until(lambda: len(list(out.glob("_lvm_batch/done/*.json"))) >= count, f"{count} committed units")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of thirty units."""
    folder = tmp_path_factory.mktemp("interrupted")
    contexts, targets = windows()
    write_windows(folder / "in/a.parquet", contexts[:1500], targets[:1500], row_group_rows=50)
    return folder


@pytest.fixture
def arguments(folder: Path, models: Path) -> list[str]:
    """The arguments of a run over the dataset."""
    options = [str(folder / "in"), "--unit-size", "760KiB", "--min-confidence", "1"]
    return [*options, "--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt")]


@pytest.fixture
def clean(predict: Callable[..., Any], arguments: list[str], folder: Path) -> Path:
    """The output of an uninterrupted run, made once."""
    if not (folder / "clean").exists():
        predict(*arguments, "--output", folder / "clean").done()
    return folder / "clean"


# Without the soak, test_crashes.py dies at every step, and test_object_store_run.py kills a run with its workers.
_LESS_OFTEN = [pytest.param(*case, marks=pytest.mark.soak) for case in (("SIGTERM", 143), ("SIGKILL", -9))]


@pytest.mark.parametrize(("signal_name", "code"), [("SIGINT", 130), *_LESS_OFTEN])
def test_a_stopped_run_is_resumed_by_the_same_command(
    predict: Callable[..., Any],
    arguments: list[str],
    clean: Path,
    tmp_path: Path,
    signal_name: str,
    code: int,
) -> None:
    """Whatever stops the run, committed units stay, and the same command completes the rows of a clean run."""
    process = start(tmp_path, ["run", *arguments, "--output", str(tmp_path / "out"), "--workers", "1"])
    wait_for_records(tmp_path / "out", 2)
    os.killpg(process.pid, getattr(signal, signal_name))
    _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == code
    assert "Traceback" not in stderr
    committed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("_lvm_batch/done/*.json")}
    assert not (tmp_path / "out/_SUCCESS").exists()

    resumed = predict(*arguments, "--output", tmp_path / "out")
    assert resumed.code == 0
    assert resumed.values["units_computed"] <= resumed.values["units"] - 2
    assert {path: path.stat().st_mtime_ns for path in committed} == committed
    assert_same_predictions(tmp_path / "out", clean)


def test_a_second_ctrl_c_stops_at_once(models: Path, tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for the cluster to close; workers end by themselves."""
    contexts, targets = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:600], targets[:600], row_group_rows=50)
    arguments = [
        str(tmp_path / "in"),
        "--unit-size",
        "760KiB",
        "--model",
        str(models / "amn.pt"),
        "--shadow-rate",
        "1",
    ]
    arguments += ["--fallback", str(models / "gru.pt"), "--output", str(tmp_path / "out"), "--workers", "1"]
    process = start(tmp_path, ["run", *arguments])
    wait_for_records(tmp_path / "out", 1)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(children, timeout=HANG_S)[1]
    assert not (tmp_path / "out/_SUCCESS").exists()
