"""Run a model over many contexts.

The one rule: slices are cut from row 0 of what is given, so the same call gives the same bits. (The same row
in a slice of another size may differ in its low bits.) Does not know which rows deserve which model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from lvm_batch.lvm.arrays import as_tensor
from lvm_batch.lvm.errors import ArchitectureError

if TYPE_CHECKING:
    import numpy.typing as npt

    from lvm_batch.lvm.context_model import ContextModel

    Floats = npt.NDArray[np.float32]

# On a CPU, AMN and GRU are as fast at 256 rows as at 1024, and GRU holds 30 MiB of gates in place of 120 (measured
# 2026-11-23, torch 2.13, one thread). Accelerators want more rows at once.
_ROWS_ON_CPU, _ROWS_ELSEWHERE = 256, 1024


class Predictor:
    """A model on a device, called with numpy arrays."""

    def __init__(self, model: ContextModel, device: torch.device, *, max_rows: int | None = None) -> None:
        self.model = model.to(device).eval()
        self.device = device
        self.max_rows = max_rows or (_ROWS_ON_CPU if device.type == "cpu" else _ROWS_ELSEWHERE)

    @torch.inference_mode()
    def __call__(self, contexts: Floats) -> Floats:
        """Predict from contexts float32 (n, length, dim), C-contiguous. Returns float32 (n, dim), unit norm.

        A context that holds NaN or infinity gives NaN in its own row only. Raises ArchitectureError for
        another width than the model's.
        """
        self._check(contexts)
        predictions = np.empty((len(contexts), self.model.dim), dtype=np.float32)
        out = torch.from_numpy(predictions)
        for start in range(0, len(contexts), self.max_rows):
            rows = slice(start, start + self.max_rows)
            out[rows] = self.model(as_tensor(contexts[rows]).to(self.device))
        return predictions

    def _check(self, contexts: Floats) -> None:
        if contexts.ndim != 3 or contexts.shape[2] != self.model.dim:  # noqa: PLR2004
            message = (
                f"contexts of shape {contexts.shape} for a model that reads (n, length, {self.model.dim})"
            )
            raise ArchitectureError(
                message, "use vectors of the model's width, or a model trained on such vectors"
            )


def row_cosines(a: Floats, b: Floats) -> Floats:
    """Return the cosine of each row of ``a`` with the same row of ``b``, float32 (n,); both are (n, dim).

    Computed in float64. NaN where either row has no norm or is not finite.
    """
    products = _row_dots(a, b)
    norms = np.sqrt(_row_dots(a, a) * _row_dots(b, b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norms > 0, products / norms, np.nan).astype(np.float32)


def _row_dots(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", a, b, dtype=np.float64))
