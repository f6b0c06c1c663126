"""Checks the names of columns that the settings carry, leave out or rename.

The rule: a name that no file has is an error before work, together with the others, with the nearest name that would
do. Names of the output's own columns and of vectors are answered by what to do in their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.dataset.partitions import folder_texts
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import FILE_ARTICLE, NEIGHBOUR_COLUMNS, OUTPUT_COLUMNS, PREDICTION
from lvm_batch.jobs.console.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.io.dataset.units import Footer
    from lvm_batch.jobs.settings.run import RunSettings

_SHOWN = 12


class _Names(NamedTuple):
    """Names in all files: of columns that can be carried, of vectors, and of columns in the outputs' folders."""

    carriable: dict[str, None]
    vectors: frozenset[str]
    folders: frozenset[str]


def carried_column_errors(settings: RunSettings, footers: Sequence[Footer]) -> Iterator[ColumnError]:
    """Yield what is wrong with the names that ``--columns``, ``--drop`` and ``--rename`` give."""
    names = _names(footers)
    for name in settings.columns:
        if name not in names.carriable and name not in names.folders:
            yield _unknown("--columns", name, names)
    for name in settings.drop:
        if name in names.folders:
            yield ColumnError(
                f"--drop {name}: it is in the names of folders, which the output keeps",
                "leave --drop out; readers of the output need not read the column",
            )
        elif name not in names.carriable:
            yield _unknown("--drop", name, names)
    yield from _rename_errors(settings, footers, names)
    yield from _neighbour_errors(settings, footers)


def _names(footers: Sequence[Footer]) -> _Names:
    forms = {(id(footer.schema), id(footer.roles)): footer for footer in footers}.values()
    vectors = {name for each in forms for name in (each.roles.vectors, each.roles.target) if name}
    folders = {name for footer in footers for name in folder_texts(footer.file.name)}
    every = dict.fromkeys(name for each in forms for name in each.schema.names)
    carriable = {name: None for name in every if name not in vectors and name != FILE_ARTICLE}
    return _Names(carriable, frozenset(vectors), frozenset(folders))


def _unknown(flag: str, name: str, names: _Names) -> ColumnError:
    if name == PREDICTION and flag == "--drop":
        return ColumnError(f"{flag} {name}: no file has such a column", "--no-prediction leaves it out")
    if name in (*OUTPUT_COLUMNS, *NEIGHBOUR_COLUMNS):
        return ColumnError(
            f"{flag} {name}: the job adds this column and always writes it",
            f"give only columns of the input, or leave out {flag} {name}",
        )
    if name in names.vectors:
        return ColumnError(
            f"{flag} {name}: it holds vectors, which are never carried to the output",
            f"leave out {flag} {name}",
        )
    return ColumnError(f"{flag} {name}: no file has a column `{name}`", _hint(flag, name, names))


def _hint(flag: str, name: str, names: _Names) -> str:
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and all(part in names.carriable for part in parts):
        return "give each column separately: " + " ".join(f"{flag} {part}" for part in parts)
    return _nearest_or_all(name, list(names.carriable))


def _nearest_or_all(name: str, names: Sequence[str]) -> str:
    if near := nearest(name, names):
        return f"did you mean `{near}`?"
    shown = ", ".join(f"`{each}`" for each in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more: `lvm-batch inspect` lists them" if len(names) > _SHOWN else ""
    return f"there are {shown}{more}" if names else "there are only columns of vectors"


def _rename_errors(settings: RunSettings, footers: Sequence[Footer], names: _Names) -> Iterator[ColumnError]:
    carried = dict.fromkeys(name for footer in footers for name in footer.roles.carried)
    for pair in settings.rename:
        old = pair.split("=", 1)[0]
        if old in carried:
            continue
        if old in names.carriable:
            yield ColumnError(
                f"--rename {pair}: `{old}` is not carried to the output",
                f"leave out --rename {pair}, or carry `{old}`: see --columns and --drop",
            )
            continue
        yield ColumnError(
            f"--rename {pair}: no file has a column `{old}` that is carried to the output",
            _nearest_or_all(old, list(carried)),
        )


def _neighbour_errors(settings: RunSettings, footers: Sequence[Footer]) -> Iterator[ColumnError]:
    """Yield the carried columns that have the names of those that ``--neighbours`` adds."""
    carried = {old: new for footer in footers for old, new in footer.roles.carried.items()}
    for old, new in carried.items():
        if settings.neighbours and new.lower() in NEIGHBOUR_COLUMNS:
            yield ColumnError(
                f"column `{old}` would be carried as `{new}`, which --neighbours adds",
                f"give it another name in the output: --rename {old}=source_{old}; or leave it out: --drop {old}",
            )
