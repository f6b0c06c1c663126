"""Results that are bad are said to be bad: before the work where footers tell, and at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import reference
from support.datasets import sample, windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_a_fallback_that_makes_rows_worse_is_a_warning_and_a_gate_on_request(
    predict: Callable[..., Any], lvm_batch: Callable[..., Any], bank: Path, models: Path, tmp_path: Path
) -> None:
    """Where AMN is always right, GRU is worse: the run says so with a command that works as it is printed."""
    contexts, out = windows()[0][:120], tmp_path / "out"
    weights = torch.load(models / "amn.pt", weights_only=True)["model_state_dict"]
    targets = reference.amn(weights, contexts)
    path = write_windows(tmp_path / "in put.parquet", contexts, targets)
    arguments = (path, "--output", out, "--bank", bank, "--min-confidence", 1)
    result = predict(*arguments)
    warnings = result.done()["warnings"]
    kinds = [warning["kind"] for warning in warnings]
    assert kinds == ["worse_than_context", "fallback_loss", "fallback_rate"]
    loss = warnings[kinds.index("fallback_loss")]
    assert loss["value"] == result.values["escalation_gain"]["mean"] < -0.1
    assert result.stderr.rstrip().endswith(warnings[-1]["hint"])
    assert lvm_batch("status", out).done()["warnings"] == warnings

    command = shlex.split(loss["hint"].partition(": ")[2])
    calibration = lvm_batch(*command[1:]).done()["calibration"]
    assert calibration["primary"]["path"] == str(models / "amn.pt")

    failed = predict(*arguments, "--max-fallback-loss", 0.1)
    assert (failed.code, failed.values["error"]["kind"], failed.values["units_computed"]) == (3, "gate", 0)
    assert not (out / "_SUCCESS").exists()
    assert predict(*arguments, "--max-fallback-loss", 1.5).done()["units_computed"] == 0


def test_a_gate_that_null_vectors_will_fail_is_foretold(predict: Callable[..., Any], tmp_path: Path) -> None:
    """Six null vectors make more than 1 % of the rows bad: said before the work, with the limit that accepts them."""
    table = sample().slice(0, 300)
    vectors = [
        None if row in {20, 60, 61, 100, 140, 200} else value
        for row, value in enumerate(table["vector"].to_pylist())
    ]
    place = table.schema.get_field_index("vector")
    table = table.set_column(place, "vector", pa.array(vectors, pa.list_(pa.float32())))
    pq.write_table(table, tmp_path / "in.parquet")
    arguments = (tmp_path / "in.parquet", "--output", tmp_path / "out")
    (notice,) = [
        text for text in predict(*arguments, "--dry-run").done()["notices"] if "--max-bad-rows" in text
    ]
    assert "6 rows have nulls in `vector`, the first in row group 0" in notice
    failed = predict(*arguments)
    assert notice in failed.stderr
    assert (failed.code, failed.values["error"]["kind"]) == (3, "gate")
    limit = notice.rpartition(" ")[2]
    accepted = predict(*arguments, "--max-bad-rows", limit).done()
    assert accepted["bad_row_rate"] <= float(limit)
    assert not [text for text in accepted["notices"] if "--max-bad-rows" in text]
