"""Which columns are carried, and that the others are not read for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.dataset.reading import open_unit
from lvm_batch.io.dataset.units import DatasetFormat, Footer, Unit, cut_units, read_footers
from lvm_batch.io.errors import ColumnError
from lvm_batch.io.schema import EVERY_COLUMN, ColumnChoice, WindowShape

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = WindowShape(length=2, dim=2)
COLUMNS = {
    "id": [1, 2, 3],
    "context": [[1.0, 2.0, 3.0, 4.0]] * 3,
    "lane": ["a", "b", "a"],
    "split": ["ood", "in_dist", "ood"],
    "text": ["x", "y", "z"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of three windows."""
    pq.write_table(pa.table(COLUMNS), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def unit_of(path: Path, choice: ColumnChoice, **options: object) -> tuple[Unit, DatasetFormat]:
    """The only unit of a file, and how it is read."""
    dataset_format = replace(DatasetFormat(shape=SHAPE, choice=choice), **options)
    [(_, footer)] = read_footers(find_files([str(path)]), dataset_format)
    if isinstance(footer, Footer):
        return cut_units(footer, unit_bytes=2**20, shape=SHAPE)[0], dataset_format
    raise footer


@pytest.mark.parametrize(
    ("choice", "carried"),
    [
        (EVERY_COLUMN, ["id", "lane", "split", "text"]),
        (ColumnChoice(only=("text", "id")), ["id", "text"]),
        (ColumnChoice(dropped=("id", "lane")), ["split", "text"]),
        (ColumnChoice(only=("id", "text"), dropped=("text",)), ["id"]),
        (ColumnChoice(dropped=("id", "lane", "split", "text")), []),
    ],
)
def test_the_chosen_columns_are_carried(path: Path, choice: ColumnChoice, carried: list[str]) -> None:
    """They come in the order of the input, whatever the order of the choice."""
    unit, dataset_format = unit_of(path, choice)
    with open_unit(unit, dataset_format, batch_rows=8) as rows:
        assert rows.carried_schema.names == carried
        tables = list(rows.carried.take(3))
    assert {name: pa.concat_tables(tables)[name].to_pylist() for name in carried} == {
        name: COLUMNS[name] for name in carried
    }


def test_a_column_that_is_not_carried_plays_its_part(path: Path) -> None:
    """Lanes route rows and splits are counted, whether they are written or not."""
    unit, dataset_format = unit_of(path, ColumnChoice(only=("id",)))
    with open_unit(unit, dataset_format, batch_rows=8, along={"split", "text"}) as rows:
        [batch] = rows.batches
    assert batch.lanes is not None
    assert batch.lanes.tolist() == COLUMNS["lane"]
    assert batch.carried.column_names == ["split"]


def test_a_column_without_a_part_that_is_not_carried_is_not_read(path: Path) -> None:
    """Long texts that nobody asked for cost nothing."""
    unit, dataset_format = unit_of(path, ColumnChoice(dropped=("text",)))
    with pq.ParquetFile(unit.file.path) as file:
        roles = dataset_format.roles(file.schema_arrow, unit.file.path)
    assert roles.read_columns == ["context", "lane", "id", "split"]


def test_a_column_with_the_name_of_an_output_column_can_be_left_out(tmp_path: Path) -> None:
    """It is refused only where it would be written, and the refusal says how to leave it out."""
    pq.write_table(pa.table({"context": COLUMNS["context"], "route": [1, 2, 3]}), tmp_path / "a.parquet")
    unit_of(tmp_path / "a.parquet", ColumnChoice(dropped=("route",)))
    with pytest.raises(ColumnError) as error:
        unit_of(tmp_path / "a.parquet", EVERY_COLUMN)
    assert "--drop route" in error.value.args[1]


def test_a_dropped_split_leaves_its_name_to_another_column(path: Path) -> None:
    """What is written under the name is the renamed column; what is counted is the split."""
    unit, dataset_format = unit_of(path, ColumnChoice(dropped=("split",)), rename={"text": "split"})
    with open_unit(unit, dataset_format, batch_rows=8, along={"split"}) as rows:
        [batch] = rows.batches
        [table] = rows.carried.take(3)
    assert batch.carried["split"].to_pylist() == COLUMNS["split"]
    assert table["split"].to_pylist() == COLUMNS["text"]
