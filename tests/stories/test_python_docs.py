"""The page on Python: its examples run, one after the other, and name every function and error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from support.datasets import sample

import lvm_batch
from lvm_batch.jobs.errors import Problem

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
N_VECTORS = 400


@pytest.fixture
def here(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the dataset of the page, and workers that need not be started."""
    (tmp_path / "embeddings").mkdir()
    pq.write_table(sample().slice(0, N_VECTORS), tmp_path / "embeddings/a.parquet")
    monkeypatch.setattr("lvm_batch.jobs.reports.report_writer.write_report", lambda *_, **__: None)
    monkeypatch.setenv("LVM_BATCH_SCHEDULER", scheduler)
    monkeypatch.setenv("LVM_BATCH_RESAMPLES", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run(here: Path) -> None:
    """As they are printed, in one process; what they show is what the text says of it."""
    names: dict[str, Any] = {}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"example {number}", "exec"), names)  # noqa: S102 - our own page
    assert names["trained"].model == Path("models/amn/best_model.pt")
    assert names["plan"].units_left == 1
    assert names["result"]["rows_out"] == names["dataset"].count_rows() == names["bank"].count == N_VECTORS
    assert [each["model"] for each in names["judged"]["leaderboard"]]


def test_the_example_of_errors_catches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first clause that fits is taken: a gate's has the result."""
    for kind in (lvm_batch.GateFailed, lvm_batch.TryAgain, lvm_batch.DataError, lvm_batch.SettingsError):
        names = {"lvm_batch": _raising(kind, monkeypatch), "job": {}}
        exec(compile(EXAMPLES[-1], "errors", "exec"), names)  # noqa: S102 - our own page
        assert ("bad" in names) == (kind is lvm_batch.GateFailed)


def _raising(kind: type[lvm_batch.LvmBatchError], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    class Anything:
        def __getattr__(self, name: str) -> Anything:
            return self

    def run(**_: object) -> None:
        texts = ("what", "do")
        error = kind(Problem(*texts)) if kind is lvm_batch.SettingsError else kind(*texts)
        error.result = Anything()
        raise error

    monkeypatch.setattr(lvm_batch, "run", run)
    return lvm_batch


@pytest.mark.parametrize("name", lvm_batch.__all__)
def test_every_function_and_error_is_on_the_page(name: str) -> None:
    """Results are described as a kind; their classes need no names there."""
    if name.endswith("Result") or name == "Summary":
        assert f"`{name}`" not in PAGE
    else:
        assert f"lvm_batch.{name}" in PAGE or f"`{name}`" in PAGE
