"""Nights of one source, and one of another: `monitor` tells them apart without any target."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.datasets import windows, write_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.command import Result

pytestmark = pytest.mark.slow

N_NIGHTS = 7
ARTICLES_A_NIGHT = 6
ROWS_AN_ARTICLE = 24
DRIFT = ("input_drift", "prediction_drift", "confidence_drift", "reason_drift")


def nights() -> Iterator[np.ndarray]:
    """The contexts of each night: stretches of articles, none of them in two nights."""
    contexts = windows()[0]
    starts = np.arange(0, len(contexts) - ROWS_AN_ARTICLE, ROWS_AN_ARTICLE + 2)
    chosen = np.random.default_rng(1).permutation(starts)[: N_NIGHTS * ARTICLES_A_NIGHT]
    for night in np.split(chosen, N_NIGHTS):
        yield np.concatenate([contexts[start : start + ROWS_AN_ARTICLE] for start in night])


@pytest.fixture
def run_night(predict: Callable[..., Result], bank: Path, tmp_path: Path) -> Callable[..., None]:
    """Run over the contexts of a night, into the history."""

    def call(name: str, contexts: np.ndarray) -> None:
        write_windows(tmp_path / name / "a.parquet", contexts)
        options = ("--bank", bank, "--history", tmp_path / "history", "--max-fallback-rate", "1")
        assert predict(tmp_path / name, "--output", tmp_path / f"out-{name}", *options).code == 0

    return call


def test_a_night_of_other_vectors_is_an_alert(
    run_night: Callable[..., None], lvm_batch: Callable[..., Result], tmp_path: Path
) -> None:
    """Few nights are no base for a judgement; a night like them is quiet; one of another encoder fires."""

    def judge(since: datetime) -> tuple[int, dict[str, Any]]:
        result = lvm_batch("monitor", "--history", tmp_path / "history", "--since", since.isoformat())
        return result.code, {rule["rule"]: rule for rule in result.values["rules"]}

    *before, usual = nights()
    for number, contexts in enumerate(before):
        since = datetime.now(UTC)
        run_night(f"night-{number}", contexts)
        if number == 3:
            found = judge(since)[1]
            assert {found[name]["state"] for name in DRIFT} == {"not_evaluated"}
            assert "cannot judge yet: 3 runs" in found["input_drift"]["text"]
    since = datetime.now(UTC)
    run_night("usual", usual)
    found = judge(since)[1]
    assert {name: found[name]["state"] for name in DRIFT} == dict.fromkeys(DRIFT, "quiet")
    assert found["input_drift"]["details"]["articles"] >= ARTICLES_A_NIGHT
    since = datetime.now(UTC)
    turned = np.linalg.qr(np.random.default_rng(2).normal(size=(768, 768)))[0]
    run_night("turned", (usual @ turned).astype(np.float32))
    code, found = judge(since)
    drift = found["input_drift"]
    assert (code, drift["state"], drift["details"]["p"]) == (3, "fired", pytest.approx(0.001))
    assert drift["figure"] > 0.95
    assert "check what changed: source, encoder" in drift["text"]
    assert "7 runs that ended from" in drift["text"]
