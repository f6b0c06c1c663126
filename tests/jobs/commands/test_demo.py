"""The demo: the first thing that a new user sees."""

from __future__ import annotations

import shlex
from importlib.resources import as_file
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.datasets import read_rows, windows

from lvm_batch.jobs import demo
from lvm_batch.lvm.architectures.catalog import build_model

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder: the demo runs once for these tests."""
    return tmp_path_factory.mktemp("demo") / "demo"


@pytest.fixture(autouse=True)
def _little_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for less time than the demo does, and a smaller GRU: the models are good enough for these tests.

    Draw no report and no curves, which takes as long as the training.
    """

    def build_small(name: str, **how: Any) -> Any:  # noqa: ANN401 - of the function that it replaces
        sizes = {"d_model": 64, "num_layers": 1} if name == "gru" else {}
        return build_model(name, **how, **sizes)

    monkeypatch.setattr(demo, "EPOCHS", {"amn": 1, "gru": 1})
    monkeypatch.setattr("lvm_batch.jobs.training.train.build_model", build_small)
    monkeypatch.setattr("lvm_batch.jobs.training.train.curves_svg", lambda _: b"")
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)


def test_the_demo_trains_predicts_and_shows_the_next_commands(
    lvm_batch: Callable[..., Any], folder: Path
) -> None:
    """Every window of the sample gets a prediction, both models answer some, and AMN beats the context's mean."""
    result = lvm_batch("demo", "--output", folder)
    assert result.code == 0
    assert result.values["rows_out"] == len(windows()[0])
    assert min(result.values["rows_by_route"].values()) > 0
    assert "lvm-batch run" in result.stderr
    assert str(folder / "predictions") in result.stderr
    contexts, targets = windows()
    means = contexts.mean(axis=1)
    baseline = float(((means / np.linalg.norm(means, axis=1, keepdims=True)) * targets).sum(axis=1).mean())
    unseen = [row["amn_cosine"] for row in read_rows(folder / "predictions") if row["split"] == "ood"]
    assert len(unseen) > 100
    assert result.values["amn_cosine"]["mean"] > baseline


def test_a_second_demo_finds_everything_made(lvm_batch: Callable[..., Any], folder: Path) -> None:
    """Nothing is trained, built or computed again."""
    if not folder.exists():
        pytest.skip("the first demo has not run")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in {".pt", ".npy"}}
    result = lvm_batch("demo", "--output", folder)
    assert (result.code, result.values["units_computed"]) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_demo_whose_bank_was_cut_short_builds_it_again(lvm_batch: Callable[..., Any], folder: Path) -> None:
    """The bank's description is written last; without it the folder holds no bank."""
    if not folder.exists():
        pytest.skip("the first demo has not run")
    (folder / "bank/bank.json").unlink()
    assert lvm_batch("demo", "--output", folder).code == 0
    assert (folder / "bank/bank.json").exists()


def test_a_demo_over_a_file_is_refused(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A file in the folder's place is a wrong option, not a bug."""
    (tmp_path / "file").write_text("mine")
    result = lvm_batch("demo", "--output", tmp_path / "file")
    assert (result.code, result.values["error"]["kind"]) == (2, "output")
    assert "--output" in result.values["error"]["hint"]


def test_a_shard_that_was_cut_short_is_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that is stopped while it writes a shard can be repeated."""
    with as_file(demo.sample_file()) as path:
        sample = demo.read_windows(path)

    def stopped(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"PAR1")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo.pq, "write_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            demo.write_shards(tmp_path / "windows", sample)
    demo.write_shards(tmp_path / "windows", sample)
    assert sum(rows_of(path) for path in (tmp_path / "windows").iterdir()) == len(sample.article)


def rows_of(path: Path) -> int:
    """The number of rows of a shard, which must be a Parquet file."""
    assert path.suffix == ".parquet"
    return pq.read_metadata(path).num_rows


def test_the_next_commands_work_as_pasted(
    lvm_batch: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three ends with 0, and the run finds everything done."""
    if not folder.exists():
        pytest.skip("the first demo has not run")
    monkeypatch.setattr("lvm_batch.jobs.evaluation.evaluate.plots", lambda *_: [])
    monkeypatch.setenv("LVM_BATCH_RESAMPLES", "100")
    monkeypatch.chdir(folder)
    lines = [line.strip() for line in demo.next_steps(folder).splitlines() if line.startswith("  ")]
    commands = [shlex.split(line)[1:] for line in lines if not line.startswith("#")]
    results = [lvm_batch(*command) for command in commands]
    assert [result.code for result in results] == [0, 0, 0]
    assert results[-1].values["units_computed"] == 0
    assert str(folder / "predictions/_lvm_batch/report.html") in demo.next_steps(folder)


def test_the_next_commands_are_quoted() -> None:
    """The folder's name may have blanks and quotes in it."""
    folder = Path("my 'demo'")
    lines = [shlex.split(line) for line in demo.next_steps(folder).splitlines() if "lvm-batch " in line]
    assert lines[0][1:] == ["show", str(folder / "predictions"), "--worst"]
