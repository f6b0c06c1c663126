"""Tests of batch inference: slices, read-only memory, rows that are not finite, and cosines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from lvm_batch.lvm import ArchitectureError, DeviceError, Predictor, build_model, pick_device
from lvm_batch.lvm.devices.devices import set_threads
from lvm_batch.lvm.inference.cosines import row_cosines

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def contexts_of(n_rows: int, dim: int = 24) -> np.ndarray:
    """Contexts of five vectors, float32."""
    return np.random.default_rng(n_rows).standard_normal((n_rows, 5, dim), dtype=np.float32)


def predictor(max_rows: int = 1024) -> Predictor:
    """A small GRU on the CPU."""
    return Predictor(
        build_model("gru", seed=0, input_dim=24, d_model=8, num_layers=2), CPU, max_rows=max_rows
    )


@pytest.mark.parametrize("n_rows", [0, 1, 7, 8, 9, 30])
def test_slices_change_nothing_but_low_bits(n_rows: int) -> None:
    """There is one prediction per context, in order; slices change only low bits."""
    contexts = contexts_of(n_rows)
    predictions = predictor(max_rows=8)(contexts)
    assert predictions.shape == (n_rows, 24)
    assert predictions.dtype == np.float32
    assert np.abs(predictions - predictor()(contexts)).max(initial=0) < 1e-6


def test_the_same_call_gives_the_same_bits() -> None:
    """Repeating a call on one processor gives the same bits, also for each whole slice within a longer call."""
    contexts = contexts_of(24)
    predict = predictor(max_rows=8)
    assert np.array_equal(predict(contexts), predict(contexts))
    assert np.array_equal(predict(contexts)[:16], predict(contexts[:16]))


def test_read_only_memory_is_used_without_a_copy(tmp_path: Path) -> None:
    """Memory maps and Arrow buffers are read-only; they are used without a copy, warning or change."""
    contexts = contexts_of(5)
    np.save(tmp_path / "a.npy", contexts)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    np.testing.assert_allclose(predictor()(mapped), predictor()(contexts), rtol=0, atol=1e-6)
    frozen = np.frombuffer(contexts.tobytes(), dtype=np.float32).reshape(contexts.shape)
    np.testing.assert_allclose(predictor()(frozen), predictor()(contexts), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["amn", "gru"])
def test_a_bad_row_spoils_no_other(name: str) -> None:
    """A row with NaN or infinity gives NaN; the other rows are unchanged."""
    contexts = contexts_of(6)
    predict = Predictor(build_model(name, seed=0, input_dim=24, d_model=8), CPU)
    clean = predict(contexts)
    contexts[1, 2, 3], contexts[4, 0, 0] = np.nan, np.inf
    predictions = predict(contexts)
    assert np.isnan(predictions[[1, 4]]).all()
    np.testing.assert_allclose(predictions[[0, 2, 3, 5]], clean[[0, 2, 3, 5]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5, 23), (3, 24), (3, 5, 24, 1)])
def test_contexts_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    """The error gives both shapes."""
    with pytest.raises(ArchitectureError, match=r"\(n, length, 24\)"):
        predictor()(np.zeros(shape, dtype=np.float32))


def test_inference_leaves_dropout_out() -> None:
    """A model in training mode predicts as in eval mode."""
    model = build_model("lstm", seed=0, input_dim=24, hidden_dim=8).train()
    predict = Predictor(model, CPU)
    assert np.array_equal(predict(contexts_of(4)), predict(contexts_of(4)))


def test_cosines_are_those_of_float64() -> None:
    """Cosines are exact for vectors of any length, huge and tiny ones too."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 9, 768), dtype=np.float32)
    a[3] *= np.float32(1e25)
    b[4] *= np.float32(1e-30)
    expected = [
        np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y)
        for x, y in zip(a.astype(float), b.astype(float), strict=True)
    ]
    assert row_cosines(a, b) == pytest.approx(expected, abs=1e-6)
    assert row_cosines(a, b).dtype == np.float32


def test_a_cosine_without_a_direction_is_nan() -> None:
    """Rows of zeros, NaN or infinity on either side have no cosine."""
    a = np.ones((7, 4), dtype=np.float32)
    b = np.ones((7, 4), dtype=np.float32)
    a[1], b[2], a[3, 0], b[4, 1], a[5, 2] = 0, 0, np.nan, np.inf, -np.inf
    assert np.isnan(row_cosines(a, b)).tolist() == [False, True, True, True, True, True, False]
    assert row_cosines(a[:0], b[:0]).shape == (0,)


def test_a_device_is_available_or_refused() -> None:
    """The CPU is always available; the error for any other missing device lists the available ones."""
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in {"cpu", "cuda", "mps"}
    with pytest.raises(DeviceError, match="no device 'tpu'"):
        pick_device("tpu")


def test_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit request for CUDA never falls back to the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU
    with pytest.raises(DeviceError, match="no cuda device") as caught:
        pick_device("cuda")
    assert "available: cpu" in caught.value.hint


def test_threads_are_set_for_torch() -> None:
    """The number of threads is passed to torch."""
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        set_threads(before)
