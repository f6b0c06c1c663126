"""The process that workers are forked from: started once, and optional."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from multiprocessing import spawn
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType

import pytest
from support.processes import descendants, is_alive

from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.processes import forkserver
from lvm_batch.jobs.processes.forkserver import in_forked_process

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _server() -> None:
    """A running server."""
    forkserver.start_forkserver()


def where() -> tuple[int, str, str | None]:
    """Return this process's id, folder and environment."""
    return os.getpid(), str(Path.cwd()), os.environ.get("LVM_BATCH_TEST")


def refuse(message: str) -> None:
    """Raise a user error."""
    raise UsageError(message, "do better")


def die_elsewhere(driver: int) -> int:
    """End the process, unless it is the driver."""
    if os.getpid() != driver:
        os.kill(os.getpid(), signal.SIGKILL)
    return driver


@pytest.mark.skipif(forkserver.METHOD != "forkserver", reason="workers start on their own here")
def test_a_copy_has_the_drivers_folder_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another process with the driver's current folder and environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LVM_BATCH_TEST", "here")
    pid, folder, value = in_forked_process(where)
    assert pid != os.getpid()
    assert (folder, value) == (str(tmp_path), "here")


def main_of(name: str) -> bool:
    """Whether a process of that name would import the main module."""
    forkserver.keep_main_out()  # a second time changes nothing
    return any(key.startswith("init_main") for key in spawn.get_preparation_data(name))


def test_workers_do_not_import_the_main_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither copies of the server nor Dask's workers, be it a script or a module; a caller's own processes do."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    for spec, path in ((None, str(tmp_path / "script.py")), (ModuleSpec("program", None), None)):
        main.__spec__, main.__file__ = spec, path
        names = ("lvm-batch", "Dask Worker process (from Nanny)", "Process-1")
        assert [main_of(name) for name in names] == [False, False, True]


def test_errors_come_back_as_they_were() -> None:
    """An error in the copy is raised here, with its message and its hint."""
    with pytest.raises(UsageError) as error:
        in_forked_process(refuse, "no such thing")
    assert error.value.args == ("no such thing", "do better")


def test_without_a_server_the_call_runs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server the call runs in this process, with the same result."""
    monkeypatch.setattr(forkserver, "_servers", set())
    assert in_forked_process(where)[0] == os.getpid()


def test_a_copy_that_dies_costs_nothing() -> None:
    """If the copy is killed, the driver makes the call itself."""
    assert in_forked_process(die_elsewhere, os.getpid()) == os.getpid()


@pytest.mark.skipif(forkserver.METHOD != "forkserver", reason="workers start on their own here")
def test_a_server_that_is_stopped_is_gone_and_another_starts() -> None:
    """The command stops its server at its end; a program may go on and start another run."""
    pid = multiprocessing.forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    forkserver.stop_forkserver()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # else it could seem to run still
    assert in_forked_process(where)[0] == os.getpid()
    forkserver.start_forkserver_early()
    assert in_forked_process(where)[0] != os.getpid()


_CTRL_C = """
import multiprocessing.forkserver, os, signal
from lvm_batch.jobs.processes import forkserver
forkserver.start_forkserver()
os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGINT)
print(forkserver.in_forked_process(os.getpid) != os.getpid())
"""


@pytest.mark.skipif(forkserver.METHOD != "forkserver", reason="workers start on their own here")
def test_ctrl_c_does_not_interrupt_a_server_that_imports() -> None:
    """A terminal sends it to the server as well, which prints no trace and goes on: the driver decides what ends."""
    done = subprocess.run([sys.executable, "-c", _CTRL_C], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


_DRIVER = """
import sys, time
from lvm_batch.jobs.processes import forkserver
if __name__ == "__main__":
    forkserver.start_forkserver()
    forkserver.in_forked_process(print, "at work", flush=True)
    forkserver.in_forked_process(time.sleep, 3600)
"""


@pytest.mark.skipif(forkserver.METHOD != "forkserver", reason="workers start on their own here")
def test_no_process_outlives_a_killed_driver(tmp_path: Path) -> None:
    """A copy ends with its driver, idle or busy, and the server ends after its last copy."""
    (tmp_path / "driver.py").write_text(_DRIVER)
    command = [sys.executable, str(tmp_path / "driver.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"at work\n"
        below = descendants(driver.pid)
        driver.kill()
    assert below
    until = monotonic() + 120
    while any(map(is_alive, below)):
        assert monotonic() < until
        sleep(0.05)
