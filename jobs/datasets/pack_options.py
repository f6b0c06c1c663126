"""The options of packing, checked.

The rule: everything that is wrong with them is reported at once, before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ByteSize, TypeAdapter, ValidationError

from lvm_batch.io.packing.encoding import Encoding, Packing
from lvm_batch.io.schema import FloatDtype, Pad
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.processes.resources import usable_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

_MIB = 2**20
_ROWS_HINT = "it can be a number of rows, or a size such as 1GiB"
# Python, Arrow and DuckDB take 200 MiB with what they keep of their first use, and a row group that is written takes 64
# (2026-11-29, pyarrow 26, DuckDB 2.0).
_PROCESS_BYTES = 264 * _MIB
_LEAST_BYTES = 384 * _MIB
_SHARE, _USUAL_LEAST_BYTES, _USUAL_MOST_BYTES = 4, 512 * _MIB, 4096 * _MIB


@dataclass(frozen=True, slots=True)
class PackOptions:
    """The options as they are on the command line; ``given`` maps parts to the columns that the user has named."""

    encoding: str | None
    dtype: str | None
    rows_per_file: str
    pad: str
    leave_out: tuple[str, ...]
    given: Mapping[str, str]
    sort: bool = False
    memory_limit: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedOptions:
    """The same, checked; ``encoding`` is ``None`` where it follows from the width of the vectors.

    ``sort_memory`` is what sorting may hold, in bytes, ``None`` if nothing is sorted.
    """

    encoding: Encoding | None
    packing: Packing
    pad: Pad
    leave_out: frozenset[str]
    given: Mapping[str, str]
    sort_memory: int | None


def check_options(options: PackOptions) -> CheckedOptions:
    """Check every option; raises ``SettingsError``."""
    problems: list[Problem] = []
    encoding = (
        _choice("--encoding", options.encoding, get_args(Encoding), problems) if options.encoding else None
    )
    dtype = _choice("--dtype", options.dtype, get_args(FloatDtype), problems) if options.dtype else None
    pad = _choice("--pad", options.pad, get_args(Pad), problems)
    rows, n_bytes = _file_size(options.rows_per_file, problems)
    memory = _sort_memory(options, problems)
    if problems:
        raise SettingsError(*problems)
    packing = Packing(dtype=dtype, file_rows=rows, file_bytes=n_bytes)
    return CheckedOptions(encoding, packing, pad, frozenset(options.leave_out), options.given, memory)


def _choice(flag: str, value: str, allowed: tuple[str, ...], problems: list[Problem]) -> Any:  # noqa: ANN401 - one of ``allowed``
    if value not in allowed:
        problems.append(Problem(f"{flag} cannot be {value!r}", f"it can be {', '.join(allowed)}"))
    return value


def _file_size(text: str, problems: list[Problem]) -> tuple[int | None, int]:
    """Return the number of rows if ``text`` is a plain number, and else the number of bytes."""
    is_rows = text.isdecimal()
    size = _size(text)
    if size < 1 or not (is_rows or text[-1].isalpha()):
        problems.append(Problem(f"--rows-per-file cannot be {text!r}", _ROWS_HINT))
    return (size, 0) if is_rows else (None, size)


def _sort_memory(options: PackOptions, problems: list[Problem]) -> int | None:
    text = options.memory_limit
    if text is not None and _size(text) < _LEAST_BYTES:
        hint = f"it can be a size of at least {_LEAST_BYTES // _MIB}MiB, such as 2GiB"
        problems.append(Problem(f"--memory-limit cannot be {text!r}", hint))
    if text is not None and not options.sort:
        problems.append(Problem("--memory-limit needs --sort", "leave it out, or add --sort"))
    if not options.sort:
        return None
    usual = min(max(usable_memory() // _SHARE, _USUAL_LEAST_BYTES), _USUAL_MOST_BYTES)
    return (usual if text is None else _size(text)) - _PROCESS_BYTES


def _size(text: str) -> int:
    """Return a size in bytes, 0 for a text that is none."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        return 0
