"""Tests that page checksums are verified by every command that reads pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from support.datasets import encode, sample, windows
from support.outputs import write_output

from lvm_batch.io import predictions_dataset
from lvm_batch.io.bank.bank import build_bank
from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, cut_units, read_footers
from lvm_batch.io.errors import UnreadableFile
from lvm_batch.io.packing.encoding import Packing
from lvm_batch.io.packing.find import find_sources
from lvm_batch.io.packing.packing import pack
from lvm_batch.io.packing.sources import Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def flip(path: Path, row_group: int, column: str) -> None:
    """Flip one bit of a value in the middle of a column chunk."""
    groups = pq.read_metadata(path).row_group(row_group)
    [chunk] = [
        c for c in map(groups.column, range(groups.num_columns)) if c.path_in_schema.startswith(column)
    ]
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size * 3 // 4] ^= 4
    path.write_bytes(content)


def run(path: Path, _: Path) -> None:
    """Read every unit, as a worker does."""
    understood = DatasetFormat()
    for _, footer in read_footers(find_files([str(path)]), understood):
        for unit in cut_units(footer, unit_bytes=2**30, shape=understood.shape):
            with open_unit(unit, understood, batch_rows=4) as rows:
                list(rows.batches)


def packed(path: Path, folder: Path) -> None:
    """Pack the file."""
    [source] = find_sources(find_files([str(path)]), Reading())
    pack([source], str(folder / "packed"), packing=Packing())


def banked(path: Path, folder: Path) -> None:
    """Build a bank from the file."""
    build_bank(find_files([str(path)]), str(folder / "bank"))


READERS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "windows": (run, "context"),
    "what is carried": (run, "key"),
    "sequences": (run, "vector"),
    "pack": (packed, "context"),
    "bank": (banked, "vector"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_flipped_bit_makes_a_file_unreadable(tmp_path: Path, name: str, version: str) -> None:
    """One flipped bit in a page with a checksum is an error with file and row group, and gives no value."""
    reader, column = READERS[name]
    table = sample().slice(0, 60)
    if column != "vector":
        table = pa.table({"context": encode(windows()[0][:60], "binary"), "key": range(60)})
    path = tmp_path / "in.parquet"
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "data_page_version": version}
    pq.write_table(table, path, row_group_size=20, write_page_checksum=True, **options)
    (tmp_path / "before").mkdir()
    reader(path, tmp_path / "before")
    flip(path, 2, column)
    with pytest.raises(
        UnreadableFile, match=r"in\.parquet cannot be read as Parquet, row group 2: .*CRC"
    ) as caught:
        reader(path, tmp_path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize("column", ["prediction", "key"])
def test_outputs_carry_checksums(tmp_path: Path, column: str) -> None:
    """A flipped bit in an output is found by readers that verify checksums, lvm-batch's own included."""
    write_output(str(tmp_path), {"a-00000.parquet": {"key": [1, 2]}})
    flip(tmp_path / "a-00000.parquet", 0, column)
    checked = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    )
    for dataset in (predictions_dataset(tmp_path), ds.dataset(tmp_path / "a-00000.parquet", format=checked)):
        with pytest.raises(OSError, match="CRC"):
            dataset.to_table()
