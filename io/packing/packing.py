"""Packing: rows of vectors written as Parquet files that a run reads fast, file by file.

The rule: the rows of a source stay in their order, in files of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lvm_batch.io.errors import DataError, NoVectors
from lvm_batch.io.packing.encoding import EncodedRows, Packing
from lvm_batch.io.packing.packed_files import PackedFile, packed_files, sizes_of
from lvm_batch.io.packing.row_stream import RowStream, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lvm_batch.io.packing.packed_files import PackedFiles
    from lvm_batch.io.packing.sources import Source


class Packed(NamedTuple):
    """What a pack has written: its files, what the user should know, and the rows without a usable vector."""

    files: list[PackedFile]
    notices: list[str]
    n_unusable: int


def pack(
    sources: Sequence[Source], output: str, *, packing: Packing, on_rows: Callable[[int], None] | None = None
) -> Packed:
    """Write ``sources`` into the folder or URL ``output``.

    ``on_rows`` is called with the number of rows just written. Raises :class:`OutputError` if the output is not empty
    or cannot be written, :class:`NoVectors` if no row has a vector, and whatever reading the sources raises; then
    nothing is left there.
    """
    _refuse_same_names(sources)
    with packed_files(output) as files:
        encoded = [_pack_one(source, files, packing, on_rows) for source in sources]
        refuse_no_vectors(encoded)
        files.publish()
    return packed_of(files.written, encoded)


def refuse_no_vectors(encoded: Sequence[EncodedRows]) -> None:
    """Raise :class:`NoVectors` if there are rows, and none of them has a vector that can be used."""
    n_rows = sum(rows.source.n_rows for rows in encoded)
    if n_rows and n_rows == sum(rows.n_unusable for rows in encoded):
        source = encoded[0].source
        column = next(iter(source.vectors))
        raise NoVectors(
            f"none of {n_rows:,} rows has a usable vector in `{column}`: every one is null, not {source.shape.width} "
            "floats, or holds a NaN or an infinity",
            f"look at the column with `lvm-batch inspect {source.path}`, or name another one; nothing is written",
        )


def packed_of(files: list[PackedFile], encoded: Sequence[EncodedRows]) -> Packed:
    """Return what was written, with what was found of its rows."""
    notices = [notice for rows in encoded for notice in (*rows.source.notices, *rows.notices())]
    return Packed(files, notices, sum(rows.n_unusable for rows in encoded))


def _pack_one(
    source: Source, files: PackedFiles, packing: Packing, on_rows: Callable[[int], None] | None
) -> EncodedRows:
    """Write the files of a source. Single vectors stay in one: windows slide over them, and none crosses a file."""
    group_rows, file_rows = sizes_of(packing, source.row_bytes)
    if source.shape.length == 1:
        file_rows = max(1, source.n_rows)
    encoded = EncodedRows(source, packing, most_rows=group_rows)
    rows = RowStream(encoded.tables(), encoded.schema, vectors=source.vectors, name=source.path)
    for number, n_rows in enumerate(cut(source.n_rows, file_rows)):
        name = f"{source.stem}-{number:05d}.parquet"
        files.write(name, rows, cut(n_rows, group_rows), source=source, on_rows=on_rows)
    rows.finish()
    return encoded


def _refuse_same_names(sources: Sequence[Source]) -> None:
    by_stem: dict[str, Source] = {}
    for source in sources:
        other = by_stem.setdefault(source.stem, source)
        if other is not source:
            raise DataError(
                f"{other.path} and {source.path} would both write to {source.stem}-00000.parquet",
                "pack them one by one, each into its own output",
            )
