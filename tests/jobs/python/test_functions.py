"""The functions of ``lvm_batch``, on a cluster in threads of this process: their results, their files, their errors."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import sample, windows, write_windows

import lvm_batch
from lvm_batch.io.output.lock import lock_output

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

N_ROWS = 40
N_VECTORS = 500


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than such a run."""
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder of windows, one of which is bad."""
    contexts, targets = (part[:N_ROWS].copy() for part in windows())
    contexts[3] = np.nan
    write_windows(tmp_path / "in/a.parquet", contexts, targets)
    return tmp_path / "in"


@pytest.fixture
def given(models: Path, bank: Path, scheduler: str, tmp_path: Path) -> dict[str, Any]:
    """The arguments of a run besides its dataset."""
    return {
        "model": models / "amn.pt",
        "fallback": models / "gru.pt",
        "bank": bank,
        "scheduler": scheduler,
        "output": tmp_path / "out",
        "max_bad_rows": 1,
    }


def test_a_run_returns_its_summary(
    dataset: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Typed, as values, and as the command's text; stdout stays empty, and the same call finds the job done."""
    result = lvm_batch.run(dataset, **given)
    assert (result.summary.totals.rows_out, result["rows_out"], result.output) == (
        N_ROWS,
        N_ROWS,
        str(given["output"]),
    )
    assert str(result) == repr(result) == result.text
    assert "_SUCCESS written" in result.text
    assert result.values == result.summary.to_json()
    assert lvm_batch.read_predictions(result.output).collect().height == N_ROWS
    assert lvm_batch.predictions_dataset(result.output).count_rows() == N_ROWS
    again = lvm_batch.run(dataset, **given)
    assert again.summary.units_computed == 0
    assert lvm_batch.read_summary(given["output"]) == again.summary
    assert capsys.readouterr().out == ""


def test_warnings_are_in_the_result_and_printed(
    dataset: Path, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Results that are bad raise nothing; stderr has each warning, unless nothing is to be said."""
    result = lvm_batch.run(dataset, **given, min_confidence=1, max_fallback_rate=0.1)
    assert "fallback_rate" in [warning.kind for warning in result.warnings]
    said = capsys.readouterr().err
    assert all(f"warning: {warning.message}" in said for warning in result.warnings)
    assert lvm_batch.run(dataset, **given, min_confidence=1, max_fallback_rate=0.1, progress=False).warnings
    assert "warning" not in capsys.readouterr().err


def test_a_summary_is_read_where_there_is_one(tmp_path: Path) -> None:
    """A folder without a job is named."""
    with pytest.raises(lvm_batch.DataError, match=f"{tmp_path} holds no job"):
        lvm_batch.read_summary(tmp_path)


def test_without_progress_nothing_is_said(
    dataset: Path, given: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither on stdout nor on stderr; with it, notes are on stderr."""
    lvm_batch.run(dataset, **given, progress=False)
    assert capfd.readouterr() == ("", "")
    lvm_batch.run(dataset, **given, since="2000-01-01")
    out, err = capfd.readouterr()
    assert out == ""
    assert "selected" in err or "device" in err


def test_a_gate_that_fails_raises_with_the_result(dataset: Path, given: dict[str, Any]) -> None:
    """The output stays to be looked at, and the error can be sent to another process."""
    with pytest.raises(lvm_batch.GateFailed, match=r"bad_input, more than --max-bad-rows") as caught:
        lvm_batch.run(dataset, **{**given, "max_bad_rows": 0})
    error = caught.value
    assert (error.kind, error.exit_code) == ("gate", 3)
    assert error.result.summary.totals.rows_by_status["bad_input"] == 1
    assert "without _SUCCESS" in error.result.text
    assert pickle.loads(pickle.dumps(error)).result.summary == error.result.summary  # noqa: S301 - our own
    frame = lvm_batch.read_predictions(given["output"], require_success=False)
    assert frame.collect().height == N_ROWS


def test_an_output_that_another_run_holds_is_tried_again(dataset: Path, given: dict[str, Any]) -> None:
    """By the error's exit code, as a scheduler does with the command's."""
    given["output"].mkdir()
    with lock_output(str(given["output"])), pytest.raises(lvm_batch.DataError) as caught:
        lvm_batch.run(dataset, **given)
    assert caught.value.exit_code == lvm_batch.TryAgain.exit_code


def test_a_plan_writes_nothing(dataset: Path, given: dict[str, Any]) -> None:
    """It says what is left to do; a refusal is part of it, other problems are raised."""
    plan = lvm_batch.plan(dataset, **given)
    assert (plan.rows, plan.units_left, plan.refusal, plan.output) == (N_ROWS, 1, None, str(given["output"]))
    assert not given["output"].exists()
    assert "insufficient" not in plan.text
    refused = lvm_batch.plan(dataset, **given, memory_limit="1MiB")
    assert refused.refusal is not None
    with pytest.raises(lvm_batch.DataError, match="nowhere"):
        lvm_batch.plan("nowhere", **given)


def test_an_inspection_says_what_a_dataset_holds(dataset: Path) -> None:
    """As values and as text."""
    result = lvm_batch.inspect([dataset])
    assert (result["files"], result["rows"]) == (1, N_ROWS)
    assert "files" in set(result)


def test_a_bank_is_built_from_vectors(tmp_path: Path, sample_file: Path) -> None:
    """Its path is what ``run(bank=...)`` takes."""
    bank = lvm_batch.build_bank(sample_file, output=tmp_path / "bank", progress=False)
    assert (bank.path, bank.count, bank.left_out) == (str(tmp_path / "bank"), N_VECTORS, 0)
    with pytest.raises(lvm_batch.JobError, match="index cannot be 'fast'"):
        lvm_batch.build_bank([sample_file], output=tmp_path / "other", index="fast")


def test_a_model_is_trained_and_judged(tmp_path: Path, sample_file: Path, bank: Path) -> None:
    """The result of a training has the checkpoint that an evaluation and a run take."""
    arguments = {"arch": "amn", "output": tmp_path / "amn", "epochs": 1, "progress": False}
    trained = lvm_batch.train(sample_file, **arguments)
    assert trained.model == tmp_path / "amn/best_model.pt"
    assert trained.model.is_file()
    assert "amn" in trained.text
    found = lvm_batch.evaluate(sample_file, model=trained.model, resamples=100, progress=False)
    assert [each["path"] for each in found["models"]] == [str(trained.model)]
    with pytest.raises(lvm_batch.JobError, match="--budget needs --calibrate"):
        lvm_batch.evaluate(sample_file, model=trained.model, budget=0.1)


def test_a_training_that_diverges_raises_with_its_result(tmp_path: Path, sample_file: Path) -> None:
    """The best model before that is kept, and the error says where."""
    with pytest.raises(lvm_batch.JobError) as caught, np.errstate(all="ignore"):
        lvm_batch.train(sample_file, arch="amn", output=tmp_path / "amn", epochs=2, learning_rate=1e30)
    assert caught.value.kind == "diverged"
    assert caught.value.result.model.is_file()


@pytest.fixture(scope="module")
def sample_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some articles of the sample as a file of sequences."""
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("sample") / "sample.parquet"
    pq.write_table(sample().slice(0, N_VECTORS), path)
    return path
