"""The stack of gated recurrent units, the fallback model.

The rule: the layout and its 7,095,552 parameters are the production checkpoint's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lvm_batch.lvm.architectures.context_model import ContextModel

if TYPE_CHECKING:
    from torch import Tensor


class GRUBlock(nn.Module):
    """One recurrent layer; its input is added to its output, and the sum is normalised."""

    gru: nn.GRU
    norm: nn.LayerNorm

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.gru = nn.GRU(d_model, d_model, batch_first=True)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, d_model) to the same shape."""
        states, _ = self.gru(x)
        return self.norm(x + states)  # type: ignore[no-any-return]


class GRUStack(ContextModel):
    """Residual recurrent layers in a narrower space; the last step is projected back."""

    def __init__(self, input_dim: int = 768, d_model: int = 512, num_layers: int = 4) -> None:
        super().__init__(input_dim=input_dim, d_model=d_model, num_layers=num_layers)
        self.input_proj = nn.Linear(input_dim, d_model)
        self.blocks = nn.ModuleList(GRUBlock(d_model) for _ in range(num_layers))
        self.output_proj = nn.Linear(d_model, input_dim)

    @property
    def output_layer(self) -> nn.Linear:
        """The projection back to the vectors' width."""
        return self.output_proj

    def direction(self, context: Tensor) -> Tensor:
        """Return the projected last step, (batch, dim)."""
        x = self.input_proj(context)  # (B, L, d)
        for block in self.blocks:
            x = block(x)
        return self.output_proj(x[:, -1])  # type: ignore[no-any-return]
