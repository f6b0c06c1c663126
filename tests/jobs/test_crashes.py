"""A run that dies at any step of the commit protocol, and is started again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import predictions_of, read_rows, windows, write_windows
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import lvm_batch.jobs.prediction.run
from lvm_batch.io.store import LocalStore
from lvm_batch.jobs.console import Console
from lvm_batch.jobs.prediction.worker import Failure, run_unit
from lvm_batch.jobs.resolution import resolve_settings
from lvm_batch.jobs.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lvm_batch.io.commit import Record
    from lvm_batch.io.units import Unit
    from lvm_batch.jobs.prediction.job import Job

N_UNITS, UNIT_ROWS = 4, 6
STEPS = ("write", "create", "append", "remove", "publish")
_COMMAND = (
    "import sys\nfrom lvm_batch.jobs.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
)


class Killed(BaseException):
    """The process dies here: nothing after this line runs, and no handler of errors sees it."""


@contextmanager
def dying(at_step: int) -> Iterator[None]:
    """Die before (even) or after (odd) the given step that touches the output folder."""
    patch = pytest.MonkeyPatch()
    left = at_step

    def dies(step: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            result = step(*arguments)
            if left == 1:
                raise Killed
            left -= 2
            return result

        return stepped

    for name in STEPS:
        patch.setattr(LocalStore, name, dies(getattr(LocalStore, name)))
    try:
        yield
    finally:
        patch.undo()


def one_after_the_other(
    _: object, job: Job, units: Iterable[Unit], **__: object
) -> Iterator[tuple[Unit, Record | Failure]]:
    """Drive units in this process, through the real task."""
    for unit in units:
        yield unit, run_unit(job, unit)


class Crashes(RuleBasedStateMachine):
    """Runs of one job that die somewhere; after each, readers see whole files and records tell the truth."""

    models: Path
    clean: np.ndarray

    @initialize()
    def begin(self) -> None:
        """Write the dataset, and drive without a cluster."""
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "out"
        contexts, targets = (part[: N_UNITS * UNIT_ROWS] for part in windows())
        write_windows(self.folder / "in/a.parquet", contexts, targets, row_group_rows=UNIT_ROWS)
        self.records: dict[Path, int] = {}
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(lvm_batch.jobs.prediction.run, "_cluster", lambda *_: nullcontext())
        self.patch.setattr(lvm_batch.jobs.prediction.run, "n_slots", lambda _: 1)
        self.patch.setattr(lvm_batch.jobs.prediction.run, "drive", one_after_the_other)

    def run(self) -> lvm_batch.jobs.prediction.run.Outcome:
        """Run the job."""
        flags = {"dataset": [str(self.folder / "in")], "output": str(self.out), "unit_size": "92160"}
        flags |= {
            "model": str(self.models / "amn.pt"),
            "fallback": str(self.models / "gru.pt"),
            "shadow_rate": "0",
        }
        return lvm_batch.jobs.prediction.run.run(
            resolve_settings(RunSettings, flags, {}).settings, console=Console(json=True)
        )

    @rule(step=st.integers(0, 2 * (4 * N_UNITS + 6)))
    def run_and_die(self, step: int) -> None:
        """Die at some step, if the run gets that far."""
        with dying(step), suppress(Killed):
            self.run()

    @rule()
    def run_to_the_end(self) -> None:
        """A run that nothing stops gives what a clean run gives."""
        assert self.run().error is None
        np.testing.assert_array_equal(predictions_of(self.out), self.clean)
        assert (self.out / "_SUCCESS").exists()

    @invariant()
    def readers_see_whole_files(self) -> None:
        """Every visible file is a whole unit, and each unit is there at most once."""
        if not hasattr(self, "out"):
            return
        for path in self.out.glob("*.parquet"):
            assert pq.ParquetFile(path).read().num_rows == UNIT_ROWS
        assert len(list(self.out.glob("*.parquet"))) <= N_UNITS

    @invariant()
    def committed_units_are_left_alone(self) -> None:
        """A record that was written is never written again, and its file is there."""
        if not hasattr(self, "out"):
            return
        found = {path: path.stat().st_mtime_ns for path in self.out.glob("_lvm_batch/done/*.json")}
        assert {path: found[path] for path in self.records} == self.records
        assert all((self.out / path.name.removesuffix(".json")).exists() for path in found)
        self.records = found

    @invariant()
    def success_means_all(self) -> None:
        """``_SUCCESS`` stands only over all units."""
        if hasattr(self, "out") and (self.out / "_SUCCESS").exists():
            assert len(list(self.out.glob("*.parquet"))) == N_UNITS

    def teardown(self) -> None:
        """Clean up."""
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.folder)


def test_any_crash_and_a_rerun_equal_one_clean_run(models: Path) -> None:
    """Whatever step a run dies at, and however often, the rows in the end are those of a clean run."""
    machine = Crashes()
    Crashes.models = models
    machine.begin()
    machine.run()
    Crashes.clean = predictions_of(machine.out)
    machine.teardown()
    Crashes.TestCase.settings = settings(
        max_examples=25, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Crashes.TestCase().runTest()


@pytest.mark.parametrize("step", range(2 * (4 * N_UNITS + 6)))
def test_dying_at_each_step_costs_nothing(step: int, models: Path) -> None:
    """Step by step through the protocol: die there, run again, and compare with a clean run."""
    machine = Crashes()
    Crashes.models = models
    machine.begin()
    machine.run_and_die(step)
    machine.readers_see_whole_files()
    machine.committed_units_are_left_alone()
    machine.success_means_all()
    assert machine.run().error is None
    machine.committed_units_are_left_alone()
    assert len(read_rows(machine.out)) == N_UNITS * UNIT_ROWS
    machine.teardown()


@pytest.mark.soak
def test_twenty_kills_of_the_whole_process_group(models: Path, tmp_path: Path) -> None:
    """``kill -9`` of driver and workers at random moments: the rows are those of one clean run, none computed twice."""
    contexts, targets = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:1800], targets[:1800], row_group_rows=30)
    (tmp_path / "command.py").write_text(_COMMAND)
    ask = [str(tmp_path / "in"), "--unit-size", "460KiB", "--shadow-rate", "1", "--workers", "1"]
    ask += ["--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt")]
    chance, committed, kills = random.Random(20), {}, 0  # noqa: S311 - no secret
    command = [sys.executable, str(tmp_path / "command.py"), "run", *ask, "--output"]
    while kills < 20:
        process = subprocess.Popen(
            [*command, str(tmp_path / "out")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until_started(tmp_path / "out", process, len(committed))
        time.sleep(chance.uniform(0, 0.25))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        found = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("_lvm_batch/done/*.json")}
        assert {path: found[path] for path in committed} == committed
        committed = found
    for out in ("out", "clean"):
        subprocess.run([*command, str(tmp_path / out)], check=True, capture_output=True)
    np.testing.assert_allclose(
        predictions_of(tmp_path / "out"), predictions_of(tmp_path / "clean"), atol=1e-5
    )
    assert {path: path.stat().st_mtime_ns for path in committed} == committed


def wait_until_started(out: Path, process: subprocess.Popen[bytes], n_committed: int) -> None:
    """Wait until the run has committed something new, or some seconds in which it starts."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(out.glob("_lvm_batch/done/*.json"))) > n_committed:
            return
        time.sleep(0.01)
