"""Driving units over a cluster: whose results they are, their time limit, and the calls while a run waits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client
from support.datasets import windows, write_windows
from support.waiting import HANG_S, wait_until

from lvm_batch.jobs.clusters import waiting
from lvm_batch.jobs.clusters.waiting import await_workers
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.prediction.execution import drive as driving
from lvm_batch.jobs.prediction.execution import worker
from lvm_batch.jobs.prediction.planning.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow


def answers(job: Any, units: Any) -> list[SimpleNamespace]:  # noqa: ANN401 - a stand-in for a job
    """Replace ``run_units``: return each unit's job output, after a while."""
    time.sleep(job.takes_s)
    return [SimpleNamespace(output=unit.output, written_to=job.output, worker="") for unit in units]


@pytest.fixture
def drive(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[str]]:
    """Drive units of a job that writes to an output; return the outputs that the results name."""
    monkeypatch.setattr(driving, "run_units", answers)

    def call(output: str, *, n_units: int, takes_s: float, **options: object) -> set[str]:
        job = SimpleNamespace(job_id="abc123", output=output, takes_s=takes_s)
        units = [SimpleNamespace(output=f"a-{number}.parquet", n_rows=5000) for number in range(n_units)]
        with Client(scheduler, set_as_default=False) as client:
            outcomes = driving.drive(client, job, units, unit_timeout_s=HANG_S, **options)
            return {outcome.written_to for _, outcome in outcomes}

    return call


def test_two_runs_of_one_job_each_get_their_own_results(drive: Callable[..., set[str]]) -> None:
    """Both runs use one scheduler at once; the job id is the same for any output."""
    written: dict[str, set[str]] = {}

    def run(output: str) -> None:
        written[output] = drive(output, n_units=6, takes_s=0.1)

    threads = [threading.Thread(target=run, args=(output,)) for output in ("one", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == {"one": {"one"}, "other": {"other"}}


def test_on_waiting_is_called_while_no_unit_ends(
    drive: Callable[..., set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``on_waiting`` is called at intervals."""
    monkeypatch.setattr(driving, "_PATIENCE_S", 0.01)
    calls: list[None] = []
    drive("out", n_units=1, takes_s=0.8, on_waiting=lambda: calls.append(None))
    assert calls


def test_a_group_of_units_has_no_more_time_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All units of a group that takes longer than one unit may are given up, to be tried alone."""
    restarted: list[str] = []
    workers = SimpleNamespace(holder=lambda _: ("w", True), finished_at={}, restart=restarted.append)
    attempt = driving._Round(workers, None, "key", unit_timeout_s=10, on_waiting=lambda: None)
    group = tuple(SimpleNamespace(output=f"{number}") for number in range(3))
    future = SimpleNamespace(cancel=lambda: None)
    attempt._pending["key"] = driving._PendingGroup(group, future, None, since=time.monotonic() - 5)
    assert not list(attempt._give_up_overdue())
    attempt._pending["key"].since -= 6
    assert [lost.unit for lost in attempt._give_up_overdue()] == list(group)
    assert restarted == ["w"]


def test_fewer_units_than_cores_leave_no_core_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers share all cores; the units of a GPU worker share that worker's cores."""
    monkeypatch.setattr("lvm_batch.jobs.prediction.planning.fleet.usable_cores", lambda: 16)
    assert [Fleet(16).for_units(n_units).threads for n_units in (1, 3, 16, 99)] == [16, 5, 1, 1]
    assert Fleet(2, 8, ("0", "1")).for_units(1).threads == 1


def test_a_unit_whose_file_is_not_in_the_output_is_not_done(
    predict: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its worker reports it: the unit is named, ``_SUCCESS`` is not written, and a rerun computes it."""
    commit = worker._commit

    def losing(job: Any, unit: Any, computed: Any) -> Any:  # noqa: ANN401 - the worker's own
        record = commit(job, unit, computed)
        if unit.output == "a-00001.parquet":
            (tmp_path / "out" / unit.output).unlink()
        return record

    write_windows(tmp_path / "in/a.parquet", windows()[0][:40], row_group_rows=20)
    arguments = (tmp_path / "in", "--output", tmp_path / "out", "--unit-size", "310KiB")
    monkeypatch.setattr(worker, "_commit", losing)
    result = predict(*arguments)
    assert (result.code, result.values["units_done"]) == (1, 1)
    assert [(each["output"], each["kind"]) for each in result.values["failed_units"]] == [
        ("a-00001.parquet", "gone")
    ]
    assert not (tmp_path / "out/_SUCCESS").exists()
    monkeypatch.setattr(worker, "_commit", commit)
    assert predict(*arguments).values["units_computed"] == 1


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler without workers, as a process, and its address."""
    file = tmp_path / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    wait_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"), "the scheduler's address")
    yield process, json.loads(file.read_text())["address"]
    process.kill()
    process.wait()


def test_waiting_ends_with_the_scheduler(
    alone: tuple[subprocess.Popen[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that is stopped or killed raises TryAgain, and no request waits longer than the limit."""
    process, address = alone
    timeouts, workers_of = [], waiting.workers_of

    def watched(client: Client, *, timeout_s: float) -> Any:  # noqa: ANN401 - of the original
        timeouts.append(timeout_s)
        return workers_of(client, timeout_s=timeout_s)

    monkeypatch.setattr(waiting, "workers_of", watched)
    with Client(address, set_as_default=False) as client:
        for signalled in (signal.SIGSTOP, signal.SIGKILL):
            process.send_signal(signalled)
            with pytest.raises(TryAgain):
                await_workers(client, 0.5, where="it", hint="")
    assert max(timeouts) <= 0.5
