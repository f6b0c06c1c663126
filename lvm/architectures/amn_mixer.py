"""The Attention Mixer Network of the v0 model card.

The rule: it has 1,472,768 parameters, the count that the card prints. The card names the ingredients (attention-mixer
blocks with residuals, learnt positions for five inputs, a normalised input); this layout of them meets that count
exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from lvm_batch.lvm.architectures.context_model import ContextModel, check_length

if TYPE_CHECKING:
    from torch import Tensor


class AttentionMixerBlock(nn.Module):
    """Self-attention without an output projection, then an MLP; each normalises its input and adds its output to it."""

    def __init__(self, d_model: int, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.mlp_norm = nn.LayerNorm(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, d_model) to the same shape."""
        x = x + self.attend(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]

    def attend(self, x: Tensor) -> Tensor:
        """Return what each position reads from all others, (batch, length, d_model)."""
        heads = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # (B, L, 3, H, d)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, H, L, d) each
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class AttentionMixerNetwork(ContextModel):
    """Mixes the positions of a context in a narrow space, and corrects the context's pooled vector by the result.

    A context shorter than ``max_length`` takes the last positions.
    """

    adds_to_mean = True

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 1024,
        output_dim: int = 768,
        *,
        d_model: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        max_length: int = 5,
    ) -> None:
        super().__init__(
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            output_dim=output_dim,
            d_model=d_model,
            num_layers=num_layers,
            num_heads=num_heads,
            max_length=max_length,
        )
        self.position = nn.Parameter(torch.randn(max_length, input_dim) * 0.02)
        self.input_norm = nn.LayerNorm(input_dim)
        self.input_proj = nn.Linear(input_dim, d_model)
        self.blocks = nn.ModuleList(
            AttentionMixerBlock(d_model, hidden_dim, num_heads) for _ in range(num_layers)
        )
        self.pool_query = nn.Linear(d_model, d_model)
        self.output_proj = nn.Linear(d_model, output_dim)

    @property
    def output_layer(self) -> nn.Linear:
        """The projection back to the vectors' width."""
        return self.output_proj

    def direction(self, context: Tensor) -> Tensor:
        """Return the pooled context plus its correction, (batch, dim).

        Raises ArchitectureError for contexts longer than ``max_length``.
        """
        check_length(context, "amn-mixer", longest=len(self.position))
        x = self.input_proj(self.input_norm(context + self.position[-context.shape[1] :]))  # (B, L, d)
        for block in self.blocks:
            x = block(x)
        weights = self.pool(x).unsqueeze(2)  # (B, L, 1)
        correction: Tensor = self.output_proj((weights * x).sum(dim=1))
        return correction + (weights * context).sum(dim=1)

    def pool(self, x: Tensor) -> Tensor:
        """Return the attention of the last position to each position, (batch, length)."""
        query = self.pool_query(x[:, -1])  # (B, d)
        return torch.softmax((x * query.unsqueeze(1)).sum(dim=2) * x.shape[2] ** -0.5, dim=1)
