"""Published files against their commit records.

The rule: a file is judged by all of its bytes as they are now, and nothing is changed.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.output.unit_files import FINGERPRINT_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord

_READERS = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the file at ``output``, a path below the folder."""

    output: str
    what: str


def file_faults(
    folder: OutputFolder,
    records: Mapping[str, CommitRecord],
    fingerprint: str,
    *,
    columns: Collection[str] = (),
) -> Iterator[Fault]:
    """Read every published file of the job with this fingerprint, and yield those that differ from their records.

    ``columns`` are those that the job adds, and every file must have.
    """
    sizes = folder.published()

    def fault_of(output: str) -> str | None:
        return _fault(folder, records[output], sizes.get(output), fingerprint, columns)

    with ThreadPoolExecutor(_READERS) as pool:
        for output, what in zip(records, pool.map(fault_of, records), strict=True):
            if what:
                yield Fault(output, what)
    for stranger in sorted(sizes.keys() - records.keys()):
        yield Fault(stranger, "no commit record mentions it")


def _fault(
    folder: OutputFolder, record: CommitRecord, size: int | None, fingerprint: str, columns: Collection[str]
) -> str | None:
    if size is None:
        return "it is gone"
    if size != record.bytes:
        return f"it has {size:,} bytes, and its record says {record.bytes:,}"
    try:
        with folder.open(record.output) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return _fault_of_footer(file, record, fingerprint, columns) or (
                None
                if sha256 == record.sha256
                else f"its SHA-256 is {sha256}, which is not the one in its record"
            )
    except (pa.ArrowException, OSError) as error:
        return f"it cannot be read: {error}"


def _fault_of_footer(
    file: pa.NativeFile, record: CommitRecord, fingerprint: str, columns: Collection[str]
) -> str | None:
    footer = pq.read_metadata(file)
    rows_in, rows_out = record.rows_in, record.tally.rows_out
    if footer.num_rows != rows_out:
        return f"its footer says {footer.num_rows:,} rows, but its record {rows_out:,}"
    if (footer.metadata or {}).get(FINGERPRINT_KEY.encode()) != fingerprint.encode():
        return "its footer names another job"
    if rows_in != rows_out:
        return f"its record says {rows_in:,} rows in, and {rows_out:,} out"
    missing = set(columns).difference(footer.schema.to_arrow_schema().names)
    return f"it has no column `{min(missing)}`" if missing else None
