"""Predictions on a device beside the CPU, in slices of rows.

The rule: as many rows come back as went in, in the same order, or an error; running out of memory loses no row.

Slices overlap: while the device computes one, the next is copied up and the previous one down. The size of a slice
follows from free memory and from the bytes that the model needs per row; if memory runs out all the same, the size is
halved, for later calls too. (A row in a slice of another size may differ in its low bits.)
"""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lvm_batch.lvm.devices.precision import DTYPES
from lvm_batch.lvm.errors import DeviceError
from lvm_batch.lvm.inference.predictor import check_contexts
from lvm_batch.lvm.kernels.forms import build_form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.devices.accelerator import Accelerator, Floats, PendingResult
    from lvm_batch.lvm.devices.precision import Precision

MOST_ROWS = 8192
"""Rows of the largest slice: 126 MB of contexts. A larger one only delays the first answer."""

IN_FLIGHT = 3
"""Slices in progress at once: one copied up, one computed, one copied down."""

_SHARE = 0.8  # of free memory; the rest is for workspaces of libraries, which are not counted here
_PROBE = 8
_FLOAT32_BYTES = 4


class PipelinedPredictor:
    """A model on an accelerator, called with numpy arrays, from one thread or several.

    Raises ``DeviceError`` or ``ArchitectureError`` if the device or the model lacks the ``precision``.
    """

    def __init__(
        self,
        model: ContextModel,
        accelerator: Accelerator,
        *,
        precision: Precision = "fp32",
        max_rows: int = MOST_ROWS,
    ) -> None:
        self.dim = model.dim
        self._accelerator = accelerator
        # Vectors of any norm are sent as float32: float16 rounds small ones to nothing.
        self._sent_as: Precision = "fp32" if model.unit_inputs and precision in DTYPES else precision
        self._max_rows = max_rows
        self._forward = build_form(model, accelerator.device, precision)
        self._fitted: dict[int, int] = {}  # rows at once, by the length of a context
        self._lock = Lock()

    def __call__(self, contexts: Floats) -> Floats:
        """Predict from contexts float32 (n, length, dim). Returns float32 (n, dim), unit norm.

        A context with NaN or infinity gives NaN in its own row only. Raises ArchitectureError if the width is not the
        model's, DeviceError if not even one row fits or the device fails.
        """
        check_contexts(contexts, self.dim)
        predictions = np.empty((len(contexts), self.dim), dtype=np.float32)
        n_done = 0
        while n_done < len(contexts):
            n_done = self._fill(predictions, contexts, n_done)
        return predictions

    def rows_at_once(self, length: int) -> int:
        """Return how many contexts of ``length`` vectors make a slice: as many as fit, fewer once memory ran out."""
        with self._lock:
            if length not in self._fitted:
                self._fitted[length] = self._fitting_rows(length)
            return self._fitted[length]

    def _fill(self, predictions: Floats, contexts: Floats, n_done: int) -> int:
        """Predict rows from ``n_done`` on, until all are done or memory runs out; return how many are done."""
        pending: deque[tuple[slice, PendingResult]] = deque()
        length, size = contexts.shape[1], 0
        try:
            size = min(self.rows_at_once(length), len(contexts) - n_done)
            for start in range(n_done, len(contexts), size):
                rows = slice(start, min(start + size, len(contexts)))
                result = self._accelerator.start(contexts[rows], self._forward, self._sent_as)
                pending.append((rows, result))
                if len(pending) == IN_FLIGHT:
                    n_done = _collect(pending, predictions)
            while pending:
                n_done = _collect(pending, predictions)
        except (RuntimeError, MemoryError) as error:
            if not self._accelerator.is_out_of_memory(error):
                self._raise_explained(error)
        else:
            return n_done
        pending.clear()  # unfinished slices are computed again
        self._halve(length, size)  # only here: before this line the error's frames kept the tensors alive
        return n_done

    def _raise_explained(self, error: Exception) -> NoReturn:
        explained = self._accelerator.explain(error)
        if explained is None:
            raise error
        raise explained from error

    def _halve(self, length: int, size: int) -> None:
        """Halve the size of slices. Raises DeviceError if a slice of one row, or no slice at all, fitted."""
        self._accelerator.release()
        if size <= 1:
            raise DeviceError(
                f"{self._accelerator.name} has too little memory for one context: "
                f"{self._accelerator.free_bytes() / 2**20:,.0f} MiB are free",
                "check what else uses it, for example with nvidia-smi; or use --device cpu",
            )
        with self._lock:
            self._fitted[length] = min(self._fitted[length], size // 2)

    def _fitting_rows(self, length: int) -> int:
        needed = bytes_a_row(self._forward, length=length, dim=self.dim, device=self._accelerator.device)
        copies = IN_FLIGHT * (length + 1) * self.dim * _FLOAT32_BYTES
        fitting = int(self._accelerator.free_bytes() * _SHARE) // (needed + copies)
        return max(1, min(self._max_rows, fitting))


def _collect(pending: deque[tuple[slice, PendingResult]], predictions: Floats) -> int:
    """Wait for the first slice; return the number of rows that are predicted."""
    rows, result = pending[0]
    result.wait(predictions[rows])
    pending.popleft()
    return rows.stop  # type: ignore[no-any-return] # slices have no types


@torch.inference_mode()
def bytes_a_row(
    forward: Callable[[torch.Tensor], torch.Tensor], *, length: int, dim: int, device: torch.device
) -> int:
    """Return the bytes of all tensors that a forward pass makes for one context, an upper bound of its need.

    Tensors that do not grow with the number of rows, such as views of weights, are not counted.
    """
    few, more = (
        _bytes_made(forward, torch.zeros(n_rows, length, dim, device=device))
        for n_rows in (_PROBE, 2 * _PROBE)
    )
    return (more - few) // _PROBE


def _bytes_made(forward: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> int:
    counting = _Counting()
    with counting:
        forward(rows)
    return counting.n_bytes


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of the tensors that operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_bytes = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        made = func(*args, **(kwargs or {}))
        self.n_bytes += sum(tensor.nbytes for tensor in _tensors(made))
        return made


def _tensors(made: object) -> Iterable[torch.Tensor]:
    if isinstance(made, torch.Tensor):
        return (made,)
    return (
        (part for part in made if isinstance(part, torch.Tensor)) if isinstance(made, (tuple, list)) else ()
    )
