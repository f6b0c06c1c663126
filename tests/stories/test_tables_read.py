"""Delta Lake and Iceberg tables as datasets: read at a version, as whole Parquet files, or refused by name."""

from __future__ import annotations

import base64
import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import encode, windows

from lvm_batch.io import read_predictions
from lvm_batch.io.dataset.files import find_files, look_for_files
from lvm_batch.io.errors import DataError, InputNotFound, TableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

deltalake = pytest.importorskip("deltalake")
pyiceberg_catalog = pytest.importorskip("pyiceberg.catalog")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


def rows(first: int, n_rows: int = 10) -> pa.Table:
    """Rows of windows with a key and a lane."""
    contexts, _ = windows()
    return pa.table(
        {
            "key": np.arange(first, first + n_rows),
            "lane": ["a", "b"] * (n_rows // 2),
            "context": encode(contexts[first : first + n_rows], "list"),
        }
    )


@pytest.fixture
def delta(tmp_path: Path) -> Path:
    """A Delta table: version 0 has keys 0 to 9, version 1 instead those from 10 on, version 2 also those from 20 on."""
    for first, mode in ((0, "error"), (10, "overwrite"), (20, "append")):
        deltalake.write_deltalake(tmp_path / "table", rows(first), mode=mode)
    return tmp_path / "table"


@pytest.fixture
def iceberg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - pyiceberg's table
    """An Iceberg table with the same three snapshots."""
    (tmp_path / "warehouse").mkdir()
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__TYPE", "sql")
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__URI", f"sqlite:///{tmp_path}/catalog.db")
    monkeypatch.setenv("PYICEBERG_CATALOG__LOCAL__WAREHOUSE", f"file://{tmp_path}/warehouse")
    monkeypatch.setattr(pyiceberg_catalog, "_ENV_CONFIG", pyiceberg_catalog.Config())
    catalog = pyiceberg_catalog.load_catalog("local")
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.rows", rows(0).schema)
    table.append(rows(0))
    table.overwrite(rows(10))
    table.append(rows(20))
    return table


def predicted(predict: Callable[..., Any], dataset: object, output: Path, *options: object) -> Any:  # noqa: ANN401
    """The result of a run, and the sorted keys of its output."""
    result = predict(dataset, "--output", output, *options)
    assert result.code == 0, result
    return result, sorted(read_predictions(output).collect()["key"].to_list())


def test_a_folder_with_a_delta_log_is_read_as_the_table_is_now(
    predict: Callable[..., Any], delta: Path, tmp_path: Path
) -> None:
    """Files that the table no longer has are still in the folder, and are not read; the version is told and kept."""
    assert len(list(delta.glob("*.parquet"))) == 3
    result, keys = predicted(predict, delta, tmp_path / "out")
    assert keys == list(range(10, 30))
    assert f"delta:{delta} is read at version 2" in result.values["notices"]
    job = json.loads((tmp_path / "out/_lvm_batch/job.json").read_text())
    assert job["identity"]["tables"] == {f"delta:{delta}": 2}


@pytest.mark.parametrize(("version", "keys"), [("@0", range(10)), ("@1", range(10, 20)), ("", range(10, 30))])
def test_a_delta_table_is_read_at_the_version_that_is_named(
    version: str, keys: range, predict: Callable[..., Any], delta: Path, tmp_path: Path
) -> None:
    """`delta:PATH@VERSION`; without a version, the latest."""
    assert predicted(predict, f"delta:{delta}{version}", tmp_path / "out")[1] == list(keys)


def test_an_iceberg_table_is_read_at_the_snapshot_that_is_named(
    predict: Callable[..., Any],
    iceberg: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """`iceberg:CATALOG.NAMESPACE.TABLE@SNAPSHOT`; without a snapshot, the current one."""
    first, *_, last = iceberg.snapshots()
    name = "iceberg:local.ns.rows"
    assert predicted(predict, f"{name}@{first.snapshot_id}", tmp_path / "first")[1] == list(range(10))
    result, keys = predicted(predict, name, tmp_path / "last")
    assert keys == list(range(10, 30))
    assert f"{name} is read at version {last.snapshot_id}" in result.values["notices"]


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
def test_the_output_grows_with_the_table(
    kind: str,
    predict: Callable[..., Any],
    delta: Path,
    iceberg: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """New files of a later version are predicted alone; one that has lost files is another job."""
    dataset = f"delta:{delta}" if kind == "delta" else "iceberg:local.ns.rows"
    predicted(predict, dataset, tmp_path / "out")
    _append(kind, delta, iceberg, rows(30))
    result, keys = predicted(predict, dataset, tmp_path / "out")
    assert (result.values["units_computed"], keys) == (1, list(range(10, 40)))
    if kind == "delta":
        deltalake.write_deltalake(delta, rows(40), mode="overwrite")
    else:
        iceberg.overwrite(rows(40))
    refused = predict(dataset, "--output", tmp_path / "out")
    assert (refused.code, refused.values["error"]["kind"]) == (2, "job_changed")


def _append(kind: str, delta: Path, iceberg: Any, more: pa.Table) -> None:  # noqa: ANN401
    if kind == "delta":
        deltalake.write_deltalake(delta, more, mode="append")
    else:
        iceberg.refresh().append(more)


def test_partitions_of_a_delta_table_are_columns(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Its files lack them; their folders give them, as in any dataset."""
    deltalake.write_deltalake(tmp_path / "table", rows(0), partition_by=["lane"])
    _, keys = predicted(predict, tmp_path / "table", tmp_path / "out")
    assert keys == list(range(10))
    lanes = read_predictions(tmp_path / "out").collect().sort("key")["lane"].to_list()
    assert lanes == ["a", "b"] * 5


@pytest.mark.parametrize("argument", ["{}/*.parquet", "{}/**", "{}/.."])
def test_a_listing_that_comes_upon_a_delta_table_is_refused(argument: str, delta: Path) -> None:
    """It would give rows that are no longer in the table, or give them twice."""
    with pytest.raises(DataError, match=f"{delta} is a Delta table") as caught:
        find_files([argument.format(delta)])
    assert f"delta:{delta}" in caught.value.args[1]


def test_the_folder_of_an_iceberg_table_is_refused(iceberg: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Only its catalog knows which of its files count."""
    with pytest.raises(DataError, match="metadata of an Iceberg table") as caught:
        find_files([iceberg.location().removeprefix("file://")])
    assert "iceberg:CATALOG.NAMESPACE.TABLE" in caught.value.args[1]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("delta:{}@9", "cannot be read"),
        ("delta:{}/nowhere", "is no Delta table"),
        ("iceberg:local.ns.rows@9", "has no snapshot 9"),
        ("iceberg:local.ns.other", "does not exist"),
        ("iceberg:local.rows", "names no table"),
        ("iceberg:elsewhere.ns.rows", "the catalog `elsewhere`"),
    ],
)
def test_what_cannot_be_found_is_told(argument: str, message: str, delta: Path, iceberg: Any) -> None:  # noqa: ANN401
    """Versions, snapshots, tables and catalogs that are not there are named."""
    with pytest.raises(TableError, match=message):
        find_files([argument.format(delta)])


def test_a_file_that_the_table_has_and_the_disk_has_not_is_told(delta: Path) -> None:
    """A version whose files were vacuumed cannot be read."""
    gone = find_files([f"delta:{delta}@0"])[0].path
    deltalake.DeltaTable(delta).vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(TableError, match=f"{gone}, which is gone"):
        find_files([f"delta:{delta}@0"])


def rewrite_log(table: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change every action of a table's first commit."""
    log = table / "_delta_log/00000000000000000000.json"
    actions = [change(json.loads(line)) for line in log.read_text().splitlines()]
    log.write_text("\n".join(map(json.dumps, actions)))


def with_features(*features: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An action as in a table that uses ``features``."""

    def change(action: dict[str, Any]) -> dict[str, Any]:
        if "protocol" in action:
            return {
                "protocol": {
                    "minReaderVersion": 3,
                    "minWriterVersion": 7,
                    "readerFeatures": features,
                    "writerFeatures": features,
                }
            }
        if "metaData" in action and "columnMapping" in features:
            action["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
            action["metaData"]["configuration"]["delta.columnMapping.maxColumnId"] = "9"
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"], 1):
                field["metadata"] = {
                    "delta.columnMapping.id": number,
                    "delta.columnMapping.physicalName": f"col-{number}",
                }
            action["metaData"]["schemaString"] = json.dumps(schema)
        if "add" in action and "deletionVectors" in features:
            action["add"]["deletionVector"] = deleted_rows(0, 3)
        return action

    return change


def deleted_rows(*numbers: int) -> dict[str, Any]:
    """A deletion vector as the protocol writes it into the log: a roaring bitmap in base 85."""
    from pyroaring import BitMap

    bitmap = struct.pack("<Iqi", 1681511377, 1, 0) + BitMap(numbers).serialize()
    padded = bitmap + b"\0" * (-len(bitmap) % 4)
    text = base64.b85encode(padded).translate(bytes.maketrans(_B85, _Z85)).decode()
    return {
        "storageType": "i",
        "pathOrInlineDv": text,
        "sizeInBytes": len(bitmap),
        "cardinality": len(numbers),
    }


_DIGITS = b"0123456789"
_LOW, _HIGH = b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_B85 = _DIGITS + _HIGH + _LOW + b"!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = _DIGITS + _LOW + _HIGH + b".-:+=^!/*?&<>()[]{}@%$#"


@pytest.mark.parametrize(
    ("feature", "message"),
    [("deletionVectors", "has deletion vectors at version 0"), ("columnMapping", "column mapping by name")],
)
def test_rows_that_are_not_those_of_whole_files_are_refused(
    feature: str, message: str, tmp_path: Path
) -> None:
    """Deleted rows would be predicted, mapped columns be called by names that nobody knows."""
    deltalake.write_deltalake(tmp_path / "table", rows(0))
    rewrite_log(tmp_path / "table", with_features(feature))
    with pytest.raises(TableError, match=message):
        find_files([str(tmp_path / "table")])


def test_a_renamed_column_of_an_iceberg_table_is_refused(iceberg: Any) -> None:  # noqa: ANN401
    """Older files have it under its old name: by that, it would be another column."""
    with iceberg.update_schema() as update:
        update.rename_column("key", "number")
    with pytest.raises(TableError, match=r"column `key` of iceberg:local\.ns\.rows was renamed or dropped"):
        find_files(["iceberg:local.ns.rows"])


def test_deleted_rows_of_an_iceberg_table_are_refused(
    iceberg: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """A file of deletes, as other engines write them, takes rows out of a data file that is still there whole."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    first = next(iter(iceberg.scan().plan_files())).file
    deletes = tmp_path / "warehouse/deletes.parquet"
    pq.write_table(pa.table({"file_path": [first.file_path] * 2, "pos": [0, 3]}), deletes)
    entry = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=f"file://{deletes}",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=2,
        file_size_in_bytes=deletes.stat().st_size,
        lower_bounds={2147483546: first.file_path.encode()},
        upper_bounds={2147483546: first.file_path.encode()},
    )
    with iceberg.transaction() as change, change.update_snapshot().fast_append() as snapshot:
        snapshot.append_data_file(entry)
    assert iceberg.refresh().scan().to_arrow().num_rows == 18
    with pytest.raises(TableError, match=r"iceberg:local\.ns\.rows has deletes"):
        find_files(["iceberg:local.ns.rows"])


def test_an_output_inside_a_table_is_refused(predict: Callable[..., Any], delta: Path) -> None:
    """The folder of a Delta table belongs to it, however it is named."""
    refused = predict(f"delta:{delta}", "--output", delta / "out")
    assert (refused.code, "is inside the input" in refused.values["error"]["message"]) == (2, True)


def test_a_table_without_rows_is_told(tmp_path: Path) -> None:
    """Nothing to read is an error, as for a folder."""
    deltalake.DeltaTable.create(tmp_path / "table", rows(0).schema)
    with pytest.raises((TableError, InputNotFound), match="has no file at version 0"):
        look_for_files([f"delta:{tmp_path}/table"])
