"""Models and what is done with them: checkpoints, inference, routing, neighbour search, training, evaluation.

    from lvm_batch.lvm import Predictor, load_checkpoint, pick_device

    checkpoint = load_checkpoint(Path("amn.pt").read_bytes(), "amn.pt")
    predictions = Predictor(checkpoint.model, pick_device("auto"))(contexts)

The rule: importing this room loads neither torch nor numpy; a public name loads its module on first use. The names are
declared once, in ``__init__.pyi``, for type checkers and for this module (as Scientific Python's SPEC 1 does it); every
other name is imported from its own module.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_MODULES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+) as", _STUB, re.MULTILINE)}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    """Import a public name's module on first use (PEP 562)."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
