"""The driver's cost of a unit: small, and no larger with many units than with few."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from support.many_units import pretend, pretend_all, small_job, write_records

from lvm_batch.io.dataset.files import InputFile
from lvm_batch.io.dataset.units import DatasetFormat, Unit, read_footers
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.storage import store
from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.prediction import run as running
from lvm_batch.jobs.prediction.execution import drive as driving
from lvm_batch.jobs.prediction.execution.grouping import group_units
from lvm_batch.jobs.prediction.planning.plan import job_document, make_plan
from lvm_batch.jobs.reports.report_writer import ReportWriter

if TYPE_CHECKING:
    from lvm_batch.jobs.settings.run import RunSettings

pytestmark = pytest.mark.slow

N_UNITS = 500


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, models: Path) -> RunSettings:
    """A job of many units of one row."""
    return small_job(tmp_path_factory.mktemp("scale"), models / "amn.pt", N_UNITS)


def test_a_planned_unit_takes_little_memory(job: RunSettings) -> None:
    """The driver keeps at most 3 KiB for a unit and its file: 100,000 of them take 300 MB."""
    make_plan(job, threads=1)  # the first call allocates caches
    tracemalloc.start()
    plan = make_plan(job, threads=1)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(plan.units) == N_UNITS
    assert held < 3 * 1024 * N_UNITS


def test_files_of_one_schema_share_it(job: RunSettings) -> None:
    """The schema is kept once, whatever the number of files."""
    footers = make_plan(job, threads=1).footers
    assert (
        len({id(footer.schema) for footer in footers}) == len({id(footer.roles) for footer in footers}) == 1
    )


def test_footers_come_in_the_order_of_their_files(job: RunSettings) -> None:
    """Each file is paired with its own footer, in the order of the files."""
    files = [footer.file for footer in make_plan(job, threads=1).footers]
    assert [file for file, _ in read_footers(files, DatasetFormat())] == files


def test_submissions_are_bounded(job: RunSettings, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster holds at most a few tasks for each of its slots, whatever the number of units."""
    monkeypatch.setattr(driving, "run_units", pretend_all)
    plan = make_plan(job, threads=1)
    with Client(scheduler, set_as_default=False) as client:
        held: list[int] = []
        submit = client.submit

        def counting(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of the client
            future = submit(*arguments, **options)
            held.append(len(client.futures))
            return future

        monkeypatch.setattr(client, "submit", counting)
        outcomes = driving.drive(client, plan.job, plan.units[:300], unit_timeout_s=60)
        ended = [unit.output for unit, _ in outcomes]
        slots = sum(client.nthreads().values())
    assert sorted(ended) == [unit.output for unit in plan.units[:300]]
    assert max(held) <= 4 * slots


def test_a_finished_job_is_seen_to_be_so(job: RunSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rerun of a finished job starts no cluster and reads each record once."""
    plan = make_plan(job, threads=1)
    OutputFolder(job.output).begin(job_document(plan, job))
    write_records(Path(job.output), (pretend(plan.job, unit) for unit in plan.units))
    read: list[str] = []
    original = store.LocalStore.read

    def counting(self: store.LocalStore, name: str) -> bytes | None:
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(store.LocalStore, "read", counting)
    monkeypatch.setattr(running, "backend_of", None)
    outcome = running.run(job, console=Console(json=True), observers=[ReportWriter(tell=pytest.fail)])
    assert (outcome.summary.units_done, outcome.summary.units_computed, outcome.error) == (
        N_UNITS,
        0,
        None,
    )
    records = [name for name in read if "/done/" in name]
    assert len(records) == len(set(records)) == N_UNITS
    assert len(read) < N_UNITS + 10


def unit_of(number: int, n_rows: int) -> Unit:
    """A unit of a file that is never read."""
    file = InputFile(name=f"{number}.parquet", path=f"/{number}.parquet", size=1, modified_ns=1)
    return Unit(file, f"{number}-00000.parquet", 0, 1, 0, n_rows)


@given(st.lists(st.integers(0, 3000), max_size=300), st.integers(1, 16))
def test_small_units_share_a_task_and_no_worker_waits_for_them(rows: list[int], n_slots: int) -> None:
    """Groups hold each unit once, in order, at most a batch of rows unless alone, and suffice for all slots."""
    units = [unit_of(number, n_rows) for number, n_rows in enumerate(rows)]
    groups = list(group_units(units, n_slots))
    assert [unit for group in groups for unit in group] == units
    assert all(len(group) == 1 or sum(unit.n_rows for unit in group) <= 1024 for group in groups)
    assert len(groups) >= min(len(units), 4 * n_slots)
