"""Parquet files: opened and read in order, with errors that name the file and the row group, and written for speed.

The rule: rows come in batches cut at fixed counts from the first row asked for, whatever pages, row groups or
dictionaries lie underneath. This module does not know what the columns mean.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.locations import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@contextmanager
def open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    """Open the Parquet file at ``path``; raises :class:`UnreadableFile` if it is none, or is damaged."""
    place = locate(path)
    with _naming(path, "its footer"):
        source = place.path if place.is_local else place.filesystem.open_input_file(place.path)
        file = pq.ParquetFile(source, memory_map=place.is_local, pre_buffer=not place.is_local)
        schema = file.schema_arrow  # an unreadable schema shows here, not later
    del schema
    with file:
        yield file


def read_tables(
    file: pq.ParquetFile, path: str, *, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
) -> Iterator[pa.Table]:
    """Yield the rows of ``row_groups`` in tables of exactly ``batch_rows`` rows, the last one with what is left."""
    waiting: list[pa.RecordBatch] = []
    n_waiting = 0
    for batch in _record_batches(file, path, row_groups, columns, batch_rows):
        waiting.append(batch)
        n_waiting += batch.num_rows
        while n_waiting >= batch_rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, batch_rows)
            waiting = table.slice(batch_rows).to_batches()
            n_waiting -= batch_rows
    if n_waiting:
        yield pa.Table.from_batches(waiting)


def _record_batches(
    file: pq.ParquetFile, path: str, row_groups: Iterable[int], columns: Sequence[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    for row_group in row_groups:
        # One thread: the cores belong to the workers, each of which reads on its own.
        batches = file.iter_batches(
            batch_size=batch_rows, row_groups=[row_group], columns=list(columns), use_threads=False
        )
        while True:
            with _naming(path, f"row group {row_group}"):
                batch = next(batches, None)
            if batch is None:
                break
            yield batch.select(list(columns))


@contextmanager
def _naming(path: str, part: str) -> Iterator[None]:
    """Turn what Arrow and the file system raise into an error that says where."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableFile(
            f"{path} is not there any more", "bring it back, then run again", path
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as Parquet, {part}: {_first_line(error)}",
            "write the file again; or leave it out with --on-bad-file skip",
            path,
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def leaf_options(schema: pa.Schema, *, vectors: Iterable[str]) -> dict[str, Any]:
    """Choose a writer's encodings leaf by leaf: random mantissas neither compress nor repeat nor sort.

    zstd would save 7 % of the columns ``vectors`` and halve the speed at which they are read back.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    described = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    leaves = [described.column(i).path for i in range(len(described))]
    plain = [leaf for leaf in leaves if any(f"{leaf}.".startswith(f"{name}.") for name in vectors)]
    others = [leaf for leaf in leaves if leaf not in plain]
    return {
        "compression": dict.fromkeys(others, "zstd") | dict.fromkeys(plain, "none"),
        "use_dictionary": others,
        "write_statistics": others,
    }
