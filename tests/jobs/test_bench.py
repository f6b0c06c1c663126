"""``lvm-batch bench``: figures of this machine, of the real command; none of them is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lvm_batch.jobs.benchmark import bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do little of everything: two units, one start, a few queries."""
    for name, value in {"QUERIES": 20, "_PARTS_ROWS": 5200, "_STARTS": 1}.items():
        monkeypatch.setattr(bench, name, value)


@pytest.mark.usefixtures("_little")
def test_every_part_has_a_rate_and_adds_up(
    lvm_batch: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    """Parts, limit, what was reached of it and single queries of all models stand in the result, in both forms."""
    result = lvm_batch(
        "bench",
        "--rows",
        300,
        "--model",
        models / "amn.pt",
        "--workers",
        1,
        "--models-dir",
        tmp_path / "none",
    )
    assert result.code == 0, result.stderr
    values = result.values
    assert {"read", "amn", "gru", "write"} <= values["rows_per_s_of_a_core"].keys()
    assert all(rate > 0 for rate in values["rows_per_s_of_a_core"].values())
    assert 0.5 < sum(values["share_of_time"].values()) <= 1
    assert 0 < values["escalated"] < 0.3
    assert values["share_of_limit"] > 0
    assert set(values["latency_ms"]) == {"amn", "amn-mixer", "gru", "lstm", "transformer"}
    assert all(ms["p50"] <= ms["p95"] <= ms["p99"] for ms in values["latency_ms"].values())


def test_a_model_that_is_not_there_is_named(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A name that leads nowhere is an error before anything is measured."""
    result = lvm_batch("bench", "--model", "nobody", "--models-dir", tmp_path)
    assert (result.code, "nobody" in result.values["error"]["message"]) == (2, True)
