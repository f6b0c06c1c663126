"""Times how columns of vectors are read, checks included, against pyarrow's batches, in turns; prints ratios.

    make bench

One thread, processor time, so that a busy machine matters less. pyarrow reads batches of 512 rows, copies their values
into one array and checks nothing; lvm-batch fills the same array and checks each value. Dated figures are in
``speed.md`` beside this file.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lvm_batch.io.formats.parquet import open_parquet
from lvm_batch.io.pages.vectors import VectorRows
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, BATCH_ROWS, TURNS = 16_384, 512, 7
GROUP_ROWS = 2_048


def vectors(n_rows: int, width: int) -> np.ndarray:
    """Unit vectors, as random as real ones are to a codec."""
    rows = np.random.default_rng(0).standard_normal((n_rows, width), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fixed_lists(rows: np.ndarray) -> pa.Array:
    """Rows as fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def plain_lists(rows: np.ndarray) -> pa.Array:
    """Rows as lists of any length."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.reshape(-1)))


def fixed_bytes(rows: np.ndarray) -> pa.Array:
    """Rows as little-endian bytes."""
    n_bytes = rows.shape[1] * 4
    return pa.Array.from_buffers(pa.binary(n_bytes), len(rows), [None, pa.py_buffer(rows.tobytes())])


FILES: dict[str, tuple[Callable[[np.ndarray], pa.Array], str, int, str]] = {
    "fixed lists of 3,840, zstd": (fixed_lists, "zstd", 5, "3"),
    "fixed lists of 3,840, uncompressed": (fixed_lists, "none", 5, "5"),
    "plain lists of 3,840, uncompressed": (plain_lists, "none", 5, "6"),
    "sequences: fixed lists of 768, zstd": (fixed_lists, "zstd", 1, "2"),
    "fixed-size binary of 15,360": (fixed_bytes, "none", 5, "1"),
}


def by_pyarrow(path: Path, out: np.ndarray) -> None:
    """Read a column, batch after batch into ``out``, with pyarrow alone."""
    for batch in pq.ParquetFile(path, memory_map=True).iter_batches(BATCH_ROWS, use_threads=False):
        column = batch["vector"]
        is_bytes = pa.types.is_fixed_size_binary(column.type)
        values = (
            np.frombuffer(column.buffers()[1], np.float32)[column.offset * out.shape[1] :]
            if is_bytes
            else column.flatten().to_numpy()
        )
        out[: len(column)] = values[: len(column) * out.shape[1]].reshape(len(column), -1)


def by_lvm_batch(path: Path, out: np.ndarray, length: int) -> None:
    """Read and check a column, batch after batch into ``out``, as a run does."""
    with open_parquet(str(path)) as parquet:
        rows = VectorRows(
            parquet, "vector", range(parquet.metadata.num_row_groups), shape=WindowShape(length, 768)
        )
        for _ in range(ROWS // BATCH_ROWS):
            assert not rows.read_into(out.reshape(-1, length, 768)).bad


def microseconds(action: Callable[[], object], n_rows: int) -> float:
    """Return the processor time of a call, in microseconds a row."""
    start = time.process_time()
    action()
    return 1e6 * (time.process_time() - start) / n_rows


def line(name: str, path: Path, length: int, goal: str) -> str:
    """One row of the table."""
    theirs, ours = (np.zeros((BATCH_ROWS, 768 * length), np.float32) for _ in range(2))
    pairs = [
        (
            microseconds(lambda: by_pyarrow(path, theirs), ROWS),
            microseconds(lambda: by_lvm_batch(path, ours, length), ROWS),
        )
        for _ in range(TURNS + 1)
    ][1:]  # the first turn touches fresh memory
    assert np.array_equal(theirs, ours)  # the last batch
    slow, fast = (median(column) for column in zip(*pairs, strict=True))
    return (
        f"| {name} | {slow:.1f} | {fast:.1f} | {median(one / other for one, other in pairs):.2f} | {goal} |"
    )


def main() -> None:
    """Print the table."""
    pa.set_cpu_count(1)
    print("\n| reading, us a row | pyarrow | lvm-batch | ratio | goal |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, codec, length, goal) in FILES.items():
            path = Path(folder) / "vectors.parquet"
            table = pa.table({"vector": make(vectors(ROWS, 768 * length))})
            pq.write_table(table, path, compression=codec, row_group_size=GROUP_ROWS, use_dictionary=False)
            print(line(name, path, length, goal), flush=True)


if __name__ == "__main__":
    main()
