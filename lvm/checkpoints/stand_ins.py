"""Stand-ins for the objects beside the weights of a checkpoint: numpy's scalars, arguments, random states.

The rule: a stand-in does nothing of what the real object does. A scalar becomes a plain number, a table a dict, and
everything else is empty, so that no code of the file's libraries runs, and they need not be installed.
"""

from __future__ import annotations

import math
import pathlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_FORMATS = {
    "f2": "e", "f4": "f", "f8": "d", "b1": "?",
    "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
}  # fmt: skip
"""Numpy's codes of types, and struct's codes for them."""


@dataclass(frozen=True, slots=True)
class PlainTensor:
    """A tensor of a file: its shape, and whether it holds floats."""

    shape: tuple[int, ...]
    is_float: bool

    def numel(self) -> int:
        """Return the number of its values."""
        return math.prod(self.shape)

    def is_floating_point(self) -> bool:
        """Return whether it holds floats."""
        return self.is_float


class Nothing:
    """An empty object in place of anything that a model does not need."""

    def __init__(self, *_: object) -> None:
        """Accept and ignore the real object's arguments."""

    def __setstate__(self, _: object) -> None:
        pass


class Table(dict[Any, Any]):
    """A plain dict in place of a library's dict of settings."""

    def __setstate__(self, _: object) -> None:
        pass


class Dtype:
    """The type of a numpy scalar: its code, and the order of its bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        self.format = _FORMATS.get(code) if isinstance(code, str) else None
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and ">" in state[1:2]:
            self.order = ">"


def plain_dict(content: dict[Any, Any]) -> dict[Any, Any]:
    """Return a copy as a plain dict, without calling its methods: an OrderedDict in a file may bring attributes."""
    return dict(dict.items(content))


def scalar(dtype: object = None, raw: object = None) -> object:
    """Return the value of a numpy scalar as a plain number, or an empty object."""
    if not isinstance(dtype, Dtype) or dtype.format is None or not isinstance(raw, bytes):
        return Nothing()
    form = dtype.order + dtype.format
    return struct.unpack(form, raw)[0] if len(raw) == struct.calcsize(form) else Nothing()


def nothing(*_: object) -> Nothing:
    """Return an empty object, in place of any function."""
    return Nothing()


_OF_NUMPY: dict[str, Callable[..., Any]] = {"scalar": scalar, "_reconstruct": nothing}

STAND_INS: dict[str, Callable[..., Any]] = {
    **{
        f"{module}.{kind}{flavour}Path": getattr(pathlib, f"Pure{flavour}Path")
        for module in ("pathlib", "pathlib._local")  # the module in Python 3.13
        for kind in ("", "Pure")
        for flavour in ("Posix", "Windows", "")
    },
    **{
        f"numpy.{core}.multiarray.{name}": stand_in
        for core in ("core", "_core")  # numpy 1 and 2
        for name, stand_in in _OF_NUMPY.items()
    },
    "numpy.dtype": Dtype,
    "numpy.ndarray": Nothing,
    "argparse.Namespace": Nothing,
    "pytorch_lightning.utilities.parsing.AttributeDict": Table,
    "lightning.pytorch.utilities.parsing.AttributeDict": Table,
    "lightning_fabric.utilities.data.AttributeDict": Table,
    "lightning.fabric.utilities.data.AttributeDict": Table,
}
"""The names that a pickle may contain beside those of weights, each with its stand-in.

A path becomes a pure path, which cannot access a disk.
"""
