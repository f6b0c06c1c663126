"""Plots of a training, an evaluation and a calibration: no line crosses a legend, and epochs are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lvm_batch.jobs.evaluation.calibration.calibration_plots import draw_gain, draw_reliability
from lvm_batch.jobs.plots import HEIGHT, WIDTH
from lvm_batch.jobs.training.curves import draw_curves
from lvm_batch.lvm.evaluation.calibration import CalibrationRows

if TYPE_CHECKING:
    from collections.abc import Callable

_HISTORY = {
    "model_type": "amn",
    "best_epoch": 2,
    "best_val_cosine": 0.62,
    "measured": {"validation": {"ridge": {"cosine": 0.61}, "mean": {"cosine": 0.58}}},
    "history": [
        {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.1 / epoch, "val_cosine": 0.6 + 0.01 * epoch}
        for epoch in (1, 2, 3)
    ],
}


def _draw_curves(figure: Figure) -> None:
    draw_curves(figure, _HISTORY)


def _draw_reliability(figure: Figure) -> None:
    tenths = [{"predicted": n / 10, "actual": 1 - n / 10} for n in range(10)]
    signals = {name: {"reliability": tenths, "auroc": 0.5} for name in ("confidence", "margin")}
    draw_reliability(figure, values={"signals": signals, "primary_cosine": 0.5})


def _draw_gain(figure: Figure) -> None:
    values = np.linspace(-1, 1, 50)
    rows = CalibrationRows(values, values**2, values, values, values > 0, np.arange(50))
    policies = {name: {"escalated": 0.9, "gain": 0.1} for name in ("both", "router")}
    draw_gain(figure, rows=rows, values={"policies": policies, "grouped_by": "articles", "budget": 0.2})


@pytest.mark.parametrize("draw", [_draw_curves, _draw_reliability, _draw_gain])
def test_no_line_crosses_a_legend(draw: Callable[[Figure], None]) -> None:
    """A legend lies outside the axes and within the figure."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure)
    canvas.draw()
    for axes in figure.axes:
        legend = axes.get_legend().get_window_extent()
        assert not legend.overlaps(axes.get_window_extent())
        assert figure.bbox.count_contains(legend.corners()) == 4


def test_epochs_are_whole() -> None:
    """Three epochs have no ticks between them."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    _draw_curves(figure)
    FigureCanvasAgg(figure).draw()
    ticks = figure.axes[0].get_xticks()
    assert all(float(tick).is_integer() for tick in ticks)
