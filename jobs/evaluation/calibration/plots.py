"""The two plots of a calibration: what the signals tell, and what escalation gains.

The rule: lines are of the rows as they are; points, of what was found on some articles and judged on others. This
module does not know how figures are saved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.console.text import format_number
from lvm_batch.jobs.plots import GREY
from lvm_batch.lvm.evaluation.calibration import gain_curve, oracle_curve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from lvm_batch.lvm.evaluation.calibration import CalibrationRows

_POINTS = {"both": "proposed thresholds", "gate": "fitted gate"}


def draw_reliability(figure: Figure, *, values: Mapping[str, Any]) -> None:
    """Draw the true cosine over confidence and over margin, by tenths of the rows."""
    for place, (name, signal) in zip(
        figure.subplots(1, 2, sharey=True), values["signals"].items(), strict=True
    ):
        predicted = [tenth["predicted"] for tenth in signal["reliability"]]
        actual = [tenth["actual"] for tenth in signal["reliability"]]
        place.plot(predicted, actual, marker="o", markersize=3.5)
        place.axhline(values["primary_cosine"], color=GREY, linestyle=":", label="mean of all rows")
        place.set(
            xlabel=f"{name}, tenths of the rows", title=f"AUROC {format_number(signal['auroc'], '.3f')}"
        )
        place.legend()
    figure.axes[0].set_ylabel("cosine with the true next vector")


def draw_gain(figure: Figure, *, rows: CalibrationRows, values: Mapping[str, Any]) -> None:
    """Draw what the mean cosine gains over the share of rows that is escalated."""
    place, shares = figure.subplots(), np.linspace(0, 1, 201)
    place.plot(100 * shares, oracle_curve(rows.gain, shares), color="black", label="oracle")
    place.plot(100 * shares, gain_curve(-rows.confidence, rows.gain, shares), label="least confident first")
    place.plot(100 * shares, gain_curve(-rows.margin, rows.gain, shares), label="smallest margin first")
    place.plot(100 * shares, shares * rows.gain.mean(), color=GREY, linestyle="--", label="random")
    for marker, (name, label) in zip("os", _POINTS.items(), strict=True):
        policy = values["policies"][name]
        where = [100 * policy["escalated"]], [policy["gain"]]
        place.plot(*where, marker, label=f"{label}, on other {values['grouped_by']}")
    place.axvline(100 * values["budget"], color=GREY, linestyle=":", label="budget")
    place.set(xlabel="% of the rows escalated", ylabel="gain in mean cosine over all rows", xlim=(0, 100))
    place.legend()
