"""Tests of the forms that models are trained in: they predict and learn as their models do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from lvm_batch.lvm import ContextModel, build_model
from lvm_batch.lvm.devices.precision import multiplies_bf16
from lvm_batch.lvm.training.forms import rounded_products, training_form
from lvm_batch.lvm.training.recipes import Recipe
from lvm_batch.lvm.training.training import Training
from lvm_batch.lvm.training.windows import Windows

DIM = 32
CPU = torch.device("cpu")
SIZES = {
    "amn": {"input_dim": DIM, "d_model": 16, "hidden_dim": 32},
    "amn-mixer": {"input_dim": DIM, "hidden_dim": 32, "output_dim": DIM, "d_model": 16, "num_layers": 2},
    "gru": {"input_dim": DIM, "d_model": 24, "num_layers": 3},
    "lstm": {"input_dim": DIM, "hidden_dim": 24},
    "transformer": {
        "input_dim": DIM,
        "d_model": 24,
        "nhead": 2,
        "num_layers": 2,
        "dim_feedforward": 32,
        "dropout": 0.0,
    },
}
"""Sizes without dropout, so that two passes through a model are the same."""


def unit_rows(*shape: int, seed: int) -> torch.Tensor:
    """Random vectors of unit norm over the last axis."""
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def small(name: str) -> ContextModel:
    """A small model with fresh weights, which does not drop anything."""
    return build_model(name, seed=0, **SIZES[name]).eval()


def gradients(model: ContextModel, predictions: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of each weight for a fixed target."""
    model.zero_grad()
    F.mse_loss(predictions, unit_rows(*predictions.shape, seed=2)).backward()  # type: ignore[no-untyped-call]
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("length", [1, 5])
def test_the_form_of_gru_has_the_gradients_of_gru(length: int) -> None:
    """Predictions and the gradients of all weights are those of the model as it is written, in float32."""
    model, contexts = small("gru"), unit_rows(40, length, DIM, seed=1)
    form = training_form(model, CPU)
    expected, predictions = model(contexts), form(contexts)
    assert torch.allclose(predictions, expected, atol=1e-6)
    wanted = gradients(model, expected)
    found = gradients(model, form(contexts))
    assert found.keys() == dict(model.named_parameters()).keys()
    for name, gradient in found.items():
        if length == 1 and "weight_hh" in name:
            assert not gradient.any()  # the only state before a step is zero
        else:
            assert torch.allclose(gradient, wanted[name], atol=1e-5 * float(wanted[name].abs().max())), name


@pytest.mark.skipif(not multiplies_bf16(), reason="this processor does not multiply bfloat16")
@pytest.mark.parametrize("name", SIZES)
def test_rounded_products_train_nearly_as_float32(name: str) -> None:
    """Predictions are float32 of unit norm; the gradient of all weights points where the model's own does."""
    model, contexts = small(name), unit_rows(200, 5, DIM, seed=1)
    wanted = gradients(model, model(contexts))
    with rounded_products(CPU):
        predictions = training_form(model, CPU)(contexts)
    assert predictions.dtype == torch.float32
    assert torch.allclose(predictions.norm(dim=1), torch.ones(200), atol=1e-5)
    found = gradients(model, predictions)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    both = [torch.cat([part[key].flatten() for key in wanted]) for part in (wanted, found)]
    assert torch.cosine_similarity(*both, dim=0) > 0.995


@pytest.mark.parametrize("is_native", [True, False])
def test_products_are_rounded_only_where_that_pays(
    *, is_native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without native bfloat16, and on other devices, products stay as they are."""
    monkeypatch.setattr("lvm_batch.lvm.training.forms.multiplies_bf16", lambda: is_native)
    a = unit_rows(4, 4, seed=1)
    for device, is_rounded in ((CPU, is_native), (torch.device("cuda"), False)):
        with rounded_products(device):
            assert ((a @ a).dtype == torch.bfloat16) is is_rounded


@pytest.mark.slow
@pytest.mark.skipif(not multiplies_bf16(), reason="this processor does not multiply bfloat16")
@pytest.mark.parametrize("name", ["amn", "gru"])
def test_rounded_products_reach_as_good_a_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The validation cosine of each epoch is that of a training in float32, nearly; weights stay float32."""
    contexts = unit_rows(600, 5, DIM, seed=3)
    data = Windows.of(contexts.numpy(), F.normalize(contexts[:, 1] + contexts[:, 4], dim=1).numpy())
    seen, held_out = data.take(np.arange(500)), data.take(np.arange(500, 600))
    cosines = []
    for is_native in (True, False):
        monkeypatch.setattr(
            "lvm_batch.lvm.training.forms.multiplies_bf16", lambda is_native=is_native: is_native
        )
        model = small(name)
        recipe = Recipe(epochs=4, batch_size=50, learning_rate=3e-3, schedule="cosine", beginning="ridge")
        cosines.append(
            [e.val_cosine for e in Training(model, seen, recipe=recipe, seed=0, validation=held_out)]
        )
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert cosines[0] != cosines[1]
    assert cosines[0] == pytest.approx(cosines[1], abs=0.01)
