"""Vectors that are packed before a run reads them: NPY, NPZ, JSON lines."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np

from support.wild.truth import Documents, Wild, documents, wild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def npy_pair(folder: Path) -> Wild:
    """``embeddings.npy`` beside one file of ids for each thing that is known of a row."""
    rows = documents(32)
    np.save(folder / "embeddings.npy", rows.vectors)
    np.save(folder / "doc_ids.npy", np.array(rows.uuids))
    np.save(folder / "positions.npy", rows.position)
    np.save(folder / "texts.npy", np.array(rows.texts))
    return wild(folder, rows)


def npz(folder: Path) -> Wild:
    """All arrays in one file, rows in no order."""
    rows = documents(32).shuffled()
    arrays = {
        "embeddings": rows.vectors,
        "doc_ids": np.array(rows.uuids),
        "chunk_index": rows.position,
        "texts": np.array(rows.texts),
    }
    np.savez_compressed(folder / "corpus.npz", **arrays)
    return wild(folder / "corpus.npz", rows)


def json_lines(folder: Path) -> Wild:
    """One object a line, as an embedding job appends them: numbers without a point count as floats."""
    rows = _with_whole_numbers()
    path = folder / "embedded.jsonl"
    path.write_text("".join(_lines(rows)), encoding="utf-8")
    return wild(path, rows)


def json_lines_gz(folder: Path) -> Wild:
    """The same, compressed, in two files."""
    parts = _with_whole_numbers().shuffled().cut(2)
    for number, part in enumerate(parts):
        (folder / f"part-{number}.jsonl.gz").write_bytes(gzip.compress("".join(_lines(part)).encode()))
    one = [
        np.concatenate([getattr(part, name) for part in parts]) for name in ("article", "position", "vectors")
    ]
    return wild(folder, Documents(*one))


def _with_whole_numbers() -> Documents:
    rows = documents(32)
    rows.vectors[::7, 3] = 1
    rows.vectors[::11, 0] = 0
    return rows


def _lines(rows: Documents) -> Iterator[str]:
    for row, vector in enumerate(rows.vectors.tolist()):
        numbers = [int(number) if number in {0, 1} else number for number in vector]
        columns = {"doc": rows.uuids[row], "chunk": int(rows.position[row]), "text": rows.texts[row]}
        yield json.dumps({**columns, "embedding": numbers}) + "\n"


ARRAYS: tuple[Callable[[Path], Wild], ...] = (npy_pair, npz, json_lines_gz)
