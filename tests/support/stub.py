"""Writes ``jobs/package/__init__.pyi``, where type checkers and editors read the public names: ``make stubs``.

The rule: everything in it follows from ``_MODULES`` of ``lvm_batch`` and from the signatures of the functions.
"""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import lvm_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

STUB = Path(lvm_batch.__file__).with_suffix(".pyi")

_HEAD = """\
# The public names, for type checkers and editors. Written by `make stubs`: change a function or a setting, not this.

from collections.abc import Mapping, Sequence
from datetime import date
from os import PathLike
from typing import Any, Literal
"""


def stub_text() -> str:
    """Return the stub of ``lvm_batch`` as it should be, but for its layout."""
    return "\n".join((_HEAD, *sorted(_imports()), "\n__version__: str\n", *map(_function, _functions())))


def _functions() -> list[FunctionType]:
    """The functions whose parameters follow from settings."""
    public = (getattr(lvm_batch, name) for name in lvm_batch._MODULES)
    return [each for each in public if isinstance(each, FunctionType) and "jobs.python" in each.__module__]


def _imports() -> Iterator[str]:
    functions = {function.__name__ for function in _functions()}
    for name, module in lvm_batch._MODULES.items():
        if name not in functions:
            yield f"from {module} import {name} as {name}"


def _function(function: FunctionType) -> str:
    signature = inspect.signature(function)
    parameters = signature.replace(return_annotation=inspect.Signature.empty).parameters.values()
    keyword_only = next((each.name for each in parameters if each.kind is each.KEYWORD_ONLY), None)
    lines = [f"{'*, ' if each.name == keyword_only else ''}{_parameter(each)}," for each in parameters]
    document = textwrap.indent(f'"""{inspect.getdoc(function)}\n"""', "    ")
    result = function.__annotations__["return"]
    return f"def {function.__name__}({' '.join(lines)}) -> {result}:\n{document}\n"


def _parameter(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


if __name__ == "__main__":
    STUB.write_text(stub_text(), encoding="utf-8")
