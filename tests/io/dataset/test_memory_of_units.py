"""What was read of a unit is given back when the unit is done with, without a collection of cycles."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, read_footers, whole_unit
from lvm_batch.io.schema import WindowShape

if TYPE_CHECKING:
    from pathlib import Path

N = 600


@pytest.mark.parametrize("layout", ["windows", "sequences"])
def test_a_unit_that_is_done_holds_no_memory(tmp_path: Path, layout: str) -> None:
    """Vectors and carried columns alike: a worker that computes many units would grow else."""
    width = 16 if layout == "sequences" else 32
    name = "vector" if layout == "sequences" else "context"
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array([float(n) for n in range(N * width)], pa.float32()), width
    )
    columns = {name: vectors, "article_id": [1] * N, "position": range(N), "text": ["a text"] * N}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=250)
    data_format = DatasetFormat(shape=WindowShape(2, 16))
    ((_, footer),) = read_footers(find_files([str(tmp_path)]), data_format)
    assert isinstance(footer, Footer)

    def read() -> None:
        with open_unit(whole_unit(footer), data_format, batch_rows=128) as rows:
            assert sum(batch.n_rows for batch in rows.batches) == N
            assert sum(table.num_rows for table in rows.carried.take(N)) == N

    read()  # what the first read brings to life stays
    gc.collect()
    gc.disable()
    try:
        before = pa.total_allocated_bytes()
        read()
        assert pa.total_allocated_bytes() == before
    finally:
        gc.enable()
