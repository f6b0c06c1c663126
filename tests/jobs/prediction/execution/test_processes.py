"""Units are computed by processes of this machine without Dask, and tried again when these die."""

from __future__ import annotations

import os
import threading
from multiprocessing import Pipe
from typing import TYPE_CHECKING, Any

import pytest
from support import scripted_process
from support.documents import record_of
from support.processes import is_alive
from support.scripted_process import Script, Unit
from support.waiting import HANG_S, wait_until

from lvm_batch.io.output.commit_record import CommitRecord
from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.prediction.execution import compute_threads, processes
from lvm_batch.jobs.prediction.execution.processes import drive_processes
from lvm_batch.jobs.prediction.execution.worker import Failure
from lvm_batch.jobs.prediction.planning.fleet import Fleet
from lvm_batch.jobs.processes.forkserver import start_forkserver

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.jobs.models.self_check import Refusal

pytestmark = pytest.mark.slow

UNITS = [Unit(f"{letter}.parquet") for letter in "abcdefgh"]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes that follow a script."""
    start_forkserver()
    monkeypatch.setattr(processes, "_work", scripted_process.work)


def driven(
    folder: Path,
    tries: dict[str, tuple[str, ...]],
    fleet: Fleet | None = None,
    **options: Any,  # noqa: ANN401 - those of the driver
) -> tuple[Script, dict[str, CommitRecord | Failure]]:
    """Drive all units by a script; return what became of each, which is told once."""
    script = Script(str(folder), {f"{unit}.parquet": behaviours for unit, behaviours in tries.items()})
    told = [
        (unit.output, outcome)
        for unit, outcome in drive_processes(
            script, UNITS, fleet or Fleet(2), **{"unit_timeout_s": HANG_S, **options}
        )
    ]
    assert sorted(output for output, _ in told) == [unit.output for unit in UNITS]
    return script, dict(told)


def test_every_unit_is_computed_once_by_the_processes_of_the_fleet(tmp_path: Path) -> None:
    """The processes end with the last unit."""
    script, outcomes = driven(tmp_path, {})
    pids = [script.pids(unit.output) for unit in UNITS]
    assert all(len(tried) == 1 for tried in pids)
    assert 1 <= len({pid for tried in pids for pid in tried}) <= 2
    assert all(isinstance(outcome, CommitRecord) for outcome in outcomes.values())
    wait_until(lambda: not any(is_alive(pid) for tried in pids for pid in tried), "the processes end")


def test_no_units_start_no_process(tmp_path: Path) -> None:
    """There is nothing to wait for."""
    assert list(drive_processes(Script(str(tmp_path), {}), [], Fleet(2), unit_timeout_s=1)) == []


def test_a_unit_that_is_lost_with_its_process_is_tried_again_alone(tmp_path: Path) -> None:
    """A new process has nothing else to do; the units that the dead one held are not given up either."""
    script, outcomes = driven(tmp_path, {"c": ("die",)})
    assert all(isinstance(outcome, CommitRecord) for outcome in outcomes.values())
    first, second = script.pids("c.parquet")
    assert first != second
    others = {pid for unit in UNITS if unit.output != "c.parquet" for pid in script.pids(unit.output)}
    assert second not in others


@pytest.mark.parametrize("fleet", [Fleet(1), Fleet(2), Fleet(1, slots=3)])
def test_a_unit_that_kills_every_process_is_given_up(tmp_path: Path, fleet: Fleet) -> None:
    """It is named as lost, with what became of its process; all others are computed."""
    _, outcomes = driven(tmp_path, {"a": ("die",) * 3, "h": ("die",) * 3}, fleet)
    for name in ("a.parquet", "h.parquet"):
        failure = outcomes.pop(name)
        assert isinstance(failure, Failure)
        assert (failure.kind, failure.output) == ("worker_lost", name)
        assert (
            failure.message
            == f"{name}: tried 3 times, the last time alone; its process ended with exit code 9"
        )
        assert "memory" in failure.hint
    assert all(isinstance(outcome, CommitRecord) for outcome in outcomes.values())


def test_what_a_process_said_before_it_died_counts(tmp_path: Path) -> None:
    """Its unit is not tried again, unless the driver has seen its end first."""
    _, outcomes = driven(tmp_path, {"b": ("answer and die",)})
    assert isinstance(outcomes["b.parquet"], CommitRecord)


def test_a_unit_that_hangs_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    """Its process is ended, and the time limit is named."""
    _, outcomes = driven(tmp_path, {"b": ("hang",) * 3, "e": ("hang",)}, unit_timeout_s=0.5)
    failure = outcomes.pop("b.parquet")
    assert isinstance(failure, Failure)
    assert failure.kind == "unit_timeout"
    assert "it ran longer than 0.5 s" in failure.message
    assert "--unit-timeout" in failure.hint
    assert isinstance(outcomes["e.parquet"], CommitRecord)


def test_a_process_that_fails_its_self_check_gets_no_more_units(tmp_path: Path) -> None:
    """The others do its work, and it is named once."""
    refused: list[Refusal] = []
    script = Script(str(tmp_path), {}, bad_gpus=("0",))
    fleet = Fleet(2, gpus=("0", "1"))
    outcomes = list(drive_processes(script, UNITS, fleet, unit_timeout_s=HANG_S, on_refused=refused.append))
    assert {unit.output for unit, _ in outcomes} == {unit.output for unit in UNITS}
    assert [refusal.worker for refusal in refused] == ["w0"]


def test_without_a_process_that_may_work_the_part_ends(tmp_path: Path) -> None:
    """The error says what is wrong with the machine, and that another may do."""
    tries = {unit.output: ("refuse",) * 9 for unit in UNITS}
    outcomes = drive_processes(Script(str(tmp_path), tries), UNITS, Fleet(2), unit_timeout_s=HANG_S)
    with pytest.raises(
        TryAgain, match=r"no process of this machine may work on this job: .*it is off"
    ) as caught:
        list(outcomes)
    assert "another machine" in caught.value.args[1]


def test_the_wait_is_told_while_no_unit_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time is shown."""
    monkeypatch.setattr(processes, "_PATIENCE_S", 0.01)
    calls: list[None] = []
    driven(tmp_path, {"a": ("hang",)}, unit_timeout_s=0.5, on_waiting=lambda: calls.append(None))
    assert calls


@pytest.mark.parametrize("slots", [1, 3])
def test_a_process_commits_beside_computing(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    """While all of its units wait for their commit, it begins as many others; each answer names its unit.

    It sees no other GPU than its own.
    """
    monkeypatch.undo()
    monkeypatch.setattr(compute_threads, "_here", compute_threads._here)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    at_work, go_on = threading.Semaphore(0), threading.Event()

    def run_unit(_: object, unit: Unit) -> CommitRecord:
        at_work.release()
        go_on.wait(HANG_S)
        return record_of(output=unit.output)

    monkeypatch.setattr(processes, "run_unit", run_unit)
    ours, theirs = Pipe()
    working = threading.Thread(target=processes._work, args=(None, slots, "1", theirs))
    working.start()
    for unit in UNITS:
        ours.send(unit)
    for _ in range(2 * slots):
        assert at_work.acquire(timeout=HANG_S)
    assert (compute_threads.worker_slots(), compute_threads.worker_address().count(":")) == (slots, 1)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    go_on.set()
    answers = dict(ours.recv() for _ in UNITS)
    assert {output: record.output for output, record in answers.items()} == {
        unit.output: unit.output for unit in UNITS
    }
    ours.close()
    working.join(HANG_S)
    assert not working.is_alive()
