"""Tables whose files are in an object store, over real HTTP, and tables without their packages."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support import buckets
from support.datasets import windows, write_windows

from lvm_batch.io.dataset.files import find_files
from lvm_batch.io.errors import MissingExtra
from lvm_batch.io.storage.bucket_access import aws_access, plain_aws_options
from lvm_batch.jobs import errors
from lvm_batch.jobs.prediction.planning.preflight import check_extras
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

deltalake = pytest.importorskip("deltalake")
catalogs = pytest.importorskip("pyiceberg.catalog")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """An S3 server over HTTP; a ``s3_server.Server``."""
    with buckets.serving() as serving:
        yield serving


@pytest.fixture
def bucket(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: ANN401
    """The name of an empty bucket, and a catalog whose tables are there."""
    with buckets.environment(server):
        name = buckets.new_bucket(server)
        options = plain_aws_options(aws_access())
        settings = {
            "TYPE": "sql",
            "URI": f"sqlite:///{tmp_path}/catalog.db",
            "WAREHOUSE": f"s3://{name}/warehouse",
            "S3__ENDPOINT": options["aws_endpoint_url"],
            "S3__ACCESS_KEY_ID": options["aws_access_key_id"],
            "S3__SECRET_ACCESS_KEY": options["aws_secret_access_key"],
            "S3__REGION": options["aws_region"],
        }
        for key, value in settings.items():
            monkeypatch.setenv(f"PYICEBERG_CATALOG__STORE__{key}", value)
        monkeypatch.setattr(catalogs, "_ENV_CONFIG", catalogs.Config())
        yield name


def test_an_output_in_a_store_is_a_table_and_tables_there_are_read(
    predict: Callable[..., Any], bucket: str, tmp_path: Path
) -> None:
    """Registered where its files are, grown, and read again as a dataset at a version."""
    contexts, _ = windows()
    for number in range(2):
        columns = {"key": np.arange(10) + 10 * number}
        rows = slice(10 * number, 10 * number + 10)
        write_windows(tmp_path / f"in/lane=a b/{number}.parquet", contexts[rows], columns=columns)
        output = f"s3://{bucket}/out"
        tables = ("--register", "delta", "--register", "iceberg:store.ns.rows")
        assert predict(tmp_path / "in", "--output", output, *tables).code == 0
    options = plain_aws_options(aws_access())
    delta = deltalake.DeltaTable(output, storage_options=options).to_pyarrow_table()
    iceberg = catalogs.load_catalog("store").load_table("ns.rows").scan().to_arrow()
    for table in (delta, iceberg):
        assert sorted(table["key"].to_pylist()) == list(range(20))
        assert set(table["lane"].to_pylist()) == {"a b"}
    assert [file.name for file in find_files([f"delta:{output}@0"])] == ["lane=a b/0-00000.parquet"]
    for name in (output, f"delta:{output}", "iceberg:store.ns.rows"):
        files = find_files([name])
        assert len(files) == 2
        assert all(file.path.startswith(f"{output}/lane=a b/") for file in files)


@pytest.mark.parametrize(("table", "package"), [("delta", "deltalake"), ("iceberg:a.b.c", "pyiceberg")])
def test_a_missing_package_is_named_with_its_extra(
    table: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run that would register, and by whatever reads a table."""
    extra = f'pip install "lvm-batch[{table.partition(":")[0]}]"'
    monkeypatch.setattr("lvm_batch.jobs.extras.find_spec", lambda name: None if name == package else 1)
    with pytest.raises(errors.MissingExtra) as caught:
        check_extras(RunSettings(register=(table,)))
    assert caught.value.args[1] == extra
    (tmp_path / "table/_delta_log").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.catalog", None)
    with pytest.raises(MissingExtra) as missing:
        find_files([str(tmp_path / "table") if table == "delta" else table])
    assert missing.value.args[1] == extra
