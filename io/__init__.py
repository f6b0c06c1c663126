"""Arrow, Parquet and file systems: datasets in, predictions out, and the commit protocol between.

    from lvm_batch.io import read_predictions

    read_predictions("OUT").group_by("route").agg(pl.col("cosine").mean()).collect()

The rule: this room knows how bytes become rows and rows become files. It knows neither torch nor Dask, nor what a
model does with a row. Importing it imports nothing; the public names bring their module on first use, and other
modules are imported by name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.io.output.readers import predictions_dataset, read_predictions
    from lvm_batch.io.vectors.stored import decode_predictions

_READERS = "output.readers"

_MODULES = {
    "decode_predictions": "vectors.stored",
    "predictions_dataset": _READERS,
    "read_predictions": _READERS,
}

__all__ = ["decode_predictions", "predictions_dataset", "read_predictions"]


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
