"""A first look at a dataset: some rows, some columns, no predictions; then the same job again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.datasets import windows, write_windows

from lvm_batch.io import read_predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

ROWS_A_FILE = 20
CHOICE = ("--limit", 30, "--columns", "id", "--no-prediction")


def write(path: Path) -> Path:
    """Write a file of windows with an id and a text."""
    contexts, targets = (part[:ROWS_A_FILE] for part in windows())
    columns = {"id": range(ROWS_A_FILE), "text": ["long"] * ROWS_A_FILE}
    return write_windows(path, contexts, targets, row_group_rows=10, columns=columns)


@pytest.fixture
def job(tmp_path: Path) -> tuple[object, ...]:
    """The arguments of a job over two files, of which it reads thirty rows."""
    for name in ("a", "c"):
        write(tmp_path / f"in/{name}.parquet")
    return (tmp_path / "in", "--output", tmp_path / "out", *CHOICE)


def test_a_first_look(
    job: tuple[object, ...],
    tmp_path: Path,
    models: Path,
    predict: Callable[..., Any],
    lvm_batch: Callable[..., Any],
) -> None:
    """Every command that reads the output says what it is of, and the same command has nothing left to do."""
    plan = lvm_batch("plan", *job, "--model", models / "amn.pt").done()
    assert (plan["rows"], plan["limit"], len(plan["units"])) == (30, 30, 2)
    summary = predict(*job).done()
    assert (summary["rows_out"], summary["settings"]["limit"], summary["units_computed"]) == (30, 30, 2)
    assert "only the first 30 rows are read (--limit), from 2 of 2 files" in summary["notices"]
    assert json.loads((tmp_path / "out/_SUCCESS").read_text())["limit"] == 30
    assert lvm_batch("status", tmp_path / "out").done()["limit"] == 30
    unchecked = lvm_batch("verify", tmp_path / "out").done()["not_checked"]
    assert [part.partition(",")[0] for part in unchecked] == ["predictions", "rows after the first 30"]
    frame = read_predictions(tmp_path / "out").collect()
    assert frame.columns[:2] == ["id", "cosine"]
    assert frame["id"].to_list() == [*range(ROWS_A_FILE), *range(10)]
    assert predict(*job).done()["units_computed"] == 0
    assert lvm_batch("report", tmp_path / "out", "--output", tmp_path / "report.html").code == 0
    assert "only the first 30 rows are read" in (tmp_path / "report.html").read_text()


def test_files_that_change_what_a_limit_means_are_refused(
    job: tuple[object, ...], tmp_path: Path, predict: Callable[..., Any]
) -> None:
    """A file behind the limit changes nothing; one before it would shift the rows that were read."""
    predict(*job).done()
    write(tmp_path / "in/d.parquet")
    assert predict(*job).done()["units_computed"] == 0
    write(tmp_path / "in/b.parquet")
    error = predict(*job).values["error"]
    assert "inputs.c.parquet" in error["message"]
    assert "--limit" in error["hint"]


@pytest.mark.parametrize(
    "other", [("--limit", 29), ("--columns", "text"), ("--drop", "text"), ("--prediction",)]
)
def test_another_choice_is_another_job(
    job: tuple[object, ...], predict: Callable[..., Any], other: tuple[object, ...]
) -> None:
    """Its output goes elsewhere; the refusal names what differs."""
    predict(*job).done()
    error = predict(*job, *other).values["error"]
    assert "holds another job: " in error["message"]
