"""Predictions on one device, in slices of rows.

The rule: slices are cut from row 0 of each call, so the same call gives the same bits on the same processor with the
same number of threads. Elsewhere, or in a slice of another size, kernels add in another order: a row is then the same
to 1e-5 in float32, and to the rounding of other precisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.kernels.forms import build_form

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.devices.precision import Precision

    Floats = npt.NDArray[np.float32]

# On a CPU, GRU is fastest at 256 rows, and needs 30 MiB for gates instead of 120 at 1024; AMN is as fast at 256 as at
# 512, and slower beyond (measured 2026-11-23, torch 2.13, one thread). Accelerators need more rows at once.
_ROWS_ON_CPU, _ROWS_ELSEWHERE = 256, 1024


class Predictor:
    """A model on a device, called with numpy arrays; predictions are complete when the call returns.

    Raises ``DeviceError`` or ``ArchitectureError`` if the device or the model lacks the ``precision``.
    """

    def __init__(
        self,
        model: ContextModel,
        device: torch.device,
        *,
        max_rows: int | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self.dim = model.dim
        self.device = device
        self._forward = build_form(model, device, precision)
        self.max_rows = max_rows or (_ROWS_ON_CPU if device.type == "cpu" else _ROWS_ELSEWHERE)

    @torch.inference_mode()
    def __call__(self, contexts: Floats) -> Floats:
        """Predict from contexts float32 (n, length, dim), C-contiguous. Returns float32 (n, dim), unit norm.

        A context with NaN or infinity gives NaN in its own row only. Raises ArchitectureError if the width is not the
        model's.
        """
        check_contexts(contexts, self.dim)
        if len(contexts) <= self.max_rows and len(contexts):
            return self._slice(contexts).cpu().numpy()
        predictions = np.empty((len(contexts), self.dim), dtype=np.float32)
        out = torch.from_numpy(predictions)
        for start in range(0, len(contexts), self.max_rows):
            rows = slice(start, start + self.max_rows)
            out[rows] = self._slice(contexts[rows])
        return predictions

    def _slice(self, contexts: Floats) -> Tensor:
        return self._forward(as_tensor(contexts).to(self.device))


def check_contexts(contexts: Floats, dim: int) -> None:
    """Raise :class:`ArchitectureError` unless contexts are (n, length, ``dim``)."""
    if contexts.ndim != 3 or contexts.shape[2] != dim:  # noqa: PLR2004
        message = f"contexts of shape {contexts.shape} for a model that reads (n, length, {dim})"
        raise ArchitectureError(
            message, "use vectors of the model's width, or a model trained on such vectors"
        )
