"""Runs that die at any step of the commit protocol and are started again."""

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
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.datasets import (
    assert_same_predictions,
    assert_same_rows,
    predictions_of,
    read_rows,
    windows,
    write_windows,
)

import lvm_batch.jobs.prediction.run
from lvm_batch.io import read_predictions
from lvm_batch.io.errors import InputNotFound, NotFinished
from lvm_batch.io.storage.store import LocalStore
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.models.find import find_models
from lvm_batch.jobs.prediction.execution.worker import Failure, run_unit
from lvm_batch.jobs.prediction.telemetry.event_log import EventLog
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import resolve_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.models.facts import FoundModels
    from lvm_batch.jobs.prediction.observers import RunOutcome
    from lvm_batch.jobs.prediction.planning.job import Job

pytestmark = pytest.mark.slow

N_UNITS, UNIT_ROWS = 4, 6
STEPS = ("write", "create", "append", "remove", "publish", "publish_new")
_COMMAND = (
    "import sys\nfrom lvm_batch.jobs.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
)


class Killed(BaseException):
    """The process dies here: nothing after this line runs, and no error handler sees it."""


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
) -> Iterator[tuple[Unit, CommitRecord | Failure]]:
    """Process units in this process, through the real task."""
    for unit in units:
        yield unit, run_unit(job, unit)


def without_a_cluster() -> pytest.MonkeyPatch:
    """Let runs process their units in this process."""
    patch = pytest.MonkeyPatch()
    patch.setattr(lvm_batch.jobs.prediction.run, "_start_cluster", lambda *_, **__: nullcontext())
    patch.setattr(lvm_batch.jobs.prediction.run, "n_slots", lambda _: 1)
    patch.setattr(lvm_batch.jobs.prediction.run, "drive", one_after_the_other)
    patch.setattr("lvm_batch.jobs.prediction.planning.plan.find_models", found_once)
    return patch


def found_once(settings: RunSettings) -> FoundModels:
    """Look at the models once: they stay as they are, and it takes two thirds of such a run."""
    key = (settings.model, settings.fallback)
    if key not in _FOUND:
        _FOUND[key] = find_models(settings)
    return _FOUND[key]


_FOUND: dict[tuple[str | None, str | None], FoundModels] = {}


def run_job(models: Path, dataset: Path, output: Path, **options: str) -> RunOutcome:
    """Run a job in units of ``UNIT_ROWS`` rows, with a log of its events."""
    flags = {"dataset": [str(dataset)], "output": str(output), "unit_size": "92160", "shadow_rate": "0"}
    flags |= {"model": str(models / "amn.pt"), "fallback": str(models / "gru.pt")}
    return lvm_batch.jobs.prediction.run.run(
        resolve_settings(RunSettings, flags | options, {}).settings,
        console=Console(json=True),
        observers=[EventLog()],
    )


class Crashes(RuleBasedStateMachine):
    """Runs of one job that die somewhere; after each, readers see whole files and records are correct."""

    models: Path
    clean: list[dict[str, Any]]

    @initialize()
    def begin(self) -> None:
        """Write the dataset, and replace the cluster."""
        self.folder = Path(tempfile.mkdtemp())
        self.out = self.folder / "out"
        contexts, targets = (part[: N_UNITS * UNIT_ROWS] for part in windows())
        write_windows(self.folder / "in/a.parquet", contexts, targets, row_group_rows=UNIT_ROWS)
        self.records: dict[Path, int] = {}
        self.patch = without_a_cluster()

    def run(self) -> RunOutcome:
        """Run the job."""
        return run_job(self.models, self.folder / "in", self.out)

    @rule(step=st.integers(0, 2 * (4 * N_UNITS + 6)))
    def run_and_die(self, step: int) -> None:
        """Die at a step, if the run gets that far."""
        with dying(step), suppress(Killed):
            self.run()

    @rule()
    def run_to_the_end(self) -> None:
        """An uninterrupted run gives the rows of a clean run."""
        assert self.run().error is None
        assert_same_rows(read_rows(self.out), self.clean)
        assert (self.out / "_SUCCESS").exists()

    @invariant()
    def readers_see_whole_files(self) -> None:
        """Every visible file is a whole unit, and each unit appears at most once."""
        if not hasattr(self, "out"):
            return
        for path in self.out.glob("*.parquet"):
            assert pq.ParquetFile(path).read().num_rows == UNIT_ROWS
        assert len(list(self.out.glob("*.parquet"))) <= N_UNITS

    @invariant()
    def committed_units_are_left_alone(self) -> None:
        """A record is never written a second time, and its file exists."""
        if not hasattr(self, "out"):
            return
        records = {path: path.stat().st_mtime_ns for path in self.out.glob("_lvm_batch/done/*.json")}
        assert {path: records[path] for path in self.records} == self.records
        assert all((self.out / path.name.removesuffix(".json")).exists() for path in records)
        self.records = records

    @invariant()
    def success_means_all(self) -> None:
        """``_SUCCESS`` exists only if all units are committed."""
        if hasattr(self, "out") and (self.out / "_SUCCESS").exists():
            assert len(list(self.out.glob("*.parquet"))) == N_UNITS

    def teardown(self) -> None:
        """Clean up."""
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("n_examples", [8, pytest.param(100, marks=pytest.mark.soak)])
def test_any_crash_and_a_rerun_equal_one_clean_run(models: Path, n_examples: int) -> None:
    """Whatever step a run dies at, and however often, the final rows equal those of a clean run."""
    machine = Crashes()
    Crashes.models = models
    machine.begin()
    machine.run()
    Crashes.clean = read_rows(machine.out)
    machine.teardown()
    Crashes.TestCase.settings = settings(
        max_examples=n_examples, stateful_step_count=8, suppress_health_check=list(HealthCheck)
    )
    Crashes.TestCase().runTest()


# Dying after a step equals dying before the next: the same files exist, and the runs above die at either.
@pytest.mark.parametrize("step", range(0, 2 * (4 * N_UNITS + 6), 2))
def test_dying_at_each_step_costs_nothing(step: int, models: Path) -> None:
    """For each step of the protocol: die there, run again, and compare with a clean run."""
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


NIGHTS = ("2026-11-20", "2026-11-21", "2026-11-22")


class GrowingCrashes(RuleBasedStateMachine):
    """Runs over a dataset that grows and changes; readers see the accepted rows or the current ones, or wait."""

    models: Path
    rows: dict[tuple[str, int], np.ndarray]

    @initialize()
    def begin(self) -> None:
        """Begin with no nights."""
        self.folder = Path(tempfile.mkdtemp())
        self.data, self.out = self.folder / "data", self.folder / "out"
        self.nights: dict[str, int] = {}
        self.requested: dict[str, int] = {}
        self.accepted: dict[str, int] | None = None
        self.replacing = False
        self.patch = without_a_cluster()

    @rule(night=st.sampled_from(NIGHTS))
    def write_night(self, night: str) -> None:
        """Add a night, or rewrite one with other and fewer rows."""
        self.nights[night] = self.nights.get(night, -1) + 1
        if self.nights[night] > 1:
            self.nights[night] = 1
            return
        write_night(self.data, night, self.nights[night])

    def run(self) -> RunOutcome:
        """Predict missing units, and changed ones again."""
        self.requested = dict(self.nights)
        before, stood = self.accepted or {}, self.accepted_at()
        self.replacing = self.replacing or any(self.nights[night] != before[night] for night in before)
        try:
            return run_job(self.models, self.data, self.out, reprocess="failed")
        finally:
            if self.accepted_at() not in {None, stood}:
                self.accepted, self.replacing = self.requested, False

    def accepted_at(self) -> int | None:
        """When the job last succeeded."""
        path = self.out / "_lvm_batch/accepted.json"
        return path.stat().st_mtime_ns if path.exists() else None

    @rule(step=st.integers(0, 50))
    def run_and_die(self, step: int) -> None:
        """Die at a step, if the run gets that far."""
        if self.nights:
            with dying(step), suppress(Killed):
                self.run()

    @rule()
    def run_to_the_end(self) -> None:
        """The final rows equal those of one run over the current dataset."""
        if self.nights:
            assert self.run().error is None
            assert self.accepted == self.nights
            assert self.read() == self.expected(self.nights)

    @invariant()
    def readers_see_one_dataset(self) -> None:
        """Readers never see part of a night or rows of two versions; they wait only while rows are being replaced."""
        if not hasattr(self, "out"):
            return
        try:
            seen = self.read()
        except (NotFinished, InputNotFound):
            assert self.accepted is None or self.replacing
        else:
            assert seen in [self.expected(nights) for nights in (self.accepted, self.requested) if nights]

    def read(self) -> list[tuple[str, int, int]]:
        """The rows that a reader gets, each with its night, version and position."""
        known = [(*night, place) for night, rows in self.rows.items() for place in range(len(rows))]
        predictions = read_predictions(self.out).collect()["prediction"].to_numpy()
        off = np.abs(predictions[:, None] - np.concatenate(list(self.rows.values()))).max(axis=2)
        assert (off.min(axis=1) < 1e-5).all()
        return sorted(known[row] for row in off.argmin(axis=1))

    def expected(self, nights: dict[str, int]) -> list[tuple[str, int, int]]:
        """The rows of a clean run over the nights."""
        return sorted((*night, place) for night in nights.items() for place in range(len(self.rows[night])))

    def teardown(self) -> None:
        """Clean up."""
        if hasattr(self, "patch"):
            self.patch.undo()
            shutil.rmtree(self.folder)


def write_night(data: Path, night: str, version: int) -> None:
    """Write a night of two units, or, in its second version, of one unit."""
    contexts, targets = windows()
    first = 100 * version + 2 * UNIT_ROWS * NIGHTS.index(night)
    rows = slice(first, first + (2 - version) * UNIT_ROWS)
    write_windows(data / f"date={night}/a.parquet", contexts[rows], targets[rows], row_group_rows=UNIT_ROWS)


def test_any_crash_of_a_job_that_grows(models: Path, tmp_path: Path) -> None:
    """Whatever is added, changed or killed, readers see one dataset, and the last run equals one clean run."""
    patch = without_a_cluster()
    GrowingCrashes.models, GrowingCrashes.rows = models, {}
    for night in NIGHTS:
        for version in (0, 1):
            name = f"{night}-{version}"
            write_night(tmp_path / name, night, version)
            run_job(models, tmp_path / name, tmp_path / f"{name}.out")
            GrowingCrashes.rows[night, version] = predictions_of(tmp_path / f"{name}.out")
    patch.undo()
    GrowingCrashes.TestCase.settings = settings(
        max_examples=12, stateful_step_count=10, suppress_health_check=list(HealthCheck)
    )
    GrowingCrashes.TestCase().runTest()


def test_files_published_from_an_older_input_are_not_recorded(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run dies between publishing and recording, and the input shrinks: all rows come from the new input."""
    patch, create = without_a_cluster(), LocalStore.create

    def dies(store: LocalStore, name: str, content: bytes) -> bool:
        if "/done/" in name and name.endswith("-00001.parquet.json"):
            raise Killed
        return create(store, name, content)

    data, out = tmp_path / "data", tmp_path / "out"
    write_night(data, NIGHTS[0], 0)
    with monkeypatch.context() as killing:
        killing.setattr(LocalStore, "create", dies)
        with pytest.raises(Killed):
            run_job(models, data, out)
    (record,) = out.glob("_lvm_batch/done/*.json")
    record.unlink()  # as if both were published and neither recorded
    write_night(data, NIGHTS[0], 1)
    assert run_job(models, data, out).error is None
    run_job(models, data, tmp_path / "clean")
    assert_same_predictions(out, tmp_path / "clean")
    assert len(list(out.rglob("*.parquet"))) == 1
    patch.undo()


@pytest.mark.soak
def test_twenty_kills_of_the_whole_process_group(models: Path, tmp_path: Path) -> None:
    """``kill -9`` of driver and workers at random moments: the rows equal a clean run's, none computed twice."""
    contexts, targets = windows()
    write_windows(tmp_path / "in/a.parquet", contexts[:1800], targets[:1800], row_group_rows=30)
    (tmp_path / "command.py").write_text(_COMMAND)
    arguments = [str(tmp_path / "in"), "--unit-size", "460KiB", "--shadow-rate", "1", "--workers", "1"]
    arguments += ["--model", str(models / "amn.pt"), "--fallback", str(models / "gru.pt")]
    chance, committed, kills = random.Random(20), {}, 0  # noqa: S311 - no secret
    command = [sys.executable, str(tmp_path / "command.py"), "run", *arguments, "--output"]
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
        records = {
            path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("_lvm_batch/done/*.json")
        }
        assert {path: records[path] for path in committed} == committed
        committed = records
    for out in ("out", "clean"):
        subprocess.run([*command, str(tmp_path / out)], check=True, capture_output=True)
    assert_same_predictions(tmp_path / "out", tmp_path / "clean")
    assert {path: path.stat().st_mtime_ns for path in committed} == committed


def wait_until_started(out: Path, process: subprocess.Popen[bytes], n_committed: int) -> None:
    """Wait until the run has committed a new unit, or until it has had a few seconds to start."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(out.glob("_lvm_batch/done/*.json"))) > n_committed:
            return
        time.sleep(0.01)
