"""Workers answer stored rows before they get work: correct ones pass, others are refused by name."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from distributed import Client, get_worker
from support.datasets import assert_same_rows, read_rows, windows, write_windows
from support.fake_device import Broken, FakeDevice
from support.processors import needs_int8
from support.quick_cluster import quick_cluster
from support.waiting import wait_until

from lvm_batch.jobs.errors import TryAgain
from lvm_batch.jobs.models.self_check import (
    BOUNDS,
    N_ROWS,
    ExpectedAnswers,
    Refusal,
    check_answers,
    expected_answers,
)
from lvm_batch.jobs.prediction.execution import worker
from lvm_batch.jobs.prediction.execution.drive import _PendingGroup, _Round
from lvm_batch.jobs.prediction.execution.workers import Workers
from lvm_batch.lvm import Predictor, Thresholds, build_model
from lvm_batch.lvm.inference.cascade import Cascade
from lvm_batch.lvm.inference.pipelined import PipelinedPredictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.command import Result

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.devices.precision import Precision

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
N_UNITS, UNIT_ROWS = 6, 10


def models_of(dim: int = 768) -> tuple[ContextModel, ContextModel]:
    """Both models with fresh weights."""
    amn = build_model("amn", seed=3, input_dim=dim)
    return amn, build_model("gru", seed=3, input_dim=dim, d_model=64, num_layers=2)


@cache
def stored(dim: int = 768) -> ExpectedAnswers:
    """The models' answers to the stored rows."""
    expected = expected_answers(*models_of(dim), length=5)
    assert expected is not None
    return expected


def cascade_on(*, dim: int = 768, precision: Precision = "fp32", device: FakeDevice | None = None) -> Cascade:
    """Both models on the CPU, or on a fake device."""
    made = [
        Predictor(model, CPU, precision=precision) if device is None else PipelinedPredictor(model, device)
        for model in models_of(dim)
    ]
    return Cascade(*made, None, Thresholds())


def refused(cascade: Cascade, *, dim: int = 768, precision: str = "fp32") -> Refusal | None:
    """The refusal by the check, if any."""
    return check_answers(cascade, stored(dim), bound=BOUNDS[precision], device="fake")


@pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=needs_int8)])
def test_a_sound_device_passes_in_every_precision(precision: Precision) -> None:
    """Fresh weights, which magnify rounding most, stay within half of the bound."""
    result = check_answers(
        cascade_on(precision=precision), stored(), bound=BOUNDS[precision] / 2, device="cpu"
    )
    assert result is None


def test_rows_are_of_the_sample_or_fixed_noise() -> None:
    """The rows are unit vectors, the same at every call, for models of any width."""
    for dim in (768, 24):
        expected = stored(dim)
        vectors = np.frombuffer(expected.vectors, np.float16).astype(np.float32).reshape(-1, dim)
        assert len(vectors) == N_ROWS + 4
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
        assert stored.__wrapped__(dim) == expected
        assert refused(cascade_on(dim=dim), dim=dim) is None


def test_models_that_answer_with_no_numbers_are_left_to_the_output() -> None:
    """Weights that are NaN are no fault of a worker, so workers are not checked."""
    amn, gru = models_of(24)
    with torch.no_grad():
        gru.output_layer.weight.fill_(float("nan"))
    assert expected_answers(amn, None, length=5) is not None
    assert expected_answers(amn, gru, length=5) is None


def tilted(by: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Turn the last answer until 1 - cosine is ``by``."""

    def spoil(answers: torch.Tensor) -> torch.Tensor:
        spoilt = answers.clone()
        aside = torch.nn.functional.normalize(torch.roll(answers[-1], 1), dim=0)
        aside = torch.nn.functional.normalize(aside - (aside @ answers[-1]) * answers[-1], dim=0)
        spoilt[-1] = (1 - by) * answers[-1] + (1 - (1 - by) ** 2) ** 0.5 * aside
        return spoilt

    return spoil


@pytest.mark.parametrize(("by", "is_refused"), [(5e-4, False), (2e-3, True), (1.0, True)])
def test_one_row_off_is_enough(by: float, *, is_refused: bool) -> None:
    """A worker is refused if any of its answers is off by more than 1e-3; the refusal has the figure."""
    result = refused(cascade_on(device=FakeDevice(spoil=tilted(by))))
    assert (result is not None) == is_refused
    if result is not None:
        assert result.off == pytest.approx(by, rel=0.01)
        assert "in cosine, where 0.001 is allowed" in result.why


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(value: float) -> None:
    """The refusal has no figure then, since JSON has no such number."""
    result = refused(cascade_on(device=FakeDevice(spoil=lambda answers: answers * value)))
    assert result is not None
    assert "not finite" in result.why
    assert json.dumps(result.as_dict, allow_nan=False)


def test_a_fallback_that_is_off_is_found_too() -> None:
    """Both models are checked."""
    sound, spoilt = cascade_on(), cascade_on(device=FakeDevice(spoil=tilted(0.5)))
    assert refused(Cascade(sound.primary, spoilt.fallback, None, Thresholds())) is not None
    assert refused(Cascade(sound.primary, None, None, Thresholds())) is None


# Whole runs on the shared cluster: its two workers are threads of this process, so their per-process caches
# are replaced by one for each worker.


_load: Callable[..., Any] = worker._cached_cascade.__wrapped__


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch, scheduler: str) -> Callable[..., list[str]]:
    """Give each worker a device, ``None`` for its CPU; return the workers' addresses."""

    def give(*given: FakeDevice | None) -> list[str]:
        with Client(scheduler, set_as_default=False) as client:
            addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
        by_address = dict(zip(addresses, given, strict=True))
        kept: dict[str, Any] = {}

        def keep(*arguments: Any) -> Any:  # noqa: ANN401 - those of the function
            address = get_worker().address
            if address not in kept:
                kept[address] = _load(*arguments)
            return kept[address]

        monkeypatch.setattr(worker, "_cached_cascade", keep)
        monkeypatch.setattr(
            "lvm_batch.jobs.models.load.open_accelerator", lambda _: by_address[get_worker().address]
        )
        return addresses

    return give


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of a few units."""
    folder = tmp_path_factory.mktemp("dataset") / "in"
    contexts, targets = (part[: N_UNITS * UNIT_ROWS] for part in windows())
    write_windows(folder / "a.parquet", contexts, targets, row_group_rows=UNIT_ROWS)
    return folder


@pytest.fixture
def run_job(predict: Callable[..., Result], dataset: Path, tmp_path: Path) -> Callable[..., Result]:
    """Run over the units, every row through both models."""

    def call(*options: object, output: Path = tmp_path / "out") -> Result:
        unit = ("--unit-size", "160KiB", "--shadow-rate", 1)
        return predict(dataset, "--output", output, *unit, *options)

    return call


@pytest.fixture
def plain(run_job: Callable[..., Result], dataset: Path) -> Path:
    """The output of CPU workers, made once."""
    output = dataset.parent / "plain"
    if not output.exists():
        assert run_job(output=output).done()["units_done"] == N_UNITS
    return output


def check_equal(output: Path, plain: Path) -> None:
    """Check that two outputs hold the same rows, to 1e-5."""
    rows = read_rows(output)
    assert len(rows) == N_UNITS * UNIT_ROWS
    assert_same_rows(rows, read_rows(plain))


def test_a_worker_that_is_off_gets_no_work(
    run_job: Callable[..., Result], plain: Path, devices: Callable[..., list[str]], tmp_path: Path
) -> None:
    """The result names its host, device and figure; the other worker does all units, and the rows are correct."""
    device = FakeDevice(spoil=tilted(0.2))
    bad, _ = devices(device, None)
    result = run_job()
    assert (result.code, result.values["units_done"]) == (0, N_UNITS), result.stderr
    [entry] = result.values["refused_workers"]
    assert (entry["worker"], entry["off"]) == (bad, pytest.approx(0.2, rel=0.01))
    assert f"{bad} ({entry['host']}, cpu) gets no work" in result.stderr
    assert device.sizes == [N_ROWS, N_ROWS]
    events = (tmp_path / "out/_lvm_batch/events.jsonl").read_text().splitlines()
    [event] = [event for event in map(json.loads, events) if event["event"] == "worker_refused"]
    assert event["worker"] == bad
    check_equal(tmp_path / "out", plain)


def test_a_mixed_cluster_shares_one_queue(
    run_job: Callable[..., Result], plain: Path, devices: Callable[..., list[str]], tmp_path: Path
) -> None:
    """CPU and accelerator workers do one job, even if the device's memory runs out in the middle of it."""
    device = FakeDevice(
        faults={3: torch.OutOfMemoryError("now")}, late_faults={6: torch.OutOfMemoryError("later")}
    )
    devices(device, None)
    result = run_job()
    assert (result.code, result.values["refused_workers"]) == (0, [])
    assert device.sizes
    check_equal(tmp_path / "out", plain)


def test_a_device_that_fails_later_loses_its_units_to_others(
    run_job: Callable[..., Result], plain: Path, devices: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A GPU that breaks loses no unit: its worker is refused from then on."""
    bad, _ = devices(FakeDevice(faults={number: Broken("off the bus") for number in range(3, 99)}), None)
    result = run_job()
    assert result.code == 0, result.stderr
    [entry] = result.values["refused_workers"]
    assert (entry["worker"], entry["off"], entry["why"]) == (
        bad,
        None,
        "fake, 1 GiB failed: off the bus",
    )
    check_equal(tmp_path / "out", plain)


def test_without_a_worker_left_the_run_ends_with_75(
    run_job: Callable[..., Result], devices: Callable[..., list[str]]
) -> None:
    """The error counts all, names one with its fault, and the same command works once they are repaired."""
    devices(FakeDevice(spoil=tilted(0.2)), FakeDevice(spoil=tilted(0.3)))
    result = run_job()
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "no worker can be used for this job, 2 were refused: tcp://" in result.values["error"]["message"]
    devices(None, None)
    assert run_job().values["units_computed"] == N_UNITS


def test_a_device_that_no_worker_has_is_an_error(
    run_job: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers' machines count, not the driver's."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = run_job("--device", "cuda")
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "without cuda) gets no work: this machine has no cuda device" in result.values["error"]["message"]
    other = run_job("--precision", "fp16", output=tmp_path / "other")
    assert "fp16 does not run on cpu" in other.values["error"]["message"]


def test_workers_report_that_they_lack_int8(
    run_job: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If workers are elsewhere, the driver's own processor does not matter."""
    monkeypatch.setattr("lvm_batch.lvm.kernels.int8_linear._products_are_exact", lambda: False)
    result = run_job("--precision", "int8")
    assert (result.code, result.values["error"]["kind"]) == (75, "try_again")
    assert "gets no work: int8 does not run on this processor" in result.values["error"]["message"]


def test_a_worker_that_joins_later_is_checked_too(
    run_job: Callable[..., Result], plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers the stored rows before its first unit, like the workers that were there at the start."""
    with quick_cluster(1) as cluster:
        [first] = cluster.scheduler_info["workers"]

        def kept(*arguments: Any) -> Any:  # noqa: ANN401 - those of the function
            loaded = _load(*arguments)
            if get_worker().address == first and len(cluster.worker_spec) == 1:
                cluster.scale(2)
                wait_until(lambda: len(cluster.scheduler_info["workers"]) == 2, "a second worker")
            return loaded

        def device(_: torch.device) -> FakeDevice | None:
            return None if get_worker().address == first else FakeDevice(spoil=tilted(0.2))

        monkeypatch.setattr(worker, "_cached_cascade", kept)
        monkeypatch.setattr("lvm_batch.jobs.models.load.open_accelerator", device)
        result = run_job("--scheduler", cluster.scheduler_address)
        [entry] = result.values["refused_workers"]
        assert entry["worker"] in set(cluster.scheduler_info["workers"]) - {first}
    assert (result.code, result.values["units_done"]) == (0, N_UNITS)
    check_equal(tmp_path / "out", plain)


class _Flying:
    """A task that was submitted."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_tasks_do_not_wait_for_workers_that_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal tasks name the workers that are allowed; once all of those leave, they are submitted again."""
    refusals: list[Refusal] = []
    workers = Workers(None, refusals.append)  # type: ignore[arg-type] # the client is not used
    present = {"a": {"nthreads": 1}, "b": {"nthreads": 2}}
    monkeypatch.setattr(workers, "_ask_scheduler", lambda: present)
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.workers.worker_memory", lambda _: "")
    assert (workers.n_slots, workers.allowed) == (3, None)
    workers.refuse(Refusal("it is off", "cpu", worker="a"))
    workers.refuse(Refusal("it is off", "cpu", worker="a"))
    assert (workers.n_slots, workers.allowed, len(refusals)) == (2, {"b"}, 1)
    attempt = _Round(workers, None, "key", unit_timeout_s=1, on_waiting=lambda: None)  # type: ignore[arg-type] # nothing is submitted
    task = _Flying()
    attempt._pending["key"] = _PendingGroup(("unit",), task, workers.allowed)  # type: ignore[arg-type]
    attempt._resubmit_stranded()
    assert not task.cancelled
    present.pop("b")
    present["c"] = {"nthreads": 4}
    workers.look(now=True)
    attempt._resubmit_stranded()
    assert task.cancelled
    assert (list(attempt._waiting), attempt._pending) == ([("unit",)], {})
    present.pop("c")
    with pytest.raises(TryAgain, match="it is off"):
        workers.look(now=True)
