"""One worker for each GPU: what it sees, how it is set up, and that its rows equal any other worker's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.datasets import assert_same_rows, read_rows, windows, write_windows
from support.waiting import HANG_S

from lvm_batch.jobs.clusters.backend import LocalWorkers
from lvm_batch.jobs.clusters.local import local_cluster
from lvm_batch.jobs.prediction.planning import fleet as fleets
from lvm_batch.jobs.prediction.planning.fleet import Fleet, local_fleet
from lvm_batch.jobs.prediction.planning.memory import MIB, memory_limit
from lvm_batch.jobs.prediction.planning.plan import make_plan
from lvm_batch.jobs.processes.forkserver import METHOD, start_forkserver
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.lvm.devices.facts import DeviceFacts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

TWO = DeviceFacts("cuda", "cuda, 2 x NVIDIA H200, 139 GiB", "", ("3", "GPU-5a1c"))


@pytest.mark.parametrize(
    ("wanted", "device", "fleet"),
    [
        (None, None, Fleet(16)),
        (3, DeviceFacts("cpu", "cpu"), Fleet(3)),
        (None, TWO, Fleet(2, 8, ("3", "GPU-5a1c"))),
        (1, TWO, Fleet(1, 16, ("3",))),
        (8, TWO, Fleet(2, 8, ("3", "GPU-5a1c"))),
        (None, DeviceFacts("mps", "mps"), Fleet(1, 16)),
    ],
)
def test_there_is_a_worker_for_each_gpu(
    wanted: int | None, device: DeviceFacts | None, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers share the machine's cores to read and decode; without a GPU there is one worker for each core."""
    monkeypatch.setattr(fleets, "usable_cores", lambda: 16)
    assert local_fleet(wanted, device) == fleet


def visible() -> tuple[str | None, str | None]:
    """A worker's visible GPUs, and the rest of the environment it has from the driver."""
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("LVM_TEST_KEPT")


def test_each_worker_sees_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs are given by number or UUID; a worker that replaces a dead one sees the same GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a1c")
    monkeypatch.setenv("LVM_TEST_KEPT", "kept")
    start_forkserver()
    with local_cluster(LocalWorkers(2, slots=3, gpus=TWO.gpus, method=METHOD)) as client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert [worker["nthreads"] for worker in workers.values()] == [3, 3]
        seen = client.run(visible)
        assert sorted(seen.values()) == [("3", "kept"), ("GPU-5a1c", "kept")]
        client.restart_workers([next(iter(seen))], timeout=HANG_S)
        client.wait_for_workers(2, timeout=HANG_S)
        assert sorted(client.run(visible).values()) == [("3", "kept"), ("GPU-5a1c", "kept")]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Windows in six units."""
    contexts, targets = (part[:120] for part in windows())
    write_windows(tmp_path / "in/a.parquet", contexts, targets, row_group_rows=20)
    return tmp_path / "in"


def test_a_run_on_gpu_workers_gives_the_same_rows(
    dataset: Path,
    tmp_path: Path,
    models: Path,
    predict: Callable[..., Result],
    lvm_batch: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two workers of two threads, each with its own model, compute the same rows as others."""
    given = ("--unit-size", "310KiB", "--shadow-rate", 1)
    predict(dataset, "--output", tmp_path / "plain", *given).done()
    monkeypatch.setattr(
        "lvm_batch.jobs.prediction.planning.plan.local_fleet", lambda *_: Fleet(2, 2, ("0", "1"))
    )
    result = lvm_batch(
        *("run", dataset, "--output", tmp_path / "out", *given, "--workers", 4, "--memory-limit", "8GiB"),
        *("--model", models / "amn.pt", "--fallback", models / "gru.pt"),
    )
    assert (result.code, result.values["units_done"]) == (0, 6), result.stderr
    assert "workers: 2 instead of 4, one for each GPU" in result.values["notices"]
    assert_same_rows(read_rows(tmp_path / "out"), read_rows(tmp_path / "plain"))


def test_memory_is_projected_for_all_units_of_a_worker(
    dataset: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker of four threads holds four units and stages their rows; its limit is its share of the machine."""
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 32_000 * MIB)
    settings = RunSettings(
        dataset=(str(dataset),), output=str(dataset.parent / "out"), model=str(models / "amn.pt")
    )
    one = make_plan(settings, threads=1).memory
    monkeypatch.setattr(
        "lvm_batch.jobs.prediction.planning.plan.local_fleet", lambda *_: Fleet(2, 4, ("0", "1"))
    )
    plan = make_plan(settings, threads=1)
    four = plan.memory
    assert plan.job.threads == 1
    for part in ("pages", "batch", "block"):
        assert four.parts[part] == pytest.approx(4 * one.parts[part], abs=4)
    assert four.parts["staged for the GPU"] == 4 * 1024 * 6 * 768 * 4
    assert memory_limit(settings, four.n_workers) == 16_000 * MIB
