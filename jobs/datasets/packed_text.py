"""What a pack has written, as values and as text, with the commands that come next.

The rule: the commands can be pasted as they are.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import ColumnNames
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.console.text import as_lines, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from lvm_batch.io.packing.packed_files import PackedFile
    from lvm_batch.io.packing.packing import Packed

_MIB = 2**20
_USUAL = ColumnNames()
_ORDERED = ("context", "target", "vector", "article", "position")


def packed_values(
    packed: Packed,
    output: str,
    *,
    encoding: str,
    notices: Sequence[str],
    parts: Mapping[str, str],
    in_order: bool,
) -> dict[str, Any]:
    """Return what was written; ``parts`` maps the parts that the columns play to their names, and ``in_order`` says
    that the rows have been sorted.
    """
    files = packed.files
    folders = list(dict.fromkeys(file.source.part if file.source else "" for file in files))
    columns = {name for file in files for name in file.columns}
    place = locate(output).text
    return {
        "output": place,
        "rows": sum(file.n_rows for file in files),
        "bytes": sum(file.n_bytes for file in files),
        "encoding": encoding,
        "files": [_file_values(file) for file in files],
        "rows_without_vector": packed.n_unusable,
        "notices": [*notices, *packed.notices],
        "next": list(_next_commands(place, folders, parts, columns, in_order=in_order)),
    }


def packed_text(values: Mapping[str, Any]) -> str:
    """Return what was written as lines of text."""
    files = values["files"]
    columns = list(dict.fromkeys(name for file in files for name in file["columns"]))
    lost = values["rows_without_vector"]
    lines = {
        "output": values["output"],
        "rows": f"{values['rows']:,} in {plural(len(files), 'file')}, {values['bytes'] / _MIB:,.1f} MiB"
        + (f", {lost:,} of them without a usable vector" if lost else ""),
        "vectors": values["encoding"],
        "columns": ", ".join(columns),
        **{f"note {number}": notice for number, notice in enumerate(values["notices"], 1)},
    }
    next_lines = "\n".join(f"{'next' * (not number):<10}{line}" for number, line in enumerate(values["next"]))
    return f"{as_lines(lines)}\n{next_lines}"


def _file_values(file: PackedFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "rows": file.n_rows,
        "bytes": file.n_bytes,
        "source": file.source.path if file.source else None,
        "part": (file.source.part or None) if file.source else None,
        "columns": list(file.columns),
    }


def _next_commands(
    output: str,
    folders: Sequence[str],
    parts: Mapping[str, str],
    columns: Collection[str],
    *,
    in_order: bool,
) -> Iterator[str]:
    """Yield the way from packed files to predictions: a model, a bank, a run. Vectors alone make a bank."""
    base = output.rstrip("/")
    packed = [f"{base}/{folder}" if folder else base for folder in folders]
    flags = _flags(parts)
    bank = f"lvm-batch bank build {quote(packed[0])}{_flags(parts, ('vector',))} --output {quote(f'{base}-bank')}"
    if "vector" in parts and "article" in parts and not in_order:
        yield f"lvm-batch inspect {quote(packed[0])}"  # rows of arrays and lines may be in any order
        return
    if "vector" in parts and "article" not in parts:
        yield bank if columns == {parts["vector"]} else f"lvm-batch inspect {quote(packed[0])}"
        return
    yield f"lvm-batch train {quote(packed[0])}{flags} --arch amn --output {quote(f'{base}-model')}"
    with_bank = ""
    if "vector" in parts:
        yield bank
        with_bank = f" --bank {quote(f'{base}-bank')}"
    model = quote(f"{base}-model/best_model.pt")
    for folder, name in zip(packed, folders, strict=True):
        predictions = quote(f"{base}-predictions{f'-{name}' if name else ''}")
        yield f"lvm-batch run {quote(folder)}{flags} --model {model}{with_bank} --output {predictions}"


def _flags(
    parts: Mapping[str, str], wanted: Sequence[str] = ("context", "target", "vector", "article", "position")
) -> str:
    """Return the options that name the columns which do not have their usual names."""
    return "".join(
        f" --{part.replace('_', '-')}-column {quote(parts[part])}"
        for part in wanted
        if part in parts and parts[part] != getattr(_USUAL, part)
    )
