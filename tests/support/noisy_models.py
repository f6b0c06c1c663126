"""Two models that need no training and of which the fallback is mostly better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.architectures.catalog import build_model
from lvm_batch.lvm.checkpoints.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def write_noisy_models(folder: Path) -> Path:
    """Write an amn.pt and a gru.pt that predict the context's mean with noise; returns ``folder``."""
    amn, gru = build_model("amn", seed=1), build_model("gru", seed=1, d_model=768, num_layers=1)
    with torch.no_grad():
        amn.output_layer.weight.mul_(0.08)
        amn.output_layer.bias.mul_(0.08)
        gru.input_proj.weight.copy_(torch.eye(768))
        gru.output_layer.weight.copy_(torch.eye(768))
    for name, model in (("amn", amn), ("gru", gru)):
        save_checkpoint(
            folder / f"{name}.pt", model, architecture=name, epoch=0, val_loss=None, val_cosine=None
        )
    return folder
