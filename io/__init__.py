"""Arrow, Parquet and file systems: datasets in, predictions out, and the commit protocol between.

    from lvm_batch.io import read_predictions

    read_predictions("OUT").group_by("route").agg(pl.col("cosine").mean()).collect()

The rule: this room knows how bytes become rows and rows become files. It knows neither torch nor Dask, nor what a
model does with a row. Importing it imports nothing; the two public names bring their module on first use, and other
modules are imported by name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvm_batch.io.output.readers import predictions_dataset, read_predictions

__all__ = ["predictions_dataset", "read_predictions"]


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(importlib.import_module(f"{__name__}.output.readers"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
