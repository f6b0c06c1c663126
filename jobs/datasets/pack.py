"""Packs arrays and Parquet files into Parquet that a run reads fast.

The rule: every option and every input is checked before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ByteSize, TypeAdapter, ValidationError

from lvm_batch.io.dataset.data_files import PACKABLE
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.packing.encoding import Encoding, Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import PackedFile, pack
from lvm_batch.io.packing.sources import Reading, Source
from lvm_batch.io.schema import ColumnNames, OutputDtype, Pad, WindowShape
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.console.text import as_lines, plural
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.places import Place, check_places

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MIB = 2**20
_ROWS_HINT = "it can be a number of rows, or a size such as 1GiB"


@dataclass(frozen=True, slots=True)
class PackOptions:
    """The options as they are on the command line."""

    encoding: str
    dtype: str | None
    rows_per_file: str
    pad: str
    leave_out: tuple[str, ...]
    names: ColumnNames


@dataclass(frozen=True, slots=True)
class PackingPlan:
    """What to pack, how to encode it, and what the user should know of the inputs."""

    sources: Sequence[Source]
    packing: Packing
    notices: Sequence[str]


def plan_packing(inputs: Sequence[str], output: str, options: PackOptions) -> PackingPlan:
    """Check the options and every input; raises ``SettingsError`` or ``DataError``."""
    packing, pad = _check_options(options)
    listing = look_for_files(inputs, PACKABLE)
    output_place = Place(
        "the output", "--output", output, [f"{file.stem}-00000.parquet" for file in listing.files]
    )
    check_places([output_place], dataset=inputs, files=listing.files)
    reading = Reading(options.names, packing.shape, frozenset(options.leave_out), pad)
    sources = [source for file in listing.files for source in find_sources(file, reading)]
    return PackingPlan(sources, packing, listing.notices)


def write_packed(
    plan: PackingPlan, output: str, *, on_rows: Callable[[int], None]
) -> tuple[dict[str, Any], str]:
    """Write the files to ``output`` and return what was written, as values and as text; raises ``DataError``."""
    packing = plan.packing
    files, notices = pack(plan.sources, output, packing=packing, on_rows=on_rows)
    values = {
        "output": locate(output).text,
        "rows": sum(file.n_rows for file in files),
        "bytes": sum(file.n_bytes for file in files),
        "encoding": packing.encoding,
        "files": [_file_values(file) for file in files],
        "notices": [*plan.notices, *notices],
    }
    return values, _as_text(values)


def _file_values(file: PackedFile) -> dict[str, Any]:
    source = file.source
    return {
        "name": file.name,
        "rows": file.n_rows,
        "bytes": file.n_bytes,
        "source": source.path,
        "part": source.part or None,
        "columns": [*source.vectors, *source.others.names],
    }


def _as_text(values: dict[str, Any]) -> str:
    files = values["files"]
    parts = sorted({file["part"] or "" for file in files})
    inputs = [values["output"]] if "" in parts else [f"{values['output']}/{part}" for part in parts]
    columns = list(dict.fromkeys(name for file in files for name in file["columns"]))
    lines = {
        "output": values["output"],
        "rows": f"{values['rows']:,} in {plural(len(files), 'file')}, {values['bytes'] / _MIB:,.1f} MiB",
        "vectors": values["encoding"],
        "columns": ", ".join(columns),
        **{f"note {number}": notice for number, notice in enumerate(values["notices"], 1)},
        "next": "; ".join(f"lvm-batch {_next(columns)} {folder} --output …" for folder in inputs),
    }
    return as_lines(lines)


def _next(columns: Sequence[str]) -> str:
    """Return the command that reads the packed files: vectors without an article make no windows."""
    return "bank build" if list(columns) == ["vector"] else "run"


def _check_options(options: PackOptions) -> tuple[Packing, Pad]:
    problems: list[Problem] = []
    encoding = _choice("--encoding", options.encoding, get_args(Encoding), problems)
    dtype = _choice("--dtype", options.dtype, get_args(OutputDtype), problems) if options.dtype else None
    pad = _choice("--pad", options.pad, get_args(Pad), problems)
    rows, n_bytes = _file_size(options.rows_per_file, problems)
    if problems:
        raise SettingsError(*problems)
    return Packing(WindowShape(), encoding, dtype, rows, n_bytes), pad


def _choice(flag: str, value: str, allowed: tuple[str, ...], problems: list[Problem]) -> Any:  # noqa: ANN401 - one of ``allowed``
    if value not in allowed:
        problems.append(Problem(f"{flag} cannot be {value!r}", f"it can be {', '.join(allowed)}"))
    return value


def _file_size(text: str, problems: list[Problem]) -> tuple[int | None, int]:
    """Return the number of rows if ``text`` is a plain number, and else the number of bytes."""
    is_rows = text.isdecimal()
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if size < 1 or not (is_rows or text[-1].isalpha()):
        problems.append(Problem(f"--rows-per-file cannot be {text!r}", _ROWS_HINT))
    return (size, 0) if is_rows else (None, size)
