"""The choice of the device and of the number of threads.

The rule: a named device is returned or refused, never replaced by another.
"""

from __future__ import annotations

import os

import torch

from lvm_batch.lvm.devices import onednn
from lvm_batch.lvm.devices.facts import DeviceFacts
from lvm_batch.lvm.devices.precision import multiplies_bf16
from lvm_batch.lvm.errors import DeviceError

DEVICES = ("auto", "cpu", "cuda", "mps")

_GIB = 2**30


def pick_device(name: str) -> torch.device:
    """Return the named device; ``auto`` is the first available of cuda, mps and cpu. Raises DeviceError.

    As a side effect TF32 is turned off for the whole process, so that float32 is float32 on CUDA too.
    """
    round_products(allow=False)
    available = [*_accelerators(), "cpu"]
    if name == "auto":
        return torch.device(available[0])
    if name not in DEVICES:
        raise DeviceError(f"there is no device {name!r}", f"known: {', '.join(DEVICES)}")
    if name not in available:
        raise DeviceError(f"this machine has no {name} device", f"available: {', '.join(available)}")
    return torch.device(name)


def find_device(name: str) -> DeviceFacts:
    """Return the device that :func:`pick_device` picks, with a description. Raises DeviceError."""
    kind = pick_device(name).type
    why = _reason(kind) if name == "auto" else ""
    if kind == "cpu":
        return DeviceFacts(
            kind, kind, why, gains_by_bf16=multiplies_bf16(), plain_precisions=onednn.plain_precisions()
        )
    if kind != "cuda":
        return DeviceFacts(kind, kind, why)
    return DeviceFacts(kind, _cuda_name(), why, _visible_gpus())


def device_name(device: torch.device) -> str:
    """Return a device's kind, and for CUDA also its model and its memory."""
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    return f"cuda, {properties.name}, {properties.total_memory / _GIB:,.0f} GiB"


def round_products(*, allow: bool) -> None:
    """Set whether CUDA may round float32 products to TF32; cuDNN's recurrent layers do so by default."""
    kind = "tf32" if allow else "ieee"
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.rnn.fp32_precision = kind  # type: ignore[attr-defined]


def set_threads(n_threads: int) -> None:
    """Set the number of CPU threads that torch uses within an operation, in this process."""
    torch.set_num_threads(n_threads)


def _accelerators() -> list[str]:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, is_present in present.items() if is_present]


def _reason(kind: str) -> str:
    if kind == "cuda":
        return "this machine has CUDA"
    without_cuda = "this machine has no CUDA" if torch.version.cuda else "this build of torch has no CUDA"
    if kind == "mps":
        return without_cuda
    return (
        "this machine has neither CUDA nor MPS"
        if torch.version.cuda
        else f"{without_cuda}, and there is no MPS"
    )


def _cuda_name() -> str:
    """Return the name of the first GPU and the number of GPUs; machines with several kinds are rare."""
    count, first = torch.cuda.device_count(), device_name(torch.device("cuda", 0))
    return first if count == 1 else first.replace("cuda, ", f"cuda, {count} x ", 1)


def _visible_gpus() -> tuple[str, ...]:
    """Return the entries of CUDA_VISIBLE_DEVICES (numbers, UUIDs or MIG names) that CUDA knows."""
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if given is None else map(str.strip, given.split(","))
    return tuple(names)[:count]
