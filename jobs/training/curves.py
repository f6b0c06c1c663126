"""The curves of a training: loss and cosine by epoch, with the kept epoch marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.plots import COLOURS, GREY, HEIGHT, WIDTH, count_along, figure_svg, legend_below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_svg(document: Mapping[str, Any]) -> bytes:
    """Draw a training history as SVG."""
    return figure_svg(lambda figure: draw_curves(figure, document), size=(WIDTH, HEIGHT + 0.5))


def draw_curves(figure: Figure, document: Mapping[str, Any]) -> None:
    """Draw loss and cosine by epoch."""
    loss, cosine = figure.subplots(1, 2)
    _losses(loss, document["history"])
    _cosines(cosine, document)


def _losses(axes: Axes, history: list[dict[str, Any]]) -> None:
    axes.set_title("mean squared error of one value")
    axes.set_xlabel("epoch")
    count_along(axes)
    _line(axes, history, "train_loss", label="windows trained on")
    _line(axes, history, "val_loss", label="other articles")
    legend_below(axes)


def _cosines(axes: Axes, document: Mapping[str, Any]) -> None:
    best, figures = document["best_epoch"], document["measured"]["validation"]
    axes.set_title("cosine on other articles")
    axes.set_xlabel("epoch")
    count_along(axes)
    _line(axes, document["history"], "val_cosine", label=document["model_type"])
    axes.plot([best], [document["best_val_cosine"]], "o", color=COLOURS[0], label=f"kept: epoch {best}")
    for name, label, style in (("ridge", "ridge regression", "--"), ("mean", "mean of the context", ":")):
        if (value := figures[name]["cosine"]) is not None:
            axes.axhline(value, color=GREY, linestyle=style, label=label)
    legend_below(axes)


def _line(axes: Axes, history: list[dict[str, Any]], name: str, *, label: str) -> None:
    known = [epoch for epoch in history if epoch[name] is not None]
    axes.plot([epoch["epoch"] for epoch in known], [epoch[name] for epoch in known], marker=".", label=label)
