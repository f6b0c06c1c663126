"""A run over a dataset of the Hugging Face Hub, from a server of the test's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support import buckets, command, hub_server
from support.datasets import assert_same_rows, read_rows, windows, write_windows
from support.hub_server import NAME, TOKEN, address

from lvm_batch.io.hub.address import _commit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_run_reads_one_commit_of_a_dataset(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are those of local files, the job names the commit, a new commit is another job, and no token is kept."""
    buckets.need_the_extra()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    contexts, targets = (part[:20] for part in windows())
    local = write_windows(tmp_path / "in/part-0.parquet", contexts, targets)
    options = ["--model", models / "amn.pt", "--fallback", models / "gru.pt", "--workers", "1"]
    out = tmp_path / "out"
    with hub_server.serving() as hub:
        hub.is_gated = True
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        _commit.cache_clear()
        buckets.forget()
        commit = hub.commit({"data/part-0.parquet": local.read_bytes()})
        command.called("run", address("data"), "--output", out, *options).done()
        again = command.called("run", address("data"), "--output", out, *options).done()
        assert again["units_computed"] == 0
        hub.commit({"data/part-0.parquet": local.read_bytes(), "README.md": b""})
        _commit.cache_clear()
        refused = command.called("run", address("data"), "--output", out, *options)
        written = command.called("run", local, "--output", address("out"), *options)
    _commit.cache_clear()
    buckets.forget()
    command.called("run", tmp_path / "in", "--output", tmp_path / "local", *options).done()
    assert_same_rows(read_rows(out), read_rows(tmp_path / "local"))
    job = (out / "_lvm_batch/job.json").read_text()
    assert json.loads(job)
    assert f"hf://datasets/{NAME}@{commit}/data/part-0.parquet" in job
    assert refused.code == 2
    assert (written.code, "only read" in str(written.values["error"])) == (2, True)
    kept = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in kept)
