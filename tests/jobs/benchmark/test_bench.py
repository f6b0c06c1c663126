"""``lvm-batch bench``: figures of the real command on this machine; no test judges them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.datasets import windows, write_windows

from lvm_batch.jobs.benchmark import bench, inputs
from lvm_batch.jobs.benchmark.part_timings import PartTimings
from lvm_batch.lvm.architectures.catalog import build_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.jobs.settings.run import RunSettings

pytestmark = pytest.mark.slow


@pytest.fixture
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrink every part: two units, a few queries, a fresh fallback with few parameters.

    One run is timed, that of a few rows; the whole is said to take twice as long.
    """
    timed: list[float] = []

    def timed_once(settings: RunSettings) -> float:
        timed.append(2 * timed[0] if timed else timed_run(settings))
        return timed[-1]

    def build_small(name: str, **how: Any) -> Any:  # noqa: ANN401 - of the function that it replaces
        return build_model(name, **how, d_model=32, num_layers=1)

    timed_run = bench._timed_run
    monkeypatch.setattr(bench, "_timed_run", timed_once)
    monkeypatch.setattr(inputs, "build_model", build_small)
    for name, value in {"QUERIES": 20, "_PARTS_ROWS": 5100, "_STARTS": 1, "SAMPLED_ROWS": 40}.items():
        monkeypatch.setattr(bench, name, value)


@pytest.mark.usefixtures("_little")
def test_every_part_has_a_rate_and_adds_up(
    lvm_batch: Callable[..., Any], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result has parts, limit, the share reached, single queries of all models and the precisions, as JSON.

    The user's environment and configuration file do not apply: benchmark runs enter no history, and they escalate
    rows and cut units as always.
    """
    monkeypatch.setenv("LVM_BATCH_HISTORY", str(tmp_path / "history"))
    monkeypatch.setenv("LVM_BATCH_UNIT_SIZE", "1GiB")
    config = tmp_path / "job.toml"
    config.write_text('high_stakes_lane = ["general"]\n', encoding="utf-8")
    contexts, targets = windows()
    result = lvm_batch(
        "bench",
        write_windows(tmp_path / "own.parquet", contexts[:60], targets[:60]),
        "--rows",
        300,
        "--model",
        models / "amn.pt",
        "--workers",
        1,
        "--models-dir",
        tmp_path / "none",
        "--config",
        config,
    )
    assert result.code == 0, result.stderr
    values = result.values
    assert {"read", "amn", "gru", "write"} <= values["rows_per_s_of_a_core"].keys()
    assert all(rate > 0 for rate in values["rows_per_s_of_a_core"].values())
    assert 0 < sum(values["share_of_time"].values()) <= 1  # the rest is other programs' on a busy machine
    assert 0 < values["escalated"] < 0.3
    assert values["share_of_limit"] > 0
    assert not (tmp_path / "history").exists()
    assert values["precisions"]["fp32"]["gain"] == 1
    assert values["precisions"]["bf16"]["rows_per_s_of_a_core"] > 0
    assert 0 < values["precisions"]["bf16"]["cosine_change"] < 0.001
    assert values["sampled_rows"] == 40
    assert values["advised_precision"] in values["precisions"]
    assert set(values["latency_ms"]) == {"amn", "amn-mixer", "gru", "lstm", "transformer"}
    assert all(ms["p50"] <= ms["p95"] <= ms["p99"] for ms in values["latency_ms"].values())
    assert all(cost["queries_per_s"] > 0 for cost in values["queries"].values())
    assert all(cost["latency_ms"] == values["latency_ms"][name] for name, cost in values["queries"].items())


@pytest.mark.parametrize(("whole_s", "reached"), [(5.0, 150), (3.1, None), (2.0, None)])
def test_a_run_that_took_no_longer_than_a_start_has_no_rate(whole_s: float, reached: int | None) -> None:
    """Start-up times vary; a whole run within their spread tells no rate for its rows, and the text shows a dash."""
    parts = PartTimings(1000, 100, {"read": 1.0, "amn": 1.0, "gru": 2.0}, 4.0, has_bank=False)
    values = bench._values(parts, 2, 300, [2.8, 3.0, 3.1], whole_s)
    assert values["rows_per_s"] == reached
    text = bench._as_text(values | {"queries": {}})
    assert ("- the run took no longer" in text) == (reached is None)


def test_a_missing_model_is_named(lvm_batch: Callable[..., Any], tmp_path: Path) -> None:
    """A model that does not exist is an error before anything is measured."""
    result = lvm_batch("bench", "--model", "nobody", "--models-dir", tmp_path)
    assert (result.code, "nobody" in result.values["error"]["message"]) == (2, True)
