"""Datasets and outputs in storage buckets of the Hugging Face Hub, over a stand-in for its gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import bucket_gateway, buckets, command
from support.datasets import assert_same_rows, read_rows, windows, write_windows

from lvm_batch.io.errors import OutputLocked
from lvm_batch.io.output.lock import lock_output
from lvm_batch.io.storage import bucket_conditions
from lvm_batch.io.storage.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """The gateway; a ``s3_server.Server``."""
    with buckets.serving(bucket_gateway.gateway) as serving:
        serving.url += f"/{bucket_gateway.NAMESPACE}"
        yield serving


@pytest.fixture
def bucket(server: Any) -> Iterator[str]:  # noqa: ANN401
    """The name of an empty bucket, opened as the documentation says: by the endpoint of its namespace."""
    with buckets.environment(server, AWS_SESSION_TOKEN="", AWS_REGION=""):
        yield buckets.new_bucket(server)


def test_a_run_reads_and_writes_buckets_of_the_hub(
    server: Any,  # noqa: ANN401
    bucket: str,
    models: Path,
    scheduler: str,
    tmp_path: Path,
) -> None:
    """Rows are those of local files; the same command again finds all done, and readers find the rows."""
    contexts, targets = (part[:60] for part in windows())
    local = write_windows(tmp_path / "in/part 0.parquet", contexts, targets, row_group_rows=20)
    server.put(bucket, "in/part 0.parquet", local.read_bytes())
    options = ["--model", models / "amn.pt", "--fallback", models / "gru.pt", "--scheduler", scheduler]
    given = ["run", f"s3://{bucket}/in", "--output", f"s3://{bucket}/out", *options]
    assert command.called(*given).done()["rows_out"] == len(contexts)
    assert command.called(*given).done()["units_computed"] == 0
    command.called("status", f"s3://{bucket}/out").done()
    command.called("run", tmp_path / "in", "--output", tmp_path / "out", *options).done()
    for key, content in server.objects(bucket).items():
        if key.startswith("out/"):
            place = tmp_path / "fetched" / key.removeprefix("out/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    assert_same_rows(read_rows(tmp_path / "fetched"), read_rows(tmp_path / "out"))
    assert (tmp_path / "fetched/_SUCCESS").exists()


def test_one_of_two_runs_gets_an_output(bucket: str) -> None:
    """The lease holds there, since conditions do."""
    with lock_output(f"s3://{bucket}/out"), pytest.raises(OutputLocked), lock_output(f"s3://{bucket}/out"):
        pass


@pytest.mark.parametrize("n_bytes", [100, 9 * 2**20])
def test_a_file_that_is_there_is_not_replaced(
    server: Any,  # noqa: ANN401
    bucket: str,
    n_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small file by a condition, a large one, whose parts cannot be copied there, after a look."""
    monkeypatch.setattr(bucket_conditions, "WHOLE_BYTES", 2**20)
    store = open_store(f"s3://{bucket}/out", staging="tmp")
    for content, is_new in ((b"1" * n_bytes, True), (b"2" * n_bytes, False)):
        with store.stage() as staged:
            staged.write_bytes(content)
            assert store.publish_new(staged, "a.parquet") is is_new
    assert server.objects(bucket) == {"out/a.parquet": b"1" * n_bytes}
