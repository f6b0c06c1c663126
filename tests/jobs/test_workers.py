"""Workers that die, hang or fall silent, and schedulers that go away: real processes, started as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from datasets import read_rows, windows, write_windows
from waiting import HANG_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Result

N_UNITS = 8


# Imported by every worker of a test: makes one unit do what TROUBLE says. What takes long to import is there before the
# worker joins, so that it takes no time of a unit.
TROUBLE = """
import os, signal, time
import lvm_batch.jobs.models.load
from lvm_batch.jobs.prediction.execution import worker

hoard = []
compute = getattr(worker, "_untroubled", worker._compute)  # a worker may import this twice
worker._untroubled = compute

def troubled(job, unit, folder):
    if unit.output == "a-00003.parquet":
        open({touched!r}, "a").write("x")
        {trouble}
    return compute(job, unit, folder)

worker._compute = troubled
"""


class Cluster:
    """A ``dask scheduler`` and one ``dask worker`` command with two worker processes under nannies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *options: object, trouble: str | None = None) -> str:
        """Start both; return the scheduler's address."""
        self._dask(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file
        )
        if trouble:
            script = self.folder / "trouble.py"
            script.write_text(TROUBLE.format(trouble=trouble, touched=str(self.folder / "touched")))
            options = (*options, "--preload", script)
        workers = ("--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        self._dask(
            "worker", "--scheduler-file", self.file, "--local-directory", self.folder, *workers, *options
        )
        wait_until(self._is_up, "the scheduler's address")
        return str(json.loads(self.file.read_text())["address"])

    def _is_up(self) -> bool:
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def _dask(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(command, start_new_session=True, **quiet))

    def workers(self) -> list[psutil.Process]:
        """The worker processes, not their nannies."""
        children = psutil.Process(self.processes[1].pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    def attempts(self) -> int:
        """How often the troubled unit was begun."""
        touched = self.folder / "touched"
        return len(touched.read_text()) if touched.exists() else 0

    def stop(self) -> None:
        """Kill everything."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                    child.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster to be started by the test; a run waits for its workers, however long they take to start."""
    for module in ("cluster", "workers"):
        monkeypatch.setattr(f"lvm_batch.jobs.prediction.{module}.WAIT_S", HANG_S)
    started = Cluster(tmp_path)
    yield started
    started.stop()


@pytest.fixture
def ask(tmp_path: Path, models: Path) -> list[object]:
    """The arguments of a run over eight units in which every row runs through both models."""
    contexts, targets = (part[: N_UNITS * 40] for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets, row_group_rows=40)
    return [
        *("run", tmp_path / "in", "--output", tmp_path / "out", "--unit-size", "620KiB", "--shadow-rate", 1),
        *("--model", models / "amn.pt", "--fallback", models / "gru.pt"),
    ]


def soon(action: Callable[[], object], condition: Callable[[], bool]) -> threading.Thread:
    """Do something, on another thread, as soon as a condition holds."""

    def wait() -> None:
        wait_until(condition, "what the action waits for")
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def check_whole(result: Result, tmp_path: Path) -> None:
    """Every row is there, once."""
    assert result.code == 0, result.stderr
    assert result.values["units_done"] == N_UNITS
    assert len(read_rows(tmp_path / "out")) == N_UNITS * 40


def test_a_killed_worker_costs_no_row(
    cluster: Cluster, lvm_batch: Callable[..., Any], ask: list[object], tmp_path: Path
) -> None:
    """A worker killed in the middle of a unit is replaced; its unit is done by another."""
    address = cluster.start(trouble="time.sleep(2)")
    thread = soon(lambda: [worker.kill() for worker in cluster.workers()], lambda: cluster.attempts() > 0)
    check_whole(lvm_batch(*ask, "--scheduler", address), tmp_path)
    thread.join()
    assert cluster.attempts() > 1


def test_a_unit_that_kills_its_workers_is_quarantined_by_name(
    cluster: Cluster,
    lvm_batch: Callable[..., Any],
    ask: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After three deaths the unit is named with its worker's last memory; the others are done, and a rerun does it."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers._LOOK_EVERY_S", 0.05)
    address = cluster.start(trouble="time.sleep(1.2); os.kill(os.getpid(), signal.SIGKILL)")
    result = lvm_batch(*ask, "--scheduler", address)
    assert (result.code, result.values["units_done"]) == (1, N_UNITS - 1), result.values["failed_units"]
    (failure,) = result.values["failed_units"]
    assert (failure["kind"], failure["output"]) == ("worker_lost", "a-00003.parquet")
    assert "MiB" in failure["message"]
    assert cluster.attempts() == 3
    assert not (tmp_path / "out/_SUCCESS").exists()
    cluster.stop()
    cluster.file.unlink(missing_ok=True)
    cluster.processes.clear()
    again = lvm_batch(*ask, "--scheduler", cluster.start())
    assert again.values["units_computed"] == 1
    check_whole(again, tmp_path)


def test_a_unit_that_needs_too_much_memory_is_quarantined(
    cluster: Cluster, lvm_batch: Callable[..., Any], ask: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that grows over its limit is killed by its nanny; the unit is named and the others are done."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    hoard = "[(hoard.append(bytearray(os.urandom(1 << 20)) * 50), time.sleep(0.1)) for _ in range(60)]"
    address = cluster.start("--memory-limit", "1200MiB", trouble=hoard)
    result = lvm_batch(*ask, "--scheduler", address)
    assert (result.code, result.values["units_done"]) == (1, N_UNITS - 1), result.values["failed_units"]
    (failure,) = result.values["failed_units"]
    assert (failure["kind"], failure["output"]) == ("worker_lost", "a-00003.parquet")
    assert "of 1,200 MiB" in failure["message"]


def test_a_stopped_worker_loses_its_unit_to_another(
    cluster: Cluster, lvm_batch: Callable[..., Any], ask: list[object], tmp_path: Path
) -> None:
    """A worker that stands still (SIGSTOP) is given up after --unit-timeout, and its unit goes elsewhere."""
    first = f"len(open({str(tmp_path / 'touched')!r}).read()) == 1"
    address = cluster.start(trouble=f"os.kill(os.getpid(), signal.SIGSTOP) if {first} else None")
    check_whole(lvm_batch(*ask, "--scheduler", address, "--unit-timeout", 6), tmp_path)
    assert cluster.attempts() > 1


def test_a_unit_that_hangs_is_given_up(
    cluster: Cluster, lvm_batch: Callable[..., Any], ask: list[object]
) -> None:
    """A unit that never ends is tried three times for --unit-timeout each, then named; the others are done."""
    address = cluster.start(trouble="time.sleep(600)")
    result = lvm_batch(*ask, "--scheduler", address, "--unit-timeout", 6)
    assert (result.code, result.values["units_done"]) == (1, N_UNITS - 1), result.values["failed_units"]
    (failure,) = result.values["failed_units"]
    assert (failure["kind"], failure["output"]) == ("unit_timeout", "a-00003.parquet")
    assert "--unit-timeout" in failure["hint"]


def test_a_scheduler_that_goes_away_ends_the_run_with_75(
    cluster: Cluster, lvm_batch: Callable[..., Any], ask: list[object], tmp_path: Path
) -> None:
    """When the scheduler dies the run ends, long before its unit would; the same command elsewhere does the rest."""
    address = cluster.start(trouble="time.sleep(3600)")
    thread = soon(lambda: cluster.processes[0].send_signal(signal.SIGKILL), lambda: cluster.attempts() > 0)
    result = lvm_batch(*ask, "--scheduler", address)
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again"), result.stderr[-3000:]
    thread.join()
    assert lvm_batch("status", tmp_path / "out").values["state"] == "incomplete"


def test_a_scheduler_without_workers_is_said(
    lvm_batch: Callable[..., Any], ask: list[object], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that has no workers is named within the time that a run waits for them."""
    monkeypatch.setattr("lvm_batch.jobs.prediction.cluster.WAIT_S", 2)
    address = cluster.start()
    os.killpg(cluster.processes[1].pid, signal.SIGKILL)
    result = lvm_batch(*ask, "--scheduler", address)
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again"), result.stderr[-3000:]
