"""The job done the plain way: published forward passes, full matrices, one row at a time.

Nothing here is shared with the code under test; weights come as state dicts.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    Weights = Mapping[str, Tensor]

ROUTING = {"min_confidence": 0.0981, "min_margin": 0.00126}
"""Thresholds at which fresh weights escalate some rows of the sample for each reason, and keep others.

No row is nearer to one of them than 5e-6; kernels differ by 1e-7, so that every processor takes the same routes.
"""


def as_options(routing: Mapping[str, float]) -> list[str]:
    """Thresholds as command-line options."""
    return [text for name, value in routing.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def amn(weights: Weights, contexts: np.ndarray) -> np.ndarray:
    """Predict as the Attention Mixture Network's card defines it, with every key computed."""
    x = torch.from_numpy(contexts)
    mean = x.mean(dim=1)
    keys = F.linear(x, weights["context_encoder.weight"], weights["context_encoder.bias"])
    query = F.linear(mean, weights["query_encoder.weight"], weights["query_encoder.bias"])
    scores = torch.einsum("bld,bd->bl", keys, query) / math.sqrt(query.shape[1])
    mix = torch.einsum("bl,bld->bd", scores.softmax(dim=1), x)
    hidden = torch.cat([mean, mix], dim=1)
    for linear, norm in (("0", "2"), ("3", "5")):
        hidden = F.gelu(
            F.linear(hidden, weights[f"residual_net.{linear}.weight"], weights[f"residual_net.{linear}.bias"])
        )
        hidden = F.layer_norm(
            hidden,
            hidden.shape[1:],
            weights[f"residual_net.{norm}.weight"],
            weights[f"residual_net.{norm}.bias"],
        )
    residual = F.linear(hidden, weights["residual_net.6.weight"], weights["residual_net.6.bias"])
    return F.normalize(mean + residual, dim=1).numpy()


def gru(weights: Weights, contexts: np.ndarray) -> np.ndarray:
    """Predict with four blocks of ``nn.GRU``, residual and LayerNorm, as the card describes them."""
    hidden = F.linear(torch.from_numpy(contexts), weights["input_proj.weight"], weights["input_proj.bias"])
    for block in range(4):
        layer = nn.GRU(512, 512, batch_first=True)
        prefix = f"blocks.{block}.gru."
        layer.load_state_dict(
            {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}
        )
        hidden = F.layer_norm(
            hidden + layer(hidden)[0],
            (512,),
            weights[f"blocks.{block}.norm.weight"],
            weights[f"blocks.{block}.norm.bias"],
        )
    return (
        F.normalize(
            F.linear(hidden[:, -1], weights["output_proj.weight"], weights["output_proj.bias"]), dim=1
        )
        .detach()
        .numpy()
    )


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of each row, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def nearest_two(predictions: np.ndarray, bank: np.ndarray, contexts: np.ndarray | None = None) -> np.ndarray:
    """The two highest cosines of each prediction, from the full matrix, without those of its own context."""
    unit = bank.astype(np.float64) / np.linalg.norm(bank.astype(np.float64), axis=1, keepdims=True)
    scores = predictions.astype(np.float64) @ unit.T
    if contexts is not None:
        norms = np.linalg.norm(contexts.astype(np.float64), axis=2, keepdims=True)
        for position in range(contexts.shape[1]):
            scores[(contexts / norms)[:, position] @ unit.T >= 1 - 1e-4] = -np.inf
    return -np.sort(-scores, axis=1)[:, :2]


def reasons(row: Mapping[str, Any], lanes: Sequence[str], thresholds: Mapping[str, float]) -> list[str]:
    """A row's reasons from its own columns, criterion by criterion."""
    names = []
    if row["confidence"] is not None and np.float32(row["confidence"]) < np.float32(
        thresholds["min_confidence"]
    ):
        names.append("low_confidence")
    if row.get("lane") in lanes:
        names.append("high_stakes_lane")
    if row.get("context_tokens") is not None and row["context_tokens"] > thresholds["max_context_tokens"]:
        names.append("long_context")
    if row["margin"] is not None and np.float32(row["margin"]) < np.float32(thresholds["min_margin"]):
        names.append("low_margin")
    return names
