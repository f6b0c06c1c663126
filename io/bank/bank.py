"""The bank on disk: known vectors of unit norm, with their ids.

    DIR/bank.json     count, dimension, digest, where it came from
    DIR/vectors.npy   float32 (count, dim), unit norm, mapped into memory by every reader
    DIR/ids.parquet   one row a vector: its number in the source, and its id if the source has one
    DIR/faiss.index   only if it was built with an index

The rule: a bank's digest is that of its vectors (and index), so that a job's fingerprint tells banks apart; the ids
have a digest of their own, which counts only where they are written.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.bank.ids import digest_of_ids, knows_places, read_columns, read_ids
from lvm_batch.io.bank.kept_columns import ARTICLE, ID, POSITION
from lvm_batch.io.bank.keys import BankKeys
from lvm_batch.io.bank.remote import IDS, INDEX, META, VECTORS, fetch_bank, upload_bank
from lvm_batch.io.bank.unit_vectors import find_source, unit_vectors
from lvm_batch.io.errors import OutputError, UnreadableFile, output_errors
from lvm_batch.io.formats.numpy_files import open_npy
from lvm_batch.io.formats.parquet_writing import row_groups
from lvm_batch.io.storage.locations import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from lvm_batch.io.bank.ids import BankIds
    from lvm_batch.io.bank.unit_vectors import VectorSource
    from lvm_batch.io.dataset.files import InputFile


@dataclass(frozen=True, slots=True)
class Bank:
    """An open bank: ``vectors`` is float32 (count, dim), unit norm; ``index`` the bytes of a FAISS index, if any.

    ``ids`` is the file of ids, ``None`` if it is not there.
    """

    path: str
    digest: str
    vectors: NDArray[np.float32]
    index: bytes | None
    ids: Path | None = None

    @property
    def dim(self) -> int:
        """Components of each vector."""
        return int(self.vectors.shape[1])

    def read_ids(self) -> BankIds | None:
        """Return the ids of the vectors, ``None`` if the bank has none; raises :class:`UnreadableFile`."""
        if self.ids is None:
            return None
        return read_ids(self.ids, n_vectors=len(self.vectors), bank=self.path)

    def read_keys(self) -> BankKeys | None:
        """Return where the vectors stand in their articles, ``None`` if the bank does not know; as :meth:`read_ids`."""
        if self.ids is None or not knows_places(self.ids):
            return None
        columns = read_columns(self.ids, (ARTICLE, POSITION), n_vectors=len(self.vectors), bank=self.path)
        return BankKeys(*columns, digest=digest_of_ids(self.ids))


def build_bank(
    files: Sequence[InputFile],
    output: str,
    *,
    vector_column: str | None = None,
    id_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    build_index: Callable[[NDArray[np.float32]], bytes] | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Build a bank from the vectors of Parquet ``files`` in the folder ``output``; return the content of ``bank.json``.

    Vectors that are null, not finite or without a norm are left out and counted, and, if their type leaves the width
    open, those of another width than most of the first. Unless they are given, ``vector_column``, ``article_column``
    and ``position_column`` are found, and ``id_column`` is ``id`` if there is such a column; articles and positions are
    kept together or not at all, and not if either is ``@none``. ``build_index`` makes an index of the vectors;
    ``on_rows`` is called with the rows done so far. Raises ``ColumnError``, ``UnreadableFile`` or :class:`OutputError`
    (there is a bank already, or the disk is full).
    """
    place = locate(output)
    given = {"vector": vector_column, "article": article_column, "position": position_column}
    options = (given, id_column, build_index, on_rows)
    if place.is_local:
        with _naming(Path(place.path)):
            _refuse_occupied(Path(place.path), output)
        return _build(files, Path(place.path), output, *options)
    with upload_bank(place) as root:
        return _build(files, root, output, *options)


def _build(  # noqa: PLR0917 - called twice, with the same arguments
    files: Sequence[InputFile],
    root: Path,
    output: str,
    given: Mapping[str, str | None],
    id_column: str | None,
    build_index: Callable[[NDArray[np.float32]], bytes] | None,
    on_rows: Callable[[int], None] | None,
) -> dict[str, Any]:
    source = find_source(files, given, id_column)
    with output_errors(f"{output} cannot be made", "choose another folder"):
        root.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _naming(root):
        ids = _write_vectors(root / VECTORS, source, digest, on_rows)
        kept = sum(map(len, ids))
        if not kept:
            raise UnreadableFile(
                f"none of the {source.n_rows} rows has a usable vector", "check the column and the files"
            )
        with pq.ParquetWriter(root / IDS, ids[0].schema) as writer:
            for table in row_groups(pa.concat_tables(ids)):
                writer.write_table(table)
        if build_index is not None:
            index = build_index(np.load(root / VECTORS, mmap_mode="c"))
            (root / INDEX).write_bytes(index)
            digest.update(index)
        return _write_meta(root, source, kept=kept, digest=digest.hexdigest())


def _write_vectors(
    path: Path, source: VectorSource, digest: hashlib._Hash, on_rows: Callable[[int], None] | None
) -> list[pa.Table]:
    """Write the usable vectors, add them to ``digest``, and return their ids.

    The file is not mapped into memory, since a full disk would end the process.
    """
    ids: list[pa.Table] = []
    kept = 0
    with path.open("wb") as file:
        file.write(_header(0, source.dim))
        for block, names in unit_vectors(source):
            file.write(block.data)
            digest.update(block.data)
            ids.append(names)
            kept += len(block)
            if on_rows:
                on_rows(kept)
        file.seek(0)
        file.write(_header(kept, source.dim))
        file.flush()
        os.fsync(file.fileno())
    return ids


def _header(count: int, dim: int) -> bytes:
    """Return the header of the file of vectors; it has the same length for any ``count``, which is filled in later."""
    stream = BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
    np.lib.format.write_array_header_1_0(stream, shape)
    return stream.getvalue()


def _naming(root: Path) -> AbstractContextManager[None]:
    """Turn failures to write into an error that names the folder."""
    return output_errors(f"{root} cannot be written", "make room, or choose another folder")


def open_bank(path: str, *, with_index: bool = True) -> Bank:
    """Open the bank at ``path``, its vectors mapped into memory and its index read; raises :class:`UnreadableFile`."""
    place = locate(path)
    root = Path(place.path) if place.is_local else fetch_bank(place)
    try:
        meta = json.loads((root / META).read_bytes())
        count, dim, digest = int(meta["count"]), int(meta["dim"]), str(meta["digest"])
        vectors = _mapped(root / VECTORS)
        index = (root / INDEX).read_bytes() if with_index and meta.get("index") else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFile(f"{path} is not a bank: {_reason(error, root)}", _build_hint(path)) from error
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UnreadableFile(f"{path} is a damaged bank: {_reason(error, root)}", "build it again") from error
    if vectors.shape != (count, dim) or vectors.dtype != np.float32:
        raise UnreadableFile(
            f"{path} is a damaged bank: its vectors are not {count} of {dim} floats", "build it again"
        )
    return Bank(path, digest, vectors, index, root / IDS if (root / IDS).exists() else None)


def _mapped(path: Path) -> NDArray[np.float32]:
    """Map the vectors into memory; raises ``OSError`` or ``ValueError``."""
    try:
        header = open_npy(str(path)).header
    except UnreadableFile as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise ValueError(error.args[0]) from error
    if header.dtype != np.dtype("<f4") or len(header.shape) != 2 or 0 in header.shape:  # noqa: PLR2004
        raise ValueError(f"its vectors are {header.dtype} of the shape {header.shape}")
    order: Literal["F", "C"] = "F" if header.fortran_order else "C"
    # Copy on write: torch wants writable arrays, though nothing writes to them.
    return np.memmap(path, header.dtype, mode="c", offset=header.offset, shape=header.shape, order=order)


def _reason(error: Exception, root: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist" if not root.exists() else f"it has no {Path(str(error.filename)).name}"
    if isinstance(error, NotADirectoryError):
        return "it is a file, and a bank is a folder"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _build_hint(path: str) -> str:
    source = path if path.endswith(".parquet") else "VECTORS.parquet"
    return f"build one: lvm-batch bank build {source} --output my_bank"


def _refuse_occupied(root: Path, output: str) -> None:
    if (root / META).exists():
        raise OutputError(f"{output} already holds a bank", "choose another folder, or remove it first")
    if root.is_dir() and any(root.iterdir()) and not (root / VECTORS).exists():
        raise OutputError(f"{output} is not empty", "choose another folder")


def _write_meta(root: Path, source: VectorSource, *, kept: int, digest: str) -> dict[str, Any]:
    meta = {
        "format": 1,
        "count": kept,
        "left_out": source.n_rows - kept,
        "dim": source.dim,
        "digest": digest,
        "index": (root / INDEX).exists(),
        "id_type": str(source.types[ID]) if ID in source.types else None,
        "columns": source.columns,
        "ids_digest": digest_of_ids(root / IDS),
        "sources": [file.path for file in source.files],
    }
    # Written last: a folder without it is not a bank, so that an interrupted build is not taken for one.
    (root / META).write_text(json.dumps(meta, indent=1) + "\n")
    return meta
