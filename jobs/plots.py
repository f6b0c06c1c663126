"""The style of all figures.

The rule: the same data gives the same bytes. A figure is SVG, contains its own letters, and has neither a date nor
random ids.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Figure], None]

WIDTH, HEIGHT = 9.0, 3.8
"""The default size of a figure in inches."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours in order; colour-blind readers can tell them apart too (Okabe and Ito 2008)."""

_LETTERS = 24  # of a label

GREY = "#767676"
"""The colour of baselines."""


def figure_svg(
    draw: Draw, *, size: tuple[float, float] = (WIDTH, HEIGHT), style: Mapping[str, Any] | None = None
) -> bytes:
    """Return a figure as SVG: ``draw`` draws into it; its ``size`` is in inches.

    ``style`` holds settings of matplotlib that differ from the common style.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = BytesIO()
    with mpl.rc_context(_style() | (style or {})), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # about letters that no font here has: names may contain any
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def save_figure(path: Path, draw: Draw, *, size: tuple[float, float] = (WIDTH, HEIGHT)) -> None:
    """Write what ``draw`` draws to ``path``; raises ``OSError``."""
    path.write_bytes(figure_svg(draw, size=size))


def label(name: str) -> str:
    """Return a name as a label: printable, at most 24 characters, cut from the left as paths differ at the end."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name).lstrip("_")
    return shown if len(shown) <= _LETTERS else f"..{shown[2 - _LETTERS :]}"


def legend_below(axes: Axes, *, n_columns: int = 2) -> None:
    """Put the legend below the axes, where no line can cross it."""
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=n_columns, borderaxespad=0)


def count_along(axes: Axes) -> None:
    """Give the horizontal axis whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _style() -> Any:  # noqa: ANN401 - matplotlib's own type lists every setting there is
    """Return the common style, on top of matplotlib's own defaults and not of the user's configuration."""
    import matplotlib as mpl
    from cycler import cycler

    defaults: dict[Any, Any] = {
        name: mpl.rcParamsDefault[name] for name in mpl.rcParamsDefault if name != "backend"
    }
    return defaults | {
        "svg.hashsalt": "lvm-batch",
        "svg.fonttype": "path",
        "text.parse_math": False,  # a `$` in a name is a letter
        "font.size": 9.0,
        "axes.prop_cycle": cycler(color=COLOURS),
        "axes.titlesize": 10.0,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "legend.frameon": False,
        "lines.linewidth": 1.4,
    }
