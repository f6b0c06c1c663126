"""Tests of the packed forms that replace trained models on a CPU: they give the same numbers faster."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from lvm_batch.lvm import build_model
from lvm_batch.lvm.devices import onednn
from lvm_batch.lvm.kernels.forms import build_form
from lvm_batch.lvm.kernels.packed_linear import PackedLinear

CPU = torch.device("cpu")
MODELS = ["amn", "gru"]
"""Those that have a form of their own for a CPU; the others run as they are."""


@pytest.fixture(params=["oneDNN", "without it"])
def _onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with and without oneDNN, as torch may be built."""
    if request.param == "without it":
        monkeypatch.setattr(onednn, "packs", lambda _: False)


@pytest.mark.usefixtures("_onednn")
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_layer_computes_what_the_layer_does(activation: str, *, bias: bool) -> None:
    """A packed layer equals the layer for any number of rows, with an activation and without a bias."""
    layer = nn.Linear(48, 40, bias=bias)
    packed_layer = PackedLinear.of(layer, activation=activation)
    for n_rows in (0, 1, 256, 300):
        rows = torch.randn(n_rows, 48)
        expected = nn.functional.gelu(layer(rows)) if activation == "gelu" else layer(rows)
        torch.testing.assert_close(packed_layer(rows), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("_onednn")
@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_packed_model_predicts_what_the_model_does(name: str) -> None:
    """Predictions agree within 1e-6 for any context length, for one row and many; the contexts are not changed."""
    model = build_model(name, seed=1).eval()
    packed_model = build_form(model, CPU, "fp32")
    for n_rows, length in product((1, 33), (1, 5, 9)):
        contexts = torch.randn(n_rows, length, 768)
        before = contexts.clone()
        torch.testing.assert_close(packed_model(contexts), model(contexts), atol=1e-6, rtol=0)
        assert torch.equal(contexts, before)


@pytest.mark.parametrize("name", ["amn-mixer", "lstm", "transformer"])
def test_a_model_without_a_packed_form_runs_as_it_is(name: str) -> None:
    """Such a model has no packed form to compare with."""
    model = build_model(name, seed=1)
    assert build_form(model, CPU, "fp32") is model


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_a_row_that_is_not_finite_spoils_no_other(name: str) -> None:
    """NaN stays in its own row."""
    packed_model = build_form(build_model(name, seed=1), CPU, "fp32")
    contexts = torch.randn(40, 5, 768)
    expected = packed_model(contexts)
    contexts[7, 2, 3] = torch.nan
    predicted = packed_model(contexts)
    assert predicted[7].isnan().all()
    predicted[7] = expected[7]
    torch.testing.assert_close(predicted, expected, atol=1e-6, rtol=0)
