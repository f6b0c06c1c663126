"""The history of runs: a folder, on any store, that gets one small Parquet file for each run.

    PATH/date=YYYY-MM-DD/<started>-<job id>.parquet

The rule: a file is created whole under a name of its own and never changed, so that runs anywhere can add to one
history at once. What cannot be understood is an error that names the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from lvm_batch.io.errors import DataError, InputNotFound, OutputError, UnreadableFile
from lvm_batch.io.history.run_entry import SCHEMA, YOUNGER, RunEntry, row_of, run_of
from lvm_batch.io.storage.listing import is_hidden, listing, look_at
from lvm_batch.io.storage.locations import locate, relative_name
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HISTORY_FORMAT = 1
"""Version of these files; a reader refuses a newer one."""

FORMAT_KEY = b"lvm_batch.history_format"

_STAGING = "_tmp"
_READ_AT_ONCE = 256  # files; their bytes are held
_SAME_NAMES = 100  # runs of one job that started within the same microsecond


def write_run(path: str, run: RunEntry) -> str:
    """Add ``run`` to the history at ``path``, a folder or URL; return the name of its file below it.

    Raises ``DataError`` where that cannot be done.
    """
    store, content = open_store(path, staging=_STAGING), _as_parquet(run)
    stem = f"date={run.started:%Y-%m-%d}/{run.started:%Y%m%dT%H%M%S.%f}Z-{run.job_id}"
    names = (f"{stem}{f'-{n}' if n else ''}.parquet" for n in range(_SAME_NAMES))
    written = next((name for name in names if store.create(name, content)), None)
    if written is None:
        raise OutputError(f"{path} holds {_SAME_NAMES} runs called {stem}", "choose another --history")
    return written


def _as_parquet(run: RunEntry) -> bytes:
    table = pa.Table.from_pylist([row_of(run)], SCHEMA).replace_schema_metadata(
        {FORMAT_KEY: str(HISTORY_FORMAT)}
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue().to_pybytes())


def read_history(path: str) -> Iterator[tuple[str, list[RunEntry] | DataError]]:
    """Yield every file of the history at ``path`` by name, with its runs, or with what is wrong with it.

    Raises ``DataError`` where there is no history, or it cannot be listed or read.
    """
    names = _names(path)
    store = open_store(path, staging=_STAGING)
    for first in range(0, len(names), _READ_AT_ONCE):
        some = names[first : first + _READ_AT_ONCE]
        for name, content in zip(some, store.read_many(some), strict=True):
            if content is not None:  # it was listed, and removed since
                yield name, _parsed(f"{path.rstrip('/')}/{name}", content)


def _names(path: str) -> list[str]:
    place = locate(path)
    nothing = InputNotFound(f"{path} holds no history", "give the folder that `run` got as --history")
    if look_at(place).type != fs.FileType.Directory:
        raise nothing
    found = [relative_name(at, place) for at, info in listing(place, recursive=True) if info.is_file]
    names = sorted(name for name in found if name.endswith(".parquet") and not is_hidden(name))
    if not names:
        raise nothing
    return names


def _parsed(path: str, content: bytes) -> list[RunEntry] | DataError:
    try:
        return _runs(path, content)
    except DataError as error:
        return error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        return _damaged(path, f"is damaged: {error}")


def _runs(path: str, content: bytes) -> list[RunEntry]:
    with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
        _check_format(path, file.metadata.metadata or {})
        table = file.read(
            use_threads=False
        )  # Arrow's threads may abort a process that ends soon (arrow#34314)
    table = _with_younger(table)
    for expected in SCHEMA:
        place = table.schema.get_field_index(expected.name)
        if place < 0 or table.schema.field(place).type != expected.type:
            raise _damaged(path, f"has no column `{expected.name}` of type {expected.type}")
        if not expected.nullable and table[place].null_count:
            raise _damaged(path, f"has nothing in its column `{expected.name}`")
    return [run_of(row) for row in table.select(SCHEMA.names).to_pylist()]


def _with_younger(table: pa.Table) -> pa.Table:
    """Return the table with empty columns in place of those that its version did not know."""
    for field in map(SCHEMA.field, YOUNGER):
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


def _check_format(path: str, metadata: Mapping[bytes, bytes]) -> None:
    written = metadata.get(FORMAT_KEY, b"").decode("ascii", "replace")
    if not written.isdecimal():
        raise _damaged(path, "was not written by a run of lvm-batch")
    if int(written) > HISTORY_FORMAT:
        raise UnreadableFile(
            f"{path} was written by a newer version of lvm-batch: its history format is "
            f"{written}, and this version reads up to {HISTORY_FORMAT}",
            "use the version that wrote it, or a later one",
            path,
        )


def _damaged(path: str, what: str) -> UnreadableFile:
    return UnreadableFile(f"{path} {what}", "move it out of the history", path)
