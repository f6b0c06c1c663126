"""The errors that a user of models can cause and mend.

    ModelError                what a caller catches to handle everything below
    ├── CheckpointError       a file of weights that cannot be used
    ├── ArchitectureError     an unknown architecture, or vectors that do not fit one
    ├── BankError             a neighbour bank that cannot be searched
    ├── RouterError           a fitted router that cannot be used, or not with these models
    ├── DeviceError           a device that this machine does not have
    └── MissingExtra          an optional package is not installed; the hint holds the command

The rule: every error carries ``(message, hint)``, what went wrong and where, and what to do about it, and survives
pickling between processes. ``kind`` is a stable code for programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.errors import LvmBatchError

if TYPE_CHECKING:
    from collections.abc import Iterable


class ModelError(LvmBatchError):
    """A model, a registry of models or a bank cannot be used."""

    kind = "model"


class CheckpointError(ModelError):
    """A checkpoint cannot be loaded: damaged, unsafe, or not the weights of a known architecture."""

    kind = "checkpoint"


class ArchitectureError(ModelError):
    """The architecture is unknown, or the vectors do not fit it."""

    kind = "architecture"


class BankError(ModelError):
    """A bank of vectors is malformed, or its dimension is not that of the queries."""

    kind = "bank"


class RouterError(ModelError):
    """A file is no router, a damaged one, or one that was fitted on other models."""

    kind = "router"


class DeviceError(ModelError):
    """The device is not available on this machine, or lacks what a model needs."""

    kind = "device"


class MissingExtra(ModelError):
    """An optional package is not installed. The hint is the exact pip command."""

    kind = "missing_extra"


def did_you_mean(name: str, known: Iterable[str], *, most: int) -> str:
    """Return a hint with at most ``most`` known names that resemble ``name``, "" if none does."""
    import difflib  # noqa: PLC0415 - quick commands import this module

    near = difflib.get_close_matches(name, list(known), n=most, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else ""
