"""The LSTM baseline, archived.

The rule: it has 5,120,768 parameters in the layout of its checkpoint (the v0 card prints 3.5 million).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lvm_batch.lvm.architectures.context_model import ContextModel

if TYPE_CHECKING:
    from torch import Tensor


class LSTMBaseline(ContextModel):
    """A stack of LSTM layers; the last step is projected back."""

    def __init__(
        self, input_dim: int = 768, hidden_dim: int = 512, num_layers: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__(input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers, dropout=dropout)
        between_layers = dropout if num_layers > 1 else 0.0  # torch warns of dropout that has no place
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between_layers)
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    @property
    def output_layer(self) -> nn.Linear:
        """The projection back to the vectors' width."""
        return self.output_proj

    def direction(self, context: Tensor) -> Tensor:
        """Return the projected last step, (batch, dim)."""
        states, _ = self.lstm(context)  # (B, L, H)
        return self.output_proj(states[:, -1])  # type: ignore[no-any-return]
