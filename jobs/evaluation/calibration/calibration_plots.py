"""The two plots of a calibration: how good the signals are, and what escalation gains.

The rule: lines are computed on all rows; points come from rules found on some articles and measured on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.console.text import format_number
from lvm_batch.jobs.plots import GREY, legend_below
from lvm_batch.lvm.evaluation.calibration import gain_curve, oracle_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from lvm_batch.lvm.evaluation.calibration import CalibrationRows

_POINTS = {"both": "proposed thresholds", "router": "router"}


def draw_reliability(figure: Figure, *, values: Mapping[str, Any]) -> None:
    """Draw the true cosine over confidence and over margin, by tenths of the rows."""
    for axes, (name, signal) in zip(
        figure.subplots(1, 2, sharey=True), values["signals"].items(), strict=True
    ):
        predicted = [tenth["predicted"] for tenth in signal["reliability"]]
        actual = [tenth["actual"] for tenth in signal["reliability"]]
        axes.plot(predicted, actual, marker="o", markersize=3.5)
        axes.axhline(values["primary_cosine"], color=GREY, linestyle=":", label="mean of all rows")
        axes.set(xlabel=f"{name}, tenths of the rows", title=f"AUROC {format_number(signal['auroc'], '.3f')}")
        legend_below(axes)
    figure.axes[0].set_ylabel("cosine with the true next vector")


def draw_gain(figure: Figure, *, rows: CalibrationRows, values: Mapping[str, Any]) -> None:
    """Draw the gain in the mean cosine over the share of escalated rows."""
    axes, shares = figure.subplots(), np.linspace(0, 1, 201)
    axes.plot(100 * shares, oracle_curve(rows.gain, shares), color="black", label="oracle")
    axes.plot(100 * shares, gain_curve(-rows.confidence, rows.gain, shares), label="least confident first")
    axes.plot(100 * shares, gain_curve(-rows.margin, rows.gain, shares), label="smallest margin first")
    axes.plot(100 * shares, shares * rows.gain.mean(), color=GREY, linestyle="--", label="random")
    for marker, (name, label) in zip("os", _POINTS.items(), strict=True):
        policy = values["policies"][name]
        where = [100 * policy["escalated"]], [policy["gain"]]
        axes.plot(*where, marker, label=f"{label}, on other {values['grouped_by']}")
    axes.axvline(100 * values["budget"], color=GREY, linestyle=":", label="budget")
    axes.set(xlabel="% of the rows escalated", ylabel="gain in mean cosine over all rows", xlim=(0, 100))
    legend_below(axes)
