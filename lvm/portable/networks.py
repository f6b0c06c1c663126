"""The five networks as graphs of ONNX.

The rule: each function adds what ``direction`` of its model computes, for contexts (batch, length, dim) of one length,
and returns the name of the result (batch, dim) before it is normalised. Dropout is left out, as in evaluation.

ONNX orders the gates of a GRU as z, r, n and of an LSTM as i, o, f, g, where torch has r, z, n and i, f, g, o; its
steps are (length, batch, d).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork
from lvm_batch.lvm.architectures.amn_mixer import AttentionMixerNetwork
from lvm_batch.lvm.architectures.context_model import causal_mask
from lvm_batch.lvm.architectures.gru import GRUStack
from lvm_batch.lvm.architectures.lstm import LSTMBaseline
from lvm_batch.lvm.architectures.transformer import TransformerPredictor
from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.portable.graph import AttentionShape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.portable.graph import Graph

_GRU_GATES, _LSTM_GATES = (1, 0, 2), (0, 3, 1, 2)


def add_network(graph: Graph, model: ContextModel, context: str, *, length: int) -> str:
    """Add the model's network to a graph. Raises ArchitectureError for a model without one."""
    network = NETWORKS.get(type(model))
    if network is None:
        known = ", ".join(each.__name__ for each in NETWORKS)
        raise ArchitectureError(f"{type(model).__name__} has no graph of ONNX", f"these have one: {known}")
    return network(graph, model, context, length)


def _amn(graph: Graph, model: AttentionMixtureNetwork, context: str, length: int) -> str:
    mean = graph.one("Mul", graph.sum(context, 1), graph.number(1 / length))  # (B, D)
    query = graph.one(
        "MatMul", graph.layer(mean, model.query_encoder), graph.weight(model.context_encoder.weight)
    )
    scores = graph.one("MatMul", context, graph.one("Unsqueeze", query, graph.places(2)))  # (B, L, 1)
    scale = 1 / math.sqrt(model.query_encoder.out_features)
    mix = graph.weighted(graph.softmax(scores, 1, scale=scale), context)
    both = graph.one("Concat", mean, mix, axis=1)  # (B, 2 D)
    return graph.one("Add", mean, graph.layer(both, model.residual_net))


def _amn_mixer(graph: Graph, model: AttentionMixerNetwork, context: str, length: int) -> str:
    placed = graph.one("Add", context, graph.weight(model.position[-length:]))
    x = graph.layer(graph.layer(placed, model.input_norm), model.input_proj)  # (B, L, d)
    for block in model.blocks:
        x = _mixer_block(graph, cast("Any", block), x, length)
    query = graph.layer(_last(graph, x, axis=1), model.pool_query)  # (B, d)
    scores = graph.one("MatMul", x, graph.one("Unsqueeze", query, graph.places(2)))  # (B, L, 1)
    weights = graph.softmax(scores, 1, scale=model.pool_query.out_features**-0.5)
    correction = graph.layer(graph.weighted(weights, x), model.output_proj)
    return graph.one("Add", correction, graph.weighted(weights, context))


def _mixer_block(graph: Graph, block: Any, x: str, length: int) -> str:  # noqa: ANN401 - of a list of modules
    d = block.qkv.in_features
    heads = graph.layer(graph.layer(x, block.attention_norm), block.qkv)
    query, key, value = graph.add("Split", heads, graph.places(d, d, d), n_outputs=3, axis=2)
    query = graph.one("Mul", query, graph.number((d / block.num_heads) ** -0.5))
    shape = AttentionShape(block.num_heads, length, d)
    x = graph.one("Add", x, graph.attention(shape, query, key, value))
    return graph.one("Add", x, graph.layer(graph.layer(x, block.mlp_norm), block.mlp))


def _gru(graph: Graph, model: GRUStack, context: str, length: int) -> str:  # noqa: ARG001 - follows from the input
    x = graph.one("Transpose", graph.layer(context, model.input_proj), perm=[1, 0, 2])  # (L, B, d)
    for block in model.blocks:
        recurrent, norm = (cast("nn.Module", getattr(block, name)) for name in ("gru", "norm"))
        x = graph.one("Add", x, _recurrent(graph, "GRU", recurrent, x, _GRU_GATES, linear_before_reset=1))
        if block is model.blocks[-1]:
            x = _last(graph, x, axis=0)  # (B, d)
        x = graph.layer(x, norm)
    return graph.nan_where_not_finite(graph.layer(x, model.output_proj), context)


def _lstm(graph: Graph, model: LSTMBaseline, context: str, length: int) -> str:  # noqa: ARG001 - as above
    x = graph.one("Transpose", context, perm=[1, 0, 2])  # (L, B, D)
    for layer in range(model.lstm.num_layers):
        x = _recurrent(graph, "LSTM", model.lstm, x, _LSTM_GATES, layer=layer)
    return graph.nan_where_not_finite(graph.layer(_last(graph, x, axis=0), model.output_proj), context)


def _recurrent(
    graph: Graph,
    operator: str,
    recurrent: nn.Module,
    x: str,
    gates: Sequence[int],
    *,
    layer: int = 0,
    **attributes: int,
) -> str:
    """Add one recurrent layer of torch; return its states, (length, batch, d)."""
    named = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ordered = [_ordered(getattr(recurrent, f"{name}_l{layer}"), gates) for name in named]
    of_inputs, of_states = (graph.weight(each[np.newaxis]) for each in ordered[:2])
    biases = graph.weight(np.concatenate(ordered[2:])[np.newaxis])
    size = int(cast("Any", recurrent).hidden_size)
    states = graph.one(operator, x, of_inputs, of_states, biases, hidden_size=size, **attributes)
    return graph.one("Squeeze", states, graph.places(1))  # one direction


def _ordered(values: Tensor, gates: Sequence[int]) -> np.ndarray:
    parts = values.detach().numpy()
    return np.concatenate([np.split(parts, len(gates))[gate] for gate in gates])


def _last(graph: Graph, x: str, *, axis: int) -> str:
    """Return the last step along an axis, without that axis."""
    return graph.one("Gather", x, graph.weight(np.int64(-1)), axis=axis)


def _transformer(graph: Graph, model: TransformerPredictor, context: str, length: int) -> str:
    memory = graph.one(
        "Add", graph.layer(context, model.input_proj), graph.weight(model.pos_encoder.pe[:, :length])
    )
    hidden = torch.zeros(length, length).masked_fill(causal_mask(length, torch.device("cpu")), -math.inf)
    x, mask = memory, graph.weight(hidden)
    for layer in model.transformer_decoder.layers:
        x = _decoder_layer(graph, cast("Any", layer), x, memory, mask=mask, length=length)
    return graph.layer(_last(graph, x, axis=1), model.head)


def _decoder_layer(graph: Graph, layer: Any, x: str, memory: str, *, mask: str, length: int) -> str:  # noqa: ANN401
    for attention, read, norm in (
        (layer.self_attn, None, layer.norm1),
        (layer.multihead_attn, memory, layer.norm2),
    ):
        seen = _multihead(graph, attention, x, read or x, mask=mask, length=length)
        x = graph.layer(graph.one("Add", x, seen), norm)
    wide = graph.one("Relu", graph.layer(x, layer.linear1))
    return graph.layer(graph.one("Add", x, graph.layer(wide, layer.linear2)), layer.norm3)


def _multihead(graph: Graph, attention: Any, x: str, memory: str, *, mask: str, length: int) -> str:  # noqa: ANN401
    weights = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
    query, key, value = (
        graph.linear(read, *each) for read, each in zip((x, memory, memory), weights, strict=True)
    )
    query = graph.one("Mul", query, graph.number(attention.head_dim**-0.5))
    shape = AttentionShape(attention.num_heads, length, attention.embed_dim)
    seen = graph.attention(shape, query, key, value, mask)
    return graph.layer(seen, attention.out_proj)


NETWORKS: dict[type[ContextModel], Callable[[Graph, Any, str, int], str]] = {
    AttentionMixtureNetwork: _amn,
    AttentionMixerNetwork: _amn_mixer,
    GRUStack: _gru,
    LSTMBaseline: _lstm,
    TransformerPredictor: _transformer,
}
"""The models that have a graph, and what adds it."""
