"""Workers that die, hang or stall, and schedulers that go away: real processes under Dask's own commands.

A nanny's workers are copies of a fork server, as on this machine's clusters: a test that kills three of them would
import torch four times.
"""

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
from distributed import Client
from support.datasets import read_rows, windows, write_windows
from support.waiting import HANG_S, wait_until

from lvm_batch.jobs.processes.forkserver import METHOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

N_UNITS = 8


# Every worker imports this: for one unit it runs the code in the trouble file while that file exists. Slow
# imports happen before the worker joins, so that they take no time from a unit.
TROUBLE = """
import os, signal, time
import lvm_batch.jobs.models.load
from lvm_batch.jobs.prediction.execution import worker

hoard = []
compute = getattr(worker, "_untroubled", worker._compute)  # a worker may import this twice
worker._untroubled = compute

def troubled(job, unit, folder):
    if unit.output == "a-00003.parquet" and os.path.exists({trouble!r}):
        open({touched!r}, "a").write("x")
        exec(open({trouble!r}).read())
    return compute(job, unit, folder)

worker._compute = troubled
"""

# Every nanny runs this: it kills a worker that does not end by itself after 0.4 s, not after Dask's 4. Its workers are
# copies of a server.
NANNY = """
from distributed import Nanny
from lvm_batch.jobs.processes.forkserver import start_forkserver
Nanny.kill.__defaults__ = (0.5, "nanny-kill")
start_forkserver()
"""


class Cluster:
    """A ``dask scheduler`` and one ``dask worker`` command with worker processes under nannies."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        self.folder, self.n_workers = folder, n_workers
        self.file = folder / "scheduler.json"
        self.trouble, self.touched = folder / "trouble", folder / "touched"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the scheduler and the workers."""
        self.start_scheduler()
        script = self.folder / "trouble.py"
        script.write_text(TROUBLE.format(trouble=str(self.trouble), touched=str(self.touched)))
        nanny = self.folder / "nanny.py"
        nanny.write_text(NANNY)
        workers = ("--nworkers", self.n_workers, "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1")
        own = ("--memory-limit", "1200MiB", "--local-directory", self.folder, "--preload", script)
        own += ("--preload-nanny", nanny)
        self._dask("worker", "--scheduler-file", self.file, *workers, *own)

    def start_scheduler(self) -> None:
        """Start a scheduler without workers."""
        alone = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._dask("scheduler", *alone, "--scheduler-file", self.file)
        wait_until(self._is_up, "the scheduler's address")

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return str(json.loads(self.file.read_text())["address"])

    def trouble_with(self, code: str, *, allowed_failures: int = 3) -> None:
        """Let one unit run ``code`` first; a task fails for good after more deaths than ``allowed_failures``."""
        self.trouble.write_text(code)
        self.touched.unlink(missing_ok=True)
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(
                self.n_workers, timeout=HANG_S
            )  # those that an earlier test killed are back
            client.run_on_scheduler(exec, _ALLOW.format(allowed_failures))

    def _is_up(self) -> bool:
        return self.file.exists() and self.file.read_text().rstrip().endswith("}")

    def _dask(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "dask", *map(str, arguments)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = os.environ | {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": METHOD}
        self.processes.append(subprocess.Popen(command, start_new_session=True, env=environment, **quiet))

    def attempts(self) -> int:
        """How often the troubled unit was started."""
        return len(self.touched.read_text()) if self.touched.exists() else 0

    def in_turn(self, *codes: str) -> str:
        """Code for the trouble file: one of ``codes`` at each attempt of the troubled unit, and nothing afterwards."""
        return f"exec(dict(enumerate({codes!r}, 1)).get(len(open({str(self.touched)!r}).read()), ''))"

    def stop(self) -> None:
        """Kill all processes."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                    child.kill()
            process.wait()


# as text, because the scheduler cannot import this file
_ALLOW = (
    "from distributed.scheduler import Scheduler;"
    " [setattr(each, 'allowed_failures', {}) for each in Scheduler._instances]"
)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run wait for its workers, however long they take to start. It draws no report."""
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)
    monkeypatch.setattr("lvm_batch.jobs.clusters.scheduler.Scheduler.wait_s", HANG_S)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that the test starts and may break."""
    started = Cluster(tmp_path, n_workers=1)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that is started once: the nannies restart workers that die."""
    started = Cluster(tmp_path_factory.mktemp("cluster"), n_workers=2)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """The shared cluster, without trouble from an earlier test."""
    yield shared
    shared.trouble.unlink(missing_ok=True)


@pytest.fixture
def arguments(tmp_path: Path, models: Path) -> list[object]:
    """The arguments of a run over eight units in which every row runs through both models."""
    contexts, targets = (part[: N_UNITS * 40] for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets, row_group_rows=40)
    return [
        *("run", tmp_path / "in", "--output", tmp_path / "out", "--unit-size", "620KiB", "--shadow-rate", 1),
        *("--model", models / "amn.pt", "--fallback", models / "gru.pt"),
    ]


def soon(action: Callable[[], object], condition: Callable[[], bool]) -> threading.Thread:
    """Call something on another thread as soon as a condition holds."""

    def wait() -> None:
        wait_until(condition, "what the action waits for")
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def check_whole(result: Result, tmp_path: Path) -> None:
    """Check that every row appears exactly once."""
    assert result.code == 0, result.stderr
    assert result.values["units_done"] == N_UNITS
    assert len(read_rows(tmp_path / "out")) == N_UNITS * 40


KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"
HANGS = "time.sleep(600)"
HOARDS = f"hoard.extend(bytearray(os.urandom(1 << 20)) * 50 for _ in range(25)); {HANGS}"


def test_a_killed_worker_costs_no_row(
    cluster: Cluster, lvm_batch: Callable[..., Any], arguments: list[object], tmp_path: Path
) -> None:
    """A worker killed in the middle of a unit is replaced; another worker computes its unit."""
    cluster.trouble_with(cluster.in_turn(KILLED))
    check_whole(lvm_batch(*arguments, "--scheduler", cluster.address), tmp_path)
    assert cluster.attempts() > 1


def test_a_unit_that_kills_its_workers_is_quarantined_by_name(
    cluster: Cluster, lvm_batch: Callable[..., Any], arguments: list[object], tmp_path: Path
) -> None:
    """After three deaths the unit is named with its worker's memory; the others are done, and a rerun does it.

    At last the nanny kills the worker, because the unit needs more memory than the worker may use.
    """
    cluster.trouble_with(cluster.in_turn(KILLED, KILLED, HOARDS), allowed_failures=0)
    result = lvm_batch(*arguments, "--scheduler", cluster.address)
    assert (result.code, result.values["units_done"]) == (1, N_UNITS - 1), result.values["failed_units"]
    (failure,) = result.values["failed_units"]
    assert (failure["kind"], failure["output"]) == ("worker_lost", "a-00003.parquet")
    assert "of 1,200 MiB" in failure["message"]
    assert cluster.attempts() == 3
    assert not (tmp_path / "out/_SUCCESS").exists()
    cluster.trouble.unlink()
    again = lvm_batch(*arguments, "--scheduler", cluster.address)
    assert again.values["units_computed"] == 1
    check_whole(again, tmp_path)


@pytest.mark.parametrize("stuck", [STOPPED, pytest.param(HANGS, marks=pytest.mark.soak)])
def test_a_worker_that_is_stuck_loses_its_unit_to_another(
    cluster: Cluster, lvm_batch: Callable[..., Any], arguments: list[object], tmp_path: Path, stuck: str
) -> None:
    """A worker that is stopped (SIGSTOP), or hangs, is dropped after --unit-timeout; another computes its unit.

    The others must not take as long on a busy machine, so that one waiting time is all that is spent here.
    """
    cluster.trouble_with(cluster.in_turn(stuck))
    check_whole(lvm_batch(*arguments, "--scheduler", cluster.address, "--unit-timeout", 8), tmp_path)
    assert cluster.attempts() > 1


def test_a_scheduler_that_goes_away_ends_the_run_with_75(
    own_cluster: Cluster, lvm_batch: Callable[..., Any], arguments: list[object], tmp_path: Path
) -> None:
    """If the scheduler dies, the run ends long before its unit would; the same command elsewhere does the rest."""
    own_cluster.start()
    own_cluster.trouble_with("time.sleep(3600)")
    scheduler = own_cluster.processes[0]
    thread = soon(lambda: scheduler.send_signal(signal.SIGKILL), lambda: own_cluster.attempts() > 0)
    result = lvm_batch(*arguments, "--scheduler", own_cluster.address)
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again"), result.stderr[-3000:]
    thread.join()
    assert lvm_batch("status", tmp_path / "out").values["state"] == "incomplete"


def test_a_scheduler_without_workers_is_named(
    lvm_batch: Callable[..., Any],
    arguments: list[object],
    own_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error comes within the time that a run waits for workers."""
    monkeypatch.setattr("lvm_batch.jobs.clusters.scheduler.Scheduler.wait_s", 2)
    own_cluster.start_scheduler()
    result = lvm_batch(*arguments, "--scheduler", own_cluster.address)
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again"), result.stderr[-3000:]
