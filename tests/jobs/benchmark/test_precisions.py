"""Tests of the choice among precisions: by what they gain, and by what they change on the user's own rows."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_batch.jobs.benchmark.precision_runs import PrecisionRun
from lvm_batch.jobs.benchmark.precisions import (
    PrecisionFigures,
    as_text,
    as_values,
    choose_precision,
    compare_precisions,
)


def run(seconds: float, *, moved: float = 0.0, rerouted: int = 0) -> PrecisionRun:
    """1,000 rows, of which the last has no route and no cosine; ``rerouted`` of the others go to gru."""
    routes = np.array(["gru"] * rerouted + ["amn"] * (999 - rerouted) + [None], dtype=object)
    cosines = np.append(np.full(999, 0.5 - moved), np.nan).astype(np.float32)
    return PrecisionRun(1000, seconds, routes, cosines)


def test_changes_are_those_of_rows_that_have_a_route_and_a_cosine() -> None:
    """A rate is rows by seconds, a gain a ratio of rates; a row without a cosine says nothing of cosines."""
    runs = {"fp32": run(2.0), "bf16": run(1.0, moved=0.001, rerouted=9), "int8": "needs VNNI"}
    figures = compare_precisions(runs, runs)
    assert (figures["bf16"].rows_per_s_of_a_core, figures["bf16"].gain) == (1000, 2.0)
    assert figures["bf16"].cosine_change == pytest.approx(0.001, rel=1e-3)
    assert figures["bf16"].routes_changed == pytest.approx(9 / 999)
    assert figures["int8"] == PrecisionFigures(refused="needs VNNI")
    text = as_text(as_values(figures, n_sampled=1000))
    assert "int8: needs VNNI" in text
    assert "take --precision fp32: each faster one changes more than" in text


@pytest.mark.parametrize(
    ("bf16", "int8", "chosen"),
    [
        ((1.4, 0.0001, 0.001), (1.6, 0.0005, 0.003), "int8"),
        ((1.4, 0.0001, 0.001), (1.6, 0.0005, 0.006), "bf16"),
        ((1.05, 0.0001, 0.001), (1.6, 0.002, 0.0), "fp32"),
        ((1.4, None, None), (1.6, None, None), "fp32"),
        ((1.4, None, 0.0), (1.6, None, 0.0), "fp32"),
    ],
)
def test_the_fastest_that_changes_little_is_advised(
    bf16: tuple[float | None, ...], int8: tuple[float | None, ...], chosen: str
) -> None:
    """A precision whose changes are unknown is never advised, however fast."""
    figures = {name: PrecisionFigures(1000, *values) for name, values in {"bf16": bf16, "int8": int8}.items()}
    assert choose_precision({"fp32": PrecisionFigures(900, 1.0, 0.0, 0.0), **figures}) == chosen


@pytest.mark.parametrize(
    ("gain", "n_sampled", "reason"),
    [(1.0, None, "no other is much faster"), (1.5, None, "give DATASET"), (1.5, 40, "have no targets")],
)
def test_the_reason_for_float32_is_said(gain: float, n_sampled: int | None, reason: str) -> None:
    """The table says why nothing faster is advised."""
    figures = {"fp32": PrecisionFigures(1000, 1.0), "bf16": PrecisionFigures(1000, gain)}
    assert reason in as_values(figures, n_sampled=n_sampled)["advised_why"]
