"""A model that was trained on unit vectors makes such of whatever it reads, in every form and on every device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.fake_device import FakeDevice

from lvm_batch.lvm import Predictor, build_model, load_checkpoint, save_checkpoint
from lvm_batch.lvm.inference.cosines import row_cosines
from lvm_batch.lvm.inference.pipelined import PipelinedPredictor

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.lvm.architectures.context_model import ContextModel

CPU = torch.device("cpu")
DIM = 24


def model(name: str, *, unit_inputs: bool) -> ContextModel:
    """A small model of an architecture."""
    built = build_model(name, seed=0, input_dim=DIM, **({"output_dim": DIM} if name == "amn-mixer" else {}))
    built.unit_inputs = unit_inputs
    return built


def contexts_of(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Contexts of vectors whose norms differ, from 1e-3 to 1e3, and the same as unit vectors."""
    rng = np.random.default_rng(n_rows)
    contexts = rng.standard_normal((n_rows, 5, DIM), dtype=np.float32)
    unit = contexts / np.linalg.norm(contexts, axis=2, keepdims=True)
    norms = 10.0 ** rng.integers(-3, 4, (n_rows, 5, 1))
    return (unit * norms).astype(np.float32), unit


@pytest.mark.parametrize("n_rows", [1, 20])
@pytest.mark.parametrize("name", ["amn", "gru", "amn-mixer"])
def test_vectors_of_any_norm_are_read_as_unit_vectors(name: str, n_rows: int) -> None:
    """As published and as a run computes it, the model predicts what it does of the unit vectors."""
    contexts, unit = contexts_of(n_rows)
    expected = Predictor(model(name, unit_inputs=False), CPU)(unit)
    normalising = model(name, unit_inputs=True)
    np.testing.assert_allclose(Predictor(normalising, CPU)(contexts), expected, atol=1e-5)
    with torch.inference_mode():
        np.testing.assert_allclose(normalising(torch.from_numpy(contexts)), expected, atol=1e-5)
    assert np.abs(Predictor(model(name, unit_inputs=False), CPU)(contexts) - expected).max() > 1e-3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_device_gets_the_vectors_before_they_are_rounded(precision: str) -> None:
    """Small vectors are sent in float32, as float16 would round them to nothing, and normalised there."""
    contexts, unit = contexts_of(20)
    expected = Predictor(model("amn", unit_inputs=False), CPU)(unit)
    device = FakeDevice()
    predict = PipelinedPredictor(model("amn", unit_inputs=True), device, precision=precision)  # type: ignore[arg-type]
    assert (1 - row_cosines(predict(contexts), expected)).max() < 1e-3
    assert device.precisions == {"fp32"}


def test_bad_vectors_are_answered_as_before() -> None:
    """Zeros stay zeros; NaN, infinity and a norm beyond float32 give NaN, in their own row alone."""
    contexts, unit = contexts_of(5)
    contexts[1, 2], unit[1, 2] = 0, 0
    contexts[2, 0, 3], contexts[3, 1, 4], contexts[4, 4] = np.nan, np.inf, 3e38
    answers = Predictor(model("amn", unit_inputs=True), CPU)(contexts)
    expected = Predictor(model("amn", unit_inputs=False), CPU)(unit)
    np.testing.assert_allclose(answers[:2], expected[:2], atol=1e-5)
    assert np.isnan(answers[2:]).any(axis=1).all()


@pytest.mark.parametrize("unit_inputs", [True, False])
def test_a_checkpoint_carries_the_norm(tmp_path: Path, *, unit_inputs: bool) -> None:
    """What is saved is loaded; a model that reads vectors as they are is saved as ever."""
    path = tmp_path / "amn.pt"
    saved = model("amn", unit_inputs=unit_inputs)
    save_checkpoint(path, saved, architecture="amn", epoch=1, val_loss=None, val_cosine=None)
    assert load_checkpoint(path.read_bytes(), "amn").model.unit_inputs == unit_inputs
    config = torch.load(path, weights_only=True)["model_config"]
    assert config == saved.config | ({"input_norm": "unit"} if unit_inputs else {})
