"""What runs on a CPU in place of the models as they are trained: the same numbers, sooner."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvm_batch.lvm import build_model
from lvm_batch.lvm.kernels import packed_linear
from lvm_batch.lvm.kernels.packed_linear import PackedLinear

MODELS = ["amn", "amn-mixer", "gru", "lstm", "transformer"]
# amn-mixer has learnt five positions, and no more.
CASES = [(name, length) for name in MODELS for length in (1, 2, 5, 9) if (name, length) != ("amn-mixer", 9)]


@pytest.fixture(params=["oneDNN", "without it"])
def _onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of torch."""
    if request.param == "without it":
        monkeypatch.setattr(packed_linear, "_has_onednn", lambda: False)


@pytest.mark.usefixtures("_onednn")
@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 256, 300])
@torch.inference_mode()
def test_a_packed_layer_computes_what_the_layer_does(n_rows: int, activation: str, *, bias: bool) -> None:
    """Whatever the number of rows, with what follows the layer and without a bias."""
    layer = nn.Linear(48, 40, bias=bias)
    rows = torch.randn(n_rows, 48)
    wanted = nn.functional.gelu(layer(rows)) if activation == "gelu" else layer(rows)
    torch.testing.assert_close(
        PackedLinear.of(layer, activation=activation)(rows), wanted, atol=1e-5, rtol=1e-5
    )


@pytest.mark.usefixtures("_onednn")
@pytest.mark.parametrize(("name", "length"), CASES)
@pytest.mark.parametrize("n_rows", [1, 33])
@torch.inference_mode()
def test_a_packed_model_predicts_what_the_model_does(name: str, length: int, n_rows: int) -> None:
    """Every architecture, whatever the length of the context and the number of rows, within 1e-6."""
    model = build_model(name, seed=1).eval()
    contexts = torch.randn(n_rows, length, 768)
    before = contexts.clone()
    torch.testing.assert_close(model.packed()(contexts), model(contexts), atol=1e-6, rtol=0)
    assert torch.equal(contexts, before)


@pytest.mark.parametrize("name", ["amn", "gru"])
@torch.inference_mode()
def test_a_row_that_is_not_finite_spoils_no_other(name: str) -> None:
    """NaN stays in its row."""
    packed_model = build_model(name, seed=1).eval().packed()
    contexts = torch.randn(40, 5, 768)
    wanted = packed_model(contexts)
    contexts[7, 2, 3] = torch.nan
    found = packed_model(contexts)
    assert found[7].isnan().all()
    found[7] = wanted[7]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
