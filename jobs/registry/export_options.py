"""The options of ``models export``, checked.

The rule: what cannot be written is refused before torch is loaded, and a missing package is named with its command.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.extras import require
from lvm_batch.jobs.settings.options import choice
from lvm_batch.jobs.settings.paths import path_argument

_FORMATS = ("onnx",)

Output = Annotated[
    str, typer.Option("--output", metavar="FILE", help="File to write, .onnx.", parser=path_argument)
]
Format = Annotated[str, choice(*_FORMATS, help="What is written.")]
Opset = Annotated[
    int, typer.Option(metavar="N", help="Operator set of ONNX. Most programs read the default.", min=1)
]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Where a model is written, and as what."""

    output: Output
    format: Format = "onnx"
    opset: Opset = 17

    def check(self) -> None:
        """Raise ``UsageError`` for a format that there is not, ``MissingExtra`` if its packages are not installed."""
        if self.format not in _FORMATS:
            raise UsageError(f"--format cannot be {self.format!r}", f"it can be {' or '.join(_FORMATS)}")
        for package in ("onnx", "onnxruntime"):
            require(package, option="models export --format onnx", extra="onnx")
