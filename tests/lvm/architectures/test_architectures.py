"""Tests of the five architectures against plain NumPy: tensor layouts, parameter counts and predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lvm_batch.lvm import (
    ArchitectureError,
    AttentionMixerNetwork,
    AttentionMixtureNetwork,
    GRUStack,
    LSTMBaseline,
    TransformerPredictor,
    build_model,
)
from lvm_batch.lvm.architectures.catalog import ARCHITECTURES
from lvm_batch.lvm.architectures.context_model import ContextModel, linear

COUNTS = {
    AttentionMixtureNetwork: 1_510_912,
    AttentionMixerNetwork: 1_472_768,
    GRUStack: 7_095_552,
    LSTMBaseline: 5_120_768,
    TransformerPredictor: 17_867_520,
}
SMALL = {
    "amn": {"input_dim": 24, "d_model": 8, "hidden_dim": 12},
    "amn-mixer": {"input_dim": 24, "hidden_dim": 20, "output_dim": 24, "d_model": 8, "num_layers": 2},
    "gru": {"input_dim": 24, "d_model": 8, "num_layers": 2},
    "lstm": {"input_dim": 24, "hidden_dim": 8},
    "transformer": {"input_dim": 24, "d_model": 16, "nhead": 2, "num_layers": 2, "dim_feedforward": 20},
}


def some_contexts(n_rows: int, dim: int, *, length: int = 5) -> torch.Tensor:
    """Unit vectors, (n_rows, length, dim)."""
    vectors = torch.randn(n_rows, length, dim, generator=torch.Generator().manual_seed(7))
    return torch.nn.functional.normalize(vectors, dim=-1)


def arrays_of(model: ContextModel) -> dict[str, np.ndarray]:
    """The model's weights, as float64."""
    return {key: value.double().numpy() for key, value in model.state_dict().items()}


def affine(weights: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    """A linear layer."""
    return x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]


def layer_norm(weights: dict[str, np.ndarray], layer: str, x: np.ndarray) -> np.ndarray:
    """Layer normalisation, with torch's epsilon."""
    spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return (x - x.mean(-1, keepdims=True)) / spread * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    """The exact GELU."""
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def unit(x: np.ndarray) -> np.ndarray:
    """Rows scaled to unit norm."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def amn_as_published(weights: dict[str, np.ndarray], context: np.ndarray) -> np.ndarray:
    """The Attention Mixture Network as published, with its key projection."""
    mean = context.mean(1)
    keys, query = affine(weights, "context_encoder", context), affine(weights, "query_encoder", mean)
    attention = softmax(np.einsum("bld,bd->bl", keys, query) / math.sqrt(query.shape[1]))
    x = np.concatenate([mean, np.einsum("bl,bld->bd", attention, context)], axis=1)
    x = layer_norm(weights, "residual_net.2", gelu(affine(weights, "residual_net.0", x)))
    x = layer_norm(weights, "residual_net.5", gelu(affine(weights, "residual_net.3", x)))
    return unit(mean + affine(weights, "residual_net.6", x))


def gru_layer(weights: dict[str, np.ndarray], prefix: str, x: np.ndarray) -> np.ndarray:
    """The states of a GRU layer, its recurrence written out."""
    state = np.zeros((len(x), x.shape[2]))
    states = []
    for step in range(x.shape[1]):
        from_input = x[:, step] @ weights[f"{prefix}.weight_ih_l0"].T + weights[f"{prefix}.bias_ih_l0"]
        from_state = state @ weights[f"{prefix}.weight_hh_l0"].T + weights[f"{prefix}.bias_hh_l0"]
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (
            np.split(from_input, 3, 1),
            np.split(from_state, 3, 1),
        )
        update = sigmoid(update_x + update_h)
        new = np.tanh(new_x + sigmoid(reset_x + reset_h) * new_h)
        state = (1 - update) * new + update * state
        states.append(state)
    return np.stack(states, axis=1)


def gru_as_published(weights: dict[str, np.ndarray], context: np.ndarray) -> np.ndarray:
    """The GRU stack as published."""
    x = affine(weights, "input_proj", context)
    n_blocks = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
    for number in range(n_blocks):
        x = layer_norm(weights, f"blocks.{number}.norm", x + gru_layer(weights, f"blocks.{number}.gru", x))
    return unit(affine(weights, "output_proj", x[:, -1]))


def mixer_as_documented(weights: dict[str, np.ndarray], context: np.ndarray) -> np.ndarray:
    """The Attention Mixer Network with two blocks and four heads, as documented."""
    x = affine(weights, "input_proj", layer_norm(weights, "input_norm", context + weights["position"]))
    for block in ("blocks.0", "blocks.1"):
        qkv = affine(weights, f"{block}.qkv", layer_norm(weights, f"{block}.attention_norm", x))
        query, key, value = (part.reshape(*part.shape[:2], 4, -1) for part in np.split(qkv, 3, axis=2))
        scores = np.einsum("bihd,bjhd->bhij", query, key) / math.sqrt(query.shape[3])
        x = x + np.einsum("bhij,bjhd->bihd", softmax(scores), value).reshape(x.shape)
        hidden = gelu(affine(weights, f"{block}.mlp.0", layer_norm(weights, f"{block}.mlp_norm", x)))
        x = x + affine(weights, f"{block}.mlp.2", hidden)
    query = affine(weights, "pool_query", x[:, -1])
    attention = softmax(np.einsum("bld,bd->bl", x, query) / math.sqrt(x.shape[2]))
    correction = affine(weights, "output_proj", np.einsum("bl,bld->bd", attention, x))
    return unit(correction + np.einsum("bl,bld->bd", attention, context))


@pytest.mark.parametrize(("model_class", "count"), COUNTS.items())
def test_published_parameter_counts_are_met(model_class: type[ContextModel], count: int) -> None:
    """Each architecture has exactly the number of parameters of its card or checkpoint."""
    assert model_class().n_parameters == count


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("length", [1, 3, 5])
@torch.inference_mode()
def test_predictions_are_unit_vectors(name: str, length: int) -> None:
    """A model maps (batch, length, dim) to (batch, dim) of unit norm."""
    predicted = build_model(name, seed=0, **SMALL[name]).eval()(some_contexts(6, 24, length=length))
    assert predicted.shape == (6, 24)
    assert predicted.norm(dim=1).numpy() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "reference", "dimensions"),
    [
        ("amn", amn_as_published, {}),
        ("gru", gru_as_published, {}),
        ("amn", amn_as_published, SMALL["amn"]),
        ("gru", gru_as_published, SMALL["gru"]),
        ("amn-mixer", mixer_as_documented, SMALL["amn-mixer"]),
    ],
)
@torch.inference_mode()
def test_predictions_equal_plain_numpy(name: str, reference, dimensions: dict[str, int]) -> None:  # noqa: ANN001
    """Predictions equal those of the NumPy code here, computed in float64, to 1e-5."""
    model = build_model(name, seed=3, **dimensions).eval()
    contexts = some_contexts(9, model.dim)
    assert (
        np.abs(model(contexts).numpy() - reference(arrays_of(model), contexts.double().numpy())).max() < 1e-5
    )


@torch.inference_mode()
def test_attention_without_keys_equals_attention_with_keys() -> None:
    """The attention without keys equals that with keys even if its weights are far from uniform."""
    model = AttentionMixtureNetwork(**SMALL["amn"])
    for encoder in (model.context_encoder, model.query_encoder):
        encoder.weight.mul_(20)
    contexts = some_contexts(9, 24)
    attention = model.attention(contexts, contexts.mean(dim=1))
    assert attention.max() > 0.8
    expected = amn_as_published(arrays_of(model), contexts.double().numpy())
    assert np.abs(model(contexts).numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_rows_are_independent(name: str) -> None:
    """A row's prediction does not depend on the other rows, apart from its low bits."""
    model = build_model(name, seed=1, **SMALL[name]).eval()
    contexts = some_contexts(7, 24)
    assert torch.allclose(model(contexts)[2:4], model(contexts[2:4]), atol=1e-6)


@pytest.mark.parametrize("name", ["amn-mixer", "gru", "lstm", "transformer"])
@torch.inference_mode()
def test_order_matters(name: str) -> None:
    """Every model except AMN, which has no positions, distinguishes a context from its reverse."""
    model = build_model(name, seed=1, **SMALL[name]).eval()
    contexts = some_contexts(7, 24)
    assert (model(contexts) - model(contexts.flip(1))).abs().max() > 1e-3


@torch.inference_mode()
def test_transformer_steps_do_not_see_later_ones() -> None:
    """The state at one step does not depend on later vectors."""
    model = build_model("transformer", seed=1, **SMALL["transformer"]).eval()
    seen: list[torch.Tensor] = []
    model.get_submodule("transformer_decoder").register_forward_hook(lambda *call: seen.append(call[2]))
    contexts = some_contexts(3, 24)
    model(contexts)
    model(torch.cat([contexts[:, :3], -contexts[:, 3:]], dim=1))
    assert torch.allclose(seen[0][:, :3], seen[1][:, :3], atol=1e-6)
    assert (seen[0][:, 3:] - seen[1][:, 3:]).abs().max() > 1e-3


def test_positions_are_the_published_sinusoids() -> None:
    """Column 2i of position p is sin(p / 10000^(2i/d)), column 2i + 1 its cosine."""
    code = TransformerPredictor(input_dim=4, d_model=6, nhead=1, num_layers=1).pos_encoder.pe[0]
    assert float(code[3, 2]) == pytest.approx(math.sin(3 / 10_000 ** (2 / 6)), abs=1e-6)
    assert float(code[3, 5]) == pytest.approx(math.cos(3 / 10_000 ** (4 / 6)), abs=1e-6)


def test_a_context_over_the_mixers_positions_is_refused() -> None:
    """A mixer has positions for five vectors and refuses six."""
    model = build_model("amn-mixer", seed=0, **SMALL["amn-mixer"])
    with pytest.raises(ArchitectureError, match="6 vectors; this amn-mixer reads at most 5"):
        model(some_contexts(2, 24, length=6))


def test_fresh_weights_follow_from_the_seed() -> None:
    """The same seed gives the same weights, another seed gives others, and the global random state is unchanged."""
    before = torch.get_rng_state()
    first, second, other = (
        build_model("gru", seed=seed, **SMALL["gru"]).output_layer.weight for seed in (5, 5, 6)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_an_unknown_architecture_names_the_nearest() -> None:
    """The error for a misspelled name suggests the right one."""
    with pytest.raises(ArchitectureError, match="no architecture 'amn-mixr'") as caught:
        build_model("amn-mixr", seed=0)
    assert "did you mean amn-mixer?" in caught.value.hint


def test_a_config_rebuilds_its_model() -> None:
    """``config`` rebuilds a model with the same shapes."""
    for name, dimensions in SMALL.items():
        model = build_model(name, seed=0, **dimensions)
        again = type(model)(**model.config)
        assert {key: value.shape for key, value in model.state_dict().items()} == {
            key: value.shape for key, value in again.state_dict().items()
        }


def test_an_output_layer_is_linear() -> None:
    """A layer that is expected to be linear and is not raises an error."""
    with pytest.raises(TypeError):
        linear(torch.nn.GELU())
