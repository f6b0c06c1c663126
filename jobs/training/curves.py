"""The curves of a training: loss and cosine by epoch, with the kept epoch marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.plots import COLOURS, GREY, figure_svg

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_svg(document: Mapping[str, Any]) -> bytes:
    """Draw a training history as SVG."""

    def draw(figure: Figure) -> None:
        loss, cosine = figure.subplots(1, 2)
        _losses(loss, document["history"])
        _cosines(cosine, document)

    return figure_svg(draw)


def _losses(axes: Axes, history: list[dict[str, Any]]) -> None:
    axes.set_title("mean squared error of one value")
    axes.set_xlabel("epoch")
    _line(axes, history, "train_loss", label="windows trained on")
    _line(axes, history, "val_loss", label="other articles")
    axes.legend()


def _cosines(axes: Axes, document: Mapping[str, Any]) -> None:
    best, figures = document["best_epoch"], document["measured"]["validation"]
    axes.set_title("cosine on other articles")
    axes.set_xlabel("epoch")
    _line(axes, document["history"], "val_cosine", label=document["model_type"])
    axes.plot([best], [document["best_val_cosine"]], "o", color=COLOURS[0], label=f"kept: epoch {best}")
    for name, label, style in (("ridge", "ridge regression", "--"), ("mean", "mean of the context", ":")):
        if (value := figures[name]["cosine"]) is not None:
            axes.axhline(value, color=GREY, linestyle=style, label=label)
    axes.legend()


def _line(axes: Axes, history: list[dict[str, Any]], name: str, *, label: str) -> None:
    known = [epoch for epoch in history if epoch[name] is not None]
    axes.plot([epoch["epoch"] for epoch in known], [epoch[name] for epoch in known], marker=".", label=label)
