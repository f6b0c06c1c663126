"""The inputs of a benchmark: windows of random vectors, and fresh models if none are given.

The rule: the speed does not depend on the values of weights and vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.schema import WindowShape
from lvm_batch.lvm.architectures.catalog import build_model
from lvm_batch.lvm.checkpoints.checkpoint import save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

USUAL = WindowShape()
_SHARD_ROWS = 20_000
_ROW_GROUP_ROWS = 5_000
_SEED = 0


def write_windows(folder: Path, n_rows: int, *, escalated: float, shape: WindowShape = USUAL) -> Path:
    """Write windows of ``shape`` with targets, as fixed-size lists compressed with zstd; return the folder.

    A fraction ``escalated`` of the rows is in a high-stakes lane.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(_SEED)
    for shard, first in enumerate(range(0, n_rows, _SHARD_ROWS)):
        table = _windows(rng, min(_SHARD_ROWS, n_rows - first), shape, escalated)
        pq.write_table(
            table, folder / f"shard-{shard:03d}.parquet", compression="zstd", row_group_size=_ROW_GROUP_ROWS
        )
    return folder


def _windows(rng: np.random.Generator, n_rows: int, shape: WindowShape, escalated: float) -> pa.Table:
    vectors = rng.standard_normal((n_rows + shape.length, shape.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contexts = vectors[np.arange(n_rows)[:, None] + np.arange(shape.length)]
    high_stakes = rng.random(n_rows) < escalated
    return pa.table(
        {
            "lane": np.where(high_stakes, "sci-fact", "general"),
            "context": _lists(contexts.reshape(n_rows, -1)),
            "target": _lists(vectors[shape.length :]),
        }
    )


def _lists(rows: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def write_fresh_model(path: Path, architecture: str, shape: WindowShape = USUAL) -> Path:
    """Write a checkpoint of untrained weights for contexts of ``shape``; return its path."""
    model = build_model(architecture, seed=_SEED, input_dim=shape.dim)
    save_checkpoint(
        path,
        model,
        architecture=architecture,
        context_length=shape.length,
        epoch=0,
        val_loss=0.0,
        val_cosine=0.0,
    )
    return path
