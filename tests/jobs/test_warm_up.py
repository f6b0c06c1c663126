"""The process that workers are copies of: started once, and never needed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.prediction import warm_up
from lvm_batch.jobs.prediction.warm_up import in_warm_process


@pytest.fixture(autouse=True)
def _server() -> None:
    """A server that runs."""
    warm_up.warm_up()


def where() -> tuple[int, str, str | None]:
    """Say which process this is, and what surrounds it."""
    return os.getpid(), str(Path.cwd()), os.environ.get("LVM_BATCH_TEST")


def refuse(message: str) -> None:
    """Raise an error of a user's making."""
    raise UsageError(message, "do better")


def die_elsewhere(driver: int) -> int:
    """End the process, unless it is the driver."""
    if os.getpid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)
    return driver


@pytest.mark.skipif(warm_up.METHOD != "forkserver", reason="workers start on their own here")
def test_a_copy_is_where_the_driver_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, with the driver's folder and environment as they are now."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LVM_BATCH_TEST", "here")
    pid, folder, value = in_warm_process(where)
    assert pid != os.getpid()
    assert (folder, value) == (str(tmp_path), "here")


def test_errors_come_back_as_they_were() -> None:
    """What is raised there is raised here, with its message and its hint."""
    with pytest.raises(UsageError) as error:
        in_warm_process(refuse, "no such thing")
    assert error.value.args == ("no such thing", "do better")


def test_without_a_server_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan, or another system, does the same in its own process."""
    monkeypatch.setattr(warm_up, "_servers", set())
    assert in_warm_process(where)[0] == os.getpid()


def test_a_copy_that_dies_costs_nothing() -> None:
    """Where the copy is killed, the driver does it."""
    assert in_warm_process(die_elsewhere, os.getpid()) == os.getpid()
