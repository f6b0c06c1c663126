"""Tests of predicting on a device beside the CPU: order, overlap, memory, failures and precisions."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_device import Broken, FakeDevice, stand_in_for_cuda

from lvm_batch.lvm import ArchitectureError, DeviceError, Predictor, build_model
from lvm_batch.lvm.devices.cuda import CudaAccelerator
from lvm_batch.lvm.devices.devices import find_device
from lvm_batch.lvm.devices.facts import DeviceFacts
from lvm_batch.lvm.devices.mps import MpsAccelerator
from lvm_batch.lvm.devices.open import open_accelerator
from lvm_batch.lvm.devices.precision import check_precision
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.pipelined import IN_FLIGHT, PipelinedPredictor, bytes_a_row

if TYPE_CHECKING:
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.devices.precision import Precision

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))
DIM = 24
ROW_BYTES = 6 * DIM * 4  # five vectors up, one down


def model() -> ContextModel:
    """A small AMN."""
    return build_model("amn", seed=0, input_dim=DIM, d_model=8, hidden_dim=16)


def contexts_of(n_rows: int, dim: int = DIM) -> np.ndarray:
    """Contexts of five vectors, float32."""
    return np.random.default_rng(n_rows).standard_normal((n_rows, 5, dim), dtype=np.float32)


def check_same(device: FakeDevice, n_rows: int, max_rows: int = 8) -> None:
    """Check that predictions of the device equal those of the CPU, row for row."""
    contexts = contexts_of(n_rows)
    predictions = PipelinedPredictor(model(), device, max_rows=max_rows)(contexts)
    assert predictions.shape == (n_rows, DIM)
    assert predictions.dtype == np.float32
    assert np.abs(predictions - Predictor(model(), CPU)(contexts)).max(initial=0) < 1e-6


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 16, 24, 25, 100])
def test_rows_come_back_in_order(n_rows: int) -> None:
    """There is one prediction per context, in order, however many slices there are."""
    check_same(FakeDevice(), n_rows)


def test_copies_run_while_others_compute() -> None:
    """Ten slices take as long as their computation plus one copy to the device and one back."""
    device = FakeDevice(up_s=0.5, compute_s=1.0, down_s=0.25)
    check_same(device, 80)
    assert device.now == pytest.approx(80 * 1.0 + 8 * (0.5 + 0.25))


def test_a_slow_copy_to_the_device_never_waits() -> None:
    """If the copy to the device takes longest, it alone decides the time."""
    device = FakeDevice(up_s=1.0, compute_s=0.5, down_s=0.25)
    check_same(device, 80)
    assert device.now == pytest.approx(80 * 1.0 + 8 * (0.5 + 0.25))


def test_at_most_the_given_number_of_slices_is_in_flight() -> None:
    """Memory for three slices is enough for any number of slices."""
    device = FakeDevice(capacity=IN_FLIGHT * 8 * ROW_BYTES)
    predict = PipelinedPredictor(model(), device, max_rows=8)
    predict._fitted[5] = 8
    predict(contexts_of(80))
    assert (device.releases, device.used) == (0, 0)


def test_slices_fit_the_memory_that_is_free() -> None:
    """If the model's memory need is known, slices fit the free memory, and grow with it up to a maximum."""
    row_bytes = bytes_a_row(model(), length=5, dim=DIM, device=CPU)
    sizes = []
    for capacity in (100_000, 400_000, 2**30):
        device = FakeDevice(capacity=capacity, held_a_row=row_bytes)
        check_same(device, 600, max_rows=512)
        assert device.releases == 0
        sizes.append(max(device.sizes))
    assert sizes[0] < sizes[1] < sizes[2] == 512


def test_the_memory_of_a_model_is_measured_per_row() -> None:
    """The memory of a row is all its activations, without the weights."""
    row_bytes = bytes_a_row(model(), length=5, dim=DIM, device=CPU)
    assert 4 * (5 * DIM + DIM + 16 + 8 + DIM) < row_bytes < 4 * 60 * DIM


def test_slices_are_halved_where_memory_runs_out() -> None:
    """The same rows are retried in halves, and the next call keeps the smaller size."""
    device = FakeDevice(capacity=20 * ROW_BYTES, held_a_row=ROW_BYTES)
    predict = PipelinedPredictor(model(), device, max_rows=64)
    predict._fitted[5] = 64  # as if another process had used the memory since
    contexts = contexts_of(100)
    expected = Predictor(model(), CPU)(contexts)
    assert np.abs(predict(contexts) - expected).max() < 1e-6
    assert device.sizes[0] == 64
    tries, releases = len(device.sizes), device.releases
    assert releases >= 3
    assert np.abs(predict(contexts) - expected).max() < 1e-6
    assert device.releases == releases
    assert max(device.sizes[tries:]) == predict.rows_at_once(5) < 20


def test_one_row_that_does_not_fit_is_an_error() -> None:
    """If not even one context fits, the error names the device and its free memory."""
    device = FakeDevice(capacity=ROW_BYTES - 1)
    predict = PipelinedPredictor(model(), device)
    with pytest.raises(DeviceError, match="fake, 1 GiB has too little memory for one context") as caught:
        predict(contexts_of(30))
    assert "--device cpu" in caught.value.hint


@settings(max_examples=25)
@given(
    n_rows=st.integers(1, 60),
    max_rows=st.integers(1, 16),
    early=st.sets(st.integers(0, 12), max_size=4),
    late=st.sets(st.integers(0, 12), max_size=4),
)
def test_no_failure_loses_or_moves_a_row(n_rows: int, max_rows: int, early: set[int], late: set[int]) -> None:
    """Running out of memory only costs time; if one row does not fit, it is an error, never a wrong row."""
    ran_out = torch.OutOfMemoryError("now")
    device = FakeDevice(faults=dict.fromkeys(early, ran_out), late_faults=dict.fromkeys(late, ran_out))
    try:
        check_same(device, n_rows, max_rows)
    except DeviceError:
        assert min(device.sizes) == 1
    assert device.used == 0


@pytest.mark.parametrize("where", ["faults", "late_faults"])
def test_a_device_that_fails_is_named(where: str) -> None:
    """If a smaller slice cannot help, the error names the device and is not reported as a bug."""
    device = FakeDevice(**{where: {2: Broken("it fell off the bus")}})
    with pytest.raises(DeviceError, match="fell off the bus"):
        PipelinedPredictor(model(), device, max_rows=4)(contexts_of(30))


def test_a_bug_is_raised_unchanged() -> None:
    """An error that does not come from the device is raised unchanged."""
    device = FakeDevice(faults={0: RuntimeError("shapes differ")})
    with pytest.raises(RuntimeError, match="shapes differ"):
        PipelinedPredictor(model(), device)(contexts_of(3))


def test_contexts_of_another_width_are_refused() -> None:
    """Contexts of the wrong width are refused, as on the CPU."""
    with pytest.raises(ArchitectureError, match=r"\(n, length, 24\)"):
        PipelinedPredictor(model(), FakeDevice())(contexts_of(3, dim=23))


def test_threads_share_a_device() -> None:
    """Each of several threads gets its own rows, even if memory runs out meanwhile."""
    device = FakeDevice(capacity=60 * ROW_BYTES, held_a_row=ROW_BYTES)
    predict = PipelinedPredictor(model(), device, max_rows=16)
    wrong: list[int] = []

    exact = Predictor(model(), CPU)

    def ask(n_rows: int) -> None:
        contexts = contexts_of(n_rows)
        expected = exact(contexts)
        wrong.extend(n_rows for _ in range(5) if np.abs(predict(contexts) - expected).max() >= 1e-6)

    threads = [threading.Thread(target=ask, args=(n_rows,)) for n_rows in (40, 41, 50, 63)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert device.used == 0


@pytest.mark.parametrize("name", ["amn", "amn-mixer", "gru"])
@pytest.mark.parametrize("on", ["cpu", "device"])
def test_sixteen_bits_are_near_float32(name: str, on: str) -> None:
    """bf16 predictions point where the float32 ones do to 1e-3, as float32 of unit norm; the model is unchanged."""
    exact = build_model(name, seed=2)
    contexts = contexts_of(60, dim=768)
    expected = Predictor(exact, CPU)(contexts)
    rounded = (
        Predictor(exact, CPU, precision="bf16")(contexts)
        if on == "cpu"
        else PipelinedPredictor(exact, FakeDevice(), precision="bf16", max_rows=16)(contexts)
    )
    assert rounded.dtype == np.float32
    assert 1e-7 < (1 - row_cosines(rounded, expected)).max() < 1e-3
    np.testing.assert_allclose(np.linalg.norm(rounded, axis=1), 1, atol=1e-6)
    assert np.array_equal(Predictor(exact, CPU)(contexts), expected)


@pytest.mark.parametrize(
    ("precision", "device", "advice"),
    [
        ("tf32", CPU, "--device cuda"),
        ("fp16", CPU, "--device cuda"),
        ("tf32", MPS, "--device cuda"),
        ("bf16", MPS, "--device cpu or cuda"),
        ("int8", CUDA, "--device cpu"),
    ],
)
def test_a_precision_that_a_device_lacks_is_refused(
    precision: str, device: torch.device, advice: str
) -> None:
    """A precision is never replaced by another; the hint says which devices have it."""
    with pytest.raises(DeviceError, match=f"{precision} does not run on {device.type}") as caught:
        check_precision(precision, device)
    assert advice in caught.value.hint


def test_an_old_gpu_is_refused_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 and TF32 need Ampere; fp16 does not."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    for precision in ("bf16", "tf32"):
        with pytest.raises(DeviceError, match=f"Tesla T4 has no {precision}"):
            check_precision(precision, CUDA)
    check_precision("fp16", CUDA)


def test_a_cpu_is_no_accelerator() -> None:
    """The CPU has its own predictors."""
    assert open_accelerator(CPU) is None


def test_an_operation_that_mps_lacks_is_an_error() -> None:
    """The error gives both workarounds; torch applies neither by itself."""
    lacking = NotImplementedError("The operator 'aten::x' is not currently implemented for MPS. If you want")
    explained = MpsAccelerator(CPU).explain(lacking)
    assert explained is not None
    assert "aten::x" in explained.message
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in explained.hint
    assert MpsAccelerator(CPU).explain(RuntimeError("x")) is None


def test_mps_computes_one_slice_after_the_other() -> None:
    """The MPS predictor gives the same rows, tested here on the CPU."""
    contexts = contexts_of(20)
    mps = MpsAccelerator(CPU)
    mps.free_bytes = lambda: 2**30  # type: ignore[method-assign] # Metal is not here
    predictions = PipelinedPredictor(model(), mps, max_rows=6)(contexts)
    assert np.abs(predictions - Predictor(model(), CPU)(contexts)).max() < 1e-6


FLIGHT = [
    "on up",
    "compute waits for up",
    "compute waits for default",
    "used on compute",
    "on compute",
    "down waits for compute",
    "used on down",
    "on down",
    "event on down",
]


def test_streams_wait_for_what_they_need_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are copied up, computed and copied down in turn; the CPU waits at the end, and buffers are reused."""
    log = stand_in_for_cuda(monkeypatch)
    cuda = CudaAccelerator(CPU)
    predict = PipelinedPredictor(model(), cuda, max_rows=8)
    contexts = contexts_of(40)
    assert np.abs(predict(contexts) - Predictor(model(), CPU)(contexts)).max() < 1e-6
    assert [line for line in log if line != "pin"] == (
        FLIGHT * (IN_FLIGHT - 1) + [*FLIGHT, "wait"] * (5 - IN_FLIGHT + 1) + ["wait"] * (IN_FLIGHT - 1)
    )
    assert log.count("pin") == 2 * IN_FLIGHT
    predict(contexts)
    assert log.count("pin") == 2 * IN_FLIGHT
    assert cuda.free_bytes() == 2**30 + 200
    cuda.release()
    predict(contexts[:1])
    assert log.count("pin") == 2 * IN_FLIGHT + 2


@pytest.mark.parametrize(("precision", "kind"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_products_are_rounded_only_where_that_is_asked_for(
    precision: Precision, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recurrent layers obey too, though cuDNN rounds by default; the setting holds while the model is enqueued."""
    stand_in_for_cuda(monkeypatch)
    matmul, rnn = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    seen = []

    def forward(rows: torch.Tensor) -> torch.Tensor:
        seen.append((matmul.fp32_precision, rnn.fp32_precision))
        return rows[:, 0]

    CudaAccelerator(CPU).start(contexts_of(3), forward, precision)
    assert seen == [(kind, kind)]
    assert (matmul.fp32_precision, rnn.fp32_precision) == ("ieee", "ieee")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_rows_of_sixteen_bits_are_rounded_before_they_are_sent(
    precision: Precision, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy to the device is half as large."""
    stand_in_for_cuda(monkeypatch)
    sent = []

    def forward(rows: torch.Tensor) -> torch.Tensor:
        sent.append(rows.dtype)
        return rows[:, 0].float()

    out = np.empty((3, DIM), np.float32)
    CudaAccelerator(CPU).start(contexts_of(3), forward, precision).wait(out)
    assert sent == [dtype]
    np.testing.assert_allclose(out, contexts_of(3)[:, 0], atol=0.02)


def test_cuda_errors_are_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out-of-memory errors of torch and its libraries, device failures and bugs are distinguished."""
    stand_in_for_cuda(monkeypatch)
    cuda = CudaAccelerator(CPU)
    for short in (torch.OutOfMemoryError("x"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")):
        assert cuda.is_out_of_memory(short)
    failed = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with")
    assert not cuda.is_out_of_memory(failed)
    explained = cuda.explain(failed)
    assert explained is not None
    assert explained.message == "cpu failed: CUDA error: an illegal memory access was encountered"
    assert cuda.explain(RuntimeError("shapes")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("precision", "bound"), [("fp32", 1e-5), ("tf32", 1e-3), ("bf16", 0.02), ("fp16", 2e-3)]
)
@pytest.mark.parametrize("name", ["amn", "gru"])
def test_a_gpu_gives_the_rows_of_the_cpu(name: str, precision: Precision, bound: float) -> None:
    """A real GPU gives the CPU's rows in each precision."""
    accelerator = open_accelerator(CUDA)
    assert accelerator is not None
    contexts = contexts_of(3000, dim=768)
    expected = Predictor(build_model(name, seed=2), CPU)(contexts)
    predict = PipelinedPredictor(build_model(name, seed=2), accelerator, precision=precision, max_rows=512)
    assert np.abs(predict(contexts) - expected).max() < bound


class _Properties:
    name, total_memory = "NVIDIA H200", 139 * 2**30


def with_gpus(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None) -> None:
    """Make torch report these GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: _Properties)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


def test_a_cpu_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """For `auto` the reason for the CPU is given; for an explicit CPU it is not."""
    with_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert find_device("auto").text == "cpu (auto: this machine has neither CUDA nor MPS)"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert find_device("auto").text == "cpu (auto: this build of torch has no CUDA, and there is no MPS)"
    assert find_device("cpu").text == "cpu"


@pytest.mark.parametrize(
    ("count", "visible", "gpus"),
    [
        (2, None, ("0", "1")),
        (2, "3,5", ("3", "5")),
        (1, "GPU-5a1c, MIG-77", ("GPU-5a1c",)),
        (1, "2,-1,0", ("2",)),
    ],
)
def test_gpus_follow_cuda_visible_devices(
    monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None, gpus: tuple[str, ...]
) -> None:
    """CUDA_VISIBLE_DEVICES selects by number or UUID, up to the first one that CUDA does not find."""
    with_gpus(monkeypatch, count, visible)
    gpu = find_device("cuda")
    several = "2 x " if count == 2 else ""
    assert gpu == DeviceFacts("cuda", f"cuda, {several}NVIDIA H200, 139 GiB", "", gpus)
