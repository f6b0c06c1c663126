"""The plots of an evaluation: the spread of cosines, their means by group, and the recall among the bank's vectors.

The rule: a model has the same colour in every figure, baselines are grey, and bars are the intervals of the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.evaluation.group_scores import SHOWN_LANES
from lvm_batch.jobs.evaluation.row_scores import LAST, MEAN, RIDGE
from lvm_batch.jobs.plots import COLOURS, GREY, WIDTH, figure_svg, label, legend_below
from lvm_batch.lvm.evaluation.retrieval import recall_curve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lvm_batch.jobs.evaluation.row_scores import RowScores

    Values = Mapping[str, Any]

_BINS = 60
_ACROSS = 3  # panels side by side
_DEEPEST = 1000
_DEPTHS_NAMED = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_NARROWEST = 0.01  # range of cosines: all may be equal
_LINES = {MEAN: "--", LAST: ":", RIDGE: "-."}
_MARKERS = {MEAN: "s", LAST: "v", RIDGE: "D"}


def plots(values: Values, scores: RowScores) -> Iterator[tuple[str, bytes]]:
    """Yield each figure's file name and its SVG."""
    names = [model["name"] for model in values["models"]]
    down = -(-len(names) // _ACROSS)
    yield (
        "cosines.svg",
        figure_svg(
            lambda figure: _distributions(figure, scores.cosines, names), size=(WIDTH, 0.6 + 2.9 * down)
        ),
    )
    groups = dict(_groups(values))
    yield (
        "groups.svg",
        figure_svg(lambda figure: _dots(figure, values, groups), size=(WIDTH, 1.2 + 0.5 * len(groups))),
    )
    if values["bank"] and values["bank"]["rows"]:
        yield "retrieval.svg", figure_svg(lambda figure: _curves(figure, values, scores.ranks))


def _distributions(
    figure: Figure, cosines: Mapping[str, NDArray[np.floating[Any]]], names: list[str]
) -> None:
    """Draw a panel for each model, with the outline of the context's mean in it."""
    known = {name: values[np.isfinite(values)] for name, values in cosines.items()}
    shown = np.concatenate([known[name] for name in (*names, MEAN)])
    lowest, highest = (shown.min(), shown.max()) if len(shown) else (-1.0, 1.0)
    edges = np.linspace(lowest, max(highest, lowest + _NARROWEST), _BINS + 1)
    across = min(_ACROSS, len(names))
    panels = figure.subplots(-(-len(names) // across), across, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("rows")
    for axes, name, colour in zip(panels.flat, names, _colours(), strict=False):
        axes.hist(known[name], edges, color=colour, alpha=0.55, label=label(name))
        axes.hist(known[MEAN], edges, color=GREY, histtype="step", label=MEAN)
        for values, line in ((known[name], colour), (known[MEAN], GREY)):
            if len(values):
                axes.axvline(values.mean(), color=line, linestyle="--", linewidth=1)
        legend_below(axes)
    figure.suptitle(
        "cosine with the true next vector: rows, and their mean as a dashed line", x=0.01, ha="left"
    )


def _groups(values: Values) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the label of each group, with its kind and its name in the values."""
    yield "all rows", ("", "")
    first = values["models"][0]
    for name in first["by_split"]:
        yield name, ("by_split", name)
    for name in list(first["by_lane"])[:SHOWN_LANES]:
        yield f"lane {name}", ("by_lane", name)


def _dots(figure: Figure, values: Values, groups: Mapping[str, tuple[str, str]]) -> None:
    axes = figure.subplots()
    judged = [*values["models"], *values["baselines"]]
    offsets = np.linspace(-0.3, 0.3, len(judged)) if len(judged) > 1 else [0.0]
    for number, (each, style) in enumerate(zip(judged, _styles(values), strict=True)):
        for row, (kind, name) in enumerate(groups.values()):
            figures = each[kind].get(name) if kind else each
            if figures and figures["cosine"] is not None:
                _dot(axes, figures, row + offsets[number], style, name=None if row else label(each["name"]))
    axes.set_yticks(range(len(groups)), [label(name) for name in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for row in range(len(groups) - 1):
        axes.axhline(row + 0.5, color="#e4e4e4", linewidth=0.8)
    axes.set_title("mean cosine with the true next vector, and its 95 % interval")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _dot(axes: Axes, figures: Values, y: float, style: dict[str, Any], *, name: str | None) -> None:
    mean = figures["cosine"]
    ends = figures["interval"] or (mean, mean)
    spread = [[max(0.0, mean - ends[0])], [max(0.0, ends[1] - mean)]]
    axes.errorbar(
        [mean],
        [y],
        xerr=spread,
        fmt=style["marker"],
        color=style["color"],
        markersize=4,
        linewidth=1,
        label=name,
    )


def _curves(figure: Figure, values: Values, ranks: Mapping[str, NDArray[np.int64]]) -> None:
    axes = figure.subplots()
    deepest = min(_DEEPEST, values["bank"]["vectors"])
    depths = np.unique(np.geomspace(1, deepest, 60).round().astype(int)).tolist()
    for each, style in zip([*values["models"], *values["baselines"]], _styles(values), strict=True):
        curve = recall_curve(ranks[each["name"]], depths)
        axes.plot(depths, curve, color=style["color"], linestyle=style["line"], label=label(each["name"]))
    axes.set_xscale("log")
    named = [depth for depth in _DEPTHS_NAMED if depth <= deepest]
    axes.set_xticks(named, [f"{depth:,}" for depth in named])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"nearest vectors considered, of {values['bank']['vectors']:,} in the bank")
    axes.set_title("share of rows whose true next vector is among them")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _styles(values: Values) -> Iterator[dict[str, Any]]:
    """Yield the style of each model, then of each baseline."""
    for _, colour in zip(values["models"], _colours(), strict=False):
        yield {"color": colour, "marker": "o", "line": "-"}
    for baseline in values["baselines"]:
        name = baseline["name"]
        yield {"color": GREY, "marker": _MARKERS[name], "line": _LINES[name]}


def _colours() -> Iterator[str]:
    """Yield a colour for each model; after six, the colours repeat."""
    while True:
        yield from COLOURS
