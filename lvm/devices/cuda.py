"""NVIDIA's GPUs, with copies that run during computation.

The rule: the CPU waits for the GPU in ``wait`` alone; events order the streams among themselves.

Rows pass three streams: up, through the model, down. Both copies go through pinned memory, since other copies block;
its buffers are reused, since pinning takes longer than copying.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import torch

from lvm_batch.lvm.devices.arrays import as_tensor
from lvm_batch.lvm.devices.devices import device_name, round_products
from lvm_batch.lvm.devices.precision import DTYPES
from lvm_batch.lvm.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lvm_batch.lvm.devices.accelerator import Floats
    from lvm_batch.lvm.devices.precision import Precision

# The errors of libraries other than torch's allocator when memory runs out.
_NO_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


class _Pinned:
    """Pinned memory that grows to the largest tensor needed so far."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        n_bytes = torch.Size(shape).numel() * dtype.itemsize
        if self._bytes.numel() < n_bytes:
            self._bytes = torch.empty(n_bytes, dtype=torch.uint8, pin_memory=True)
        return self._bytes[:n_bytes].view(dtype).view(shape)


class _Staging:
    """The pinned memory of one pending result: rows on their way up, predictions on their way down."""

    def __init__(self) -> None:
        self.up = _Pinned()
        self.down = _Pinned()


class _CudaResult:
    """Predictions that are in pinned memory once the event has happened."""

    def __init__(
        self, owner: CudaAccelerator, staging: _Staging, predictions: Tensor, done: torch.cuda.Event
    ) -> None:
        self._owner = owner
        self._staging = staging
        self._predictions = predictions
        self._done = done

    def wait(self, out: Floats) -> None:
        self._done.synchronize()
        torch.from_numpy(out).copy_(self._predictions)
        self._owner.reuse(self._staging)


class CudaAccelerator:
    """One GPU, used by this process alone."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.name = device_name(device)
        self._up, self._compute, self._down = (torch.cuda.Stream(device) for _ in range(3))  # type: ignore[no-untyped-call]
        self._lock = Lock()
        self._idle: list[_Staging] = []

    def free_bytes(self) -> int:
        """Return the bytes that the driver has left, plus those that torch keeps for reuse."""
        free, _ = torch.cuda.mem_get_info(self.device)
        reusable = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free + reusable

    def start(self, rows: Floats, forward: Callable[[Tensor], Tensor], precision: Precision) -> _CudaResult:
        """Copy rows into pinned memory, and enqueue the rest.

        16-bit rows are rounded before they are sent, which halves the transfer. A result that is dropped before
        ``wait`` loses its buffers: torch frees pinned memory only after the copies from it.
        """
        staging = self._staging()
        staged = staging.up.tensor(rows.shape, DTYPES.get(precision, torch.float32))
        staged.copy_(as_tensor(rows))
        with self._lock, torch.inference_mode(), torch.cuda.device(self.device):
            return self._enqueue(staging, staged, forward, precision)

    def _enqueue(
        self, staging: _Staging, staged: Tensor, forward: Callable[[Tensor], Tensor], precision: Precision
    ) -> _CudaResult:
        with torch.cuda.stream(self._up):
            rows = staged.to(self.device, non_blocking=True)
        self._compute.wait_stream(self._up)
        self._compute.wait_stream(torch.cuda.default_stream(self.device))  # the stream that sent the weights
        rows.record_stream(self._compute)  # otherwise torch could reuse its memory too soon
        with torch.cuda.stream(self._compute):
            predictions = _forward(forward, rows, allow_tf32=precision == "tf32")
        self._down.wait_stream(self._compute)
        predictions.record_stream(self._down)
        with torch.cuda.stream(self._down):
            received = staging.down.tensor(tuple(predictions.shape), predictions.dtype)
            received.copy_(predictions, non_blocking=True)
            done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call] # a waiting thread uses no core
            done.record(self._down)
        return _CudaResult(self, staging, received, done)

    def _staging(self) -> _Staging:
        with self._lock:
            return self._idle.pop() if self._idle else _Staging()

    def reuse(self, staging: _Staging) -> None:
        """Keep the buffers of a finished result for reuse."""
        with self._lock:
            self._idle.append(staging)

    def release(self) -> None:
        """Free the buffers, and empty torch's cache."""
        with self._lock:
            self._idle.clear()
        torch.cuda.empty_cache()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Return whether memory ran out, by torch's class or by the messages of CUDA's libraries."""
        return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _NO_MEMORY)

    def explain(self, error: BaseException) -> DeviceError | None:
        """Return the error of a failed device, which cannot compute in this process any more."""
        if not isinstance(error, torch.AcceleratorError):
            return None
        first = str(error).split("\n", 1)[0]
        return DeviceError(
            f"{self.name} failed: {first}", "check it with nvidia-smi, and read the system's log"
        )


def _forward(forward: Callable[[Tensor], Tensor], rows: Tensor, *, allow_tf32: bool) -> Tensor:
    """Allow TF32 while the model is enqueued, and at no other time."""
    round_products(allow=allow_tf32)
    try:
        return forward(rows)
    finally:
        round_products(allow=False)
