"""The Transformer decoder, archived.

The rule: it has 17,867,520 parameters in the layout of its checkpoint (the v0 card prints 5.9 million).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lvm_batch.lvm.architectures.context_model import ContextModel, causal_mask, check_length, linear

if TYPE_CHECKING:
    from torch import Tensor


class SinusoidalPositions(nn.Module):
    """The fixed position code of Vaswani et al. 2017, section 3.5, stored with the weights.

    ``pe`` is (1, max_length, d_model).
    """

    pe: Tensor

    def __init__(self, d_model: int, max_length: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(max_length, d_model).unsqueeze(0))

    def forward(self, x: Tensor) -> Tensor:
        """Add the code of each position to (batch, length, d_model). Raises ArchitectureError beyond the last code."""
        check_length(x, "transformer", longest=self.pe.shape[1])
        return x + self.pe[:, : x.shape[1]]


def sinusoids(length: int, d_model: int) -> Tensor:
    """Return sin(p / 10000^(i/d)) in the even columns i and the cosine in the odd ones, (length, d_model)."""
    steps = torch.arange(length).unsqueeze(1)  # (L, 1)
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10_000.0) / d_model))  # (d/2,)
    return torch.stack([torch.sin(steps * rates), torch.cos(steps * rates)], dim=2).flatten(1)[:, :d_model]


class TransformerPredictor(ContextModel):
    """Decoder layers that attend, causally, to their own steps and to the projected inputs; the last step predicts."""

    def __init__(
        self,
        input_dim: int = 768,
        d_model: int = 512,
        nhead: int = 8,
        num_layers: int = 4,
        dim_feedforward: int = 2048,
        *,
        dropout: float = 0.1,
        max_length: int = 512,
    ) -> None:
        super().__init__(
            input_dim=input_dim,
            d_model=d_model,
            nhead=nhead,
            num_layers=num_layers,
            dim_feedforward=dim_feedforward,
            dropout=dropout,
            max_length=max_length,
        )
        self.input_proj = nn.Linear(input_dim, d_model)
        self.pos_encoder = SinusoidalPositions(d_model, max_length)
        layer = nn.TransformerDecoderLayer(d_model, nhead, dim_feedforward, dropout, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers)
        self.head = nn.Sequential(
            nn.Linear(d_model, d_model), nn.GELU(), nn.LayerNorm(d_model), nn.Linear(d_model, input_dim)
        )

    @property
    def output_layer(self) -> nn.Linear:
        """The last layer of the head."""
        return linear(self.head[-1])

    def direction(self, context: Tensor) -> Tensor:
        """Return the head's output for the last step, (batch, dim)."""
        x = self.pos_encoder(self.input_proj(context))  # (B, L, d)
        mask = causal_mask(context.shape[1], context.device)
        steps = self.transformer_decoder(x, x, tgt_mask=mask, memory_mask=mask)  # (B, L, d)
        return self.head(steps[:, -1])  # type: ignore[no-any-return]
