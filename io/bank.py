"""The bank on disk: known vectors, unit norm, with their ids.

    DIR/bank.json     count, dimension, digest, where it came from
    DIR/vectors.npy   float32 (count, dim), unit norm, mapped into memory by every reader
    DIR/ids.parquet   one row a vector: its number in the source, and its id if the source has one
    DIR/faiss.index   only if it was built with an index

The rule: a bank's digest is that of its vectors (and index), so that a job's fingerprint tells one bank from
another. This module does not know how neighbours are found.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.columns import WindowShape
from lvm_batch.io.errors import ColumnError, OutputError, UnreadableFile
from lvm_batch.io.locations import locate
from lvm_batch.io.numpy_files import open_npy
from lvm_batch.io.parquet import open_parquet, read_tables
from lvm_batch.io.remote_bank import IDS, INDEX, META, VECTORS, fetched_bank, uploaded_bank
from lvm_batch.io.vectors import check_vector_type, decode_column, vector_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.dataset import InputFile

_BATCH_ROWS = 4096
_USUAL_DIM = WindowShape().dim


@dataclass(frozen=True, slots=True)
class Bank:
    """An open bank: ``vectors`` is float32 (count, dim), unit norm; ``index`` the bytes of a FAISS index, if any."""

    path: str
    digest: str
    vectors: NDArray[np.float32]
    index: bytes | None

    @property
    def dim(self) -> int:
        """Components of each vector."""
        return int(self.vectors.shape[1])


def build_bank(
    files: Sequence[InputFile],
    output: str,
    *,
    vector_column: str = "vector",
    id_column: str | None = None,
    build_index: Callable[[NDArray[np.float32]], bytes] | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Build a bank from the vectors of Parquet ``files`` in the folder ``output``; return what ``bank.json`` says.

    Vectors that are null, not finite or without a norm are left out and counted. ``id_column`` defaults to ``id``
    where there is one. ``build_index`` makes an index of the vectors; ``on_rows`` hears of progress in rows.
    Raises :class:`ColumnError`, ``UnreadableFile`` or :class:`OutputError` (a bank stands there already).
    """
    place = locate(output)
    options = (vector_column, id_column, build_index, on_rows)
    if place.is_local:
        _refuse_occupied(Path(place.path), output)
        return _build(files, Path(place.path), output, *options)
    with uploaded_bank(place) as root:
        return _build(files, root, output, *options)


def _build(  # noqa: PLR0917 - called twice, with the same
    files: Sequence[InputFile],
    root: Path,
    output: str,
    vector_column: str,
    id_column: str | None,
    build_index: Callable[[NDArray[np.float32]], bytes] | None,
    on_rows: Callable[[int], None] | None,
) -> dict[str, Any]:
    dim, n_rows = _survey(files, vector_column, id_column)
    _make(root, output)
    vectors = np.lib.format.open_memmap(root / VECTORS, mode="w+", dtype=np.float32, shape=(n_rows, dim))
    kept, digest, ids = 0, hashlib.sha256(), []
    for block, names in _blocks(files, vector_column, id_column, dim):
        vectors[kept : kept + len(block)] = block
        digest.update(block.tobytes())
        ids.append(names)
        kept += len(block)
        if on_rows:
            on_rows(kept)
    if not kept:
        raise UnreadableFile(
            f"none of the {n_rows} rows holds a usable vector", "check the column and the files"
        )
    vectors.flush()
    usable = _cut(root / VECTORS, vectors, kept)
    pq.write_table(_joined(ids), root / IDS)
    if build_index is not None:
        index = build_index(usable)
        (root / INDEX).write_bytes(index)
        digest.update(index)
    return _write_meta(root, files, kept=kept, left_out=n_rows - kept, dim=dim, digest=digest.hexdigest())


def open_bank(path: str) -> Bank:
    """Open the bank at ``path``, its vectors mapped into memory; raises :class:`UnreadableFile`."""
    place = locate(path)
    root = Path(place.path) if place.is_local else fetched_bank(place)
    try:
        meta = json.loads((root / META).read_bytes())
        count, dim, digest = int(meta["count"]), int(meta["dim"]), str(meta["digest"])
        vectors = _mapped(root / VECTORS)
        index = (root / INDEX).read_bytes() if meta.get("index") else None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableFile(f"{path} is no bank: {_reason(error, root)}", _build_hint(path)) from error
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UnreadableFile(f"{path} is a damaged bank: {_reason(error, root)}", "build it again") from error
    if vectors.shape != (count, dim) or vectors.dtype != np.float32:
        raise UnreadableFile(
            f"{path} is a damaged bank: its vectors are not {count} of {dim} floats", "build it again"
        )
    return Bank(path, digest, vectors, index)


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
    # Copy on write: torch wants arrays it may write to, and nobody does.
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
        raise OutputError(f"{output} holds a bank already", "choose another folder, or remove it first")
    if root.is_dir() and any(root.iterdir()) and not (root / VECTORS).exists():
        raise OutputError(f"{output} is not empty", "choose another folder")


def _make(root: Path, output: str) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be made: {error.strerror}", "choose another folder") from error


def _survey(files: Sequence[InputFile], vector_column: str, id_column: str | None) -> tuple[int, int]:
    """Check every file's columns; return the vectors' dimension and the rows of all files."""
    dim, n_rows = 0, 0
    for file in files:
        with open_parquet(file.path) as parquet:
            schema = parquet.schema_arrow
            n_rows += parquet.metadata.num_rows
            for name in (vector_column, *([id_column] if id_column else [])):
                if name not in schema.names:
                    shown = ", ".join(f"`{column}`" for column in schema.names[:12])
                    flag = "--vector-column" if name == vector_column else "--id-column"
                    raise ColumnError(
                        f"{file.path} has no `{name}` column; it has {shown}", f"name it: {flag} NAME"
                    )
            kind = schema.field(vector_column).type
            dim = dim or vector_width(kind, usual=_USUAL_DIM) or _first_width(parquet, file, vector_column)
            problem = check_vector_type(kind, length=1, dim=dim)
        if problem:
            raise ColumnError(f"{file.path}: column `{vector_column}` {problem}", "a bank has one dimension")
    return dim, n_rows


def _first_width(parquet: pq.ParquetFile, file: InputFile, column: str) -> int:
    """Return the width of the first vector of a column whose type does not say it."""
    if problem := check_vector_type(parquet.schema_arrow.field(column).type, length=1, dim=_USUAL_DIM):
        raise ColumnError(
            f"{file.path}: column `{column}` {problem}", "point to a column of vectors: --vector-column"
        )
    row_groups = range(parquet.metadata.num_row_groups)
    for table in read_tables(parquet, file.path, row_groups=row_groups, columns=[column], batch_rows=64):
        for value in table[column]:
            row = value.as_py() or []
            if vector := (row[0] if row and isinstance(row[0], list) else row):
                return len(vector)
    raise ColumnError(f"{file.path}: column `{column}` holds no vector", "point to a file with vectors")


def _blocks(
    files: Sequence[InputFile], vector_column: str, id_column: str | None, dim: int
) -> Iterator[tuple[NDArray[np.float32], pa.Table]]:
    out = np.empty((_BATCH_ROWS, 1, dim), np.float32)
    first_row = 0
    for file in files:
        with open_parquet(file.path) as parquet:
            name = id_column or ("id" if "id" in parquet.schema_arrow.names else None)
            columns = [vector_column, *([name] if name else [])]
            row_groups = range(parquet.metadata.num_row_groups)
            for table in read_tables(
                parquet, file.path, row_groups=row_groups, columns=columns, batch_rows=_BATCH_ROWS
            ):
                block, kept = _unit_rows(table[vector_column], out[: table.num_rows])
                ids = {"row": pa.array(first_row + kept)} | ({"id": table[name].take(kept)} if name else {})
                yield block, pa.table(ids)
                first_row += table.num_rows


def _unit_rows(
    column: pa.ChunkedArray, out: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bad = decode_column(column, out).bad
    rows = out[:, 0].astype(np.float64)  # norms of tiny and huge vectors stay inside float64
    norms = np.linalg.norm(rows, axis=1)
    usable = norms > 0
    usable[list(bad)] = False
    kept = np.flatnonzero(usable)
    return (rows[kept] / norms[kept, None]).astype(np.float32), kept


def _joined(ids: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(ids, promote_options="permissive")
    except pa.ArrowException as error:
        raise ColumnError(
            f"the files' ids are of different types: {error}", "write them again with one type"
        ) from error


def _cut(path: Path, vectors: NDArray[np.float32], kept: int) -> NDArray[np.float32]:
    """Shorten the file to the rows that were kept."""
    if kept < len(vectors):
        whole = np.load(path, mmap_mode="r")
        shorter = path.with_suffix(".cut")
        target = np.lib.format.open_memmap(shorter, mode="w+", dtype=np.float32, shape=(kept, whole.shape[1]))
        for first in range(0, kept, _BATCH_ROWS):
            target[first : first + _BATCH_ROWS] = whole[first : min(first + _BATCH_ROWS, kept)]
        target.flush()
        shorter.replace(path)
    mapped: NDArray[np.float32] = np.load(path, mmap_mode="c")
    return mapped


def _write_meta(
    root: Path, files: Sequence[InputFile], *, kept: int, left_out: int, dim: int, digest: str
) -> dict[str, Any]:
    meta = {
        "format": 1,
        "count": kept,
        "left_out": left_out,
        "dim": dim,
        "digest": digest,
        "index": (root / INDEX).exists(),
        "sources": [file.path for file in files],
    }
    # Last: a folder without it is no bank, so a build that was cut short is not taken for one.
    (root / META).write_text(json.dumps(meta, indent=1) + "\n")
    return meta
