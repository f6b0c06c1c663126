"""The one look of every figure that is drawn here.

The rule: the same data gives the same bytes. A figure is SVG, holds its own letters, and carries neither a date nor
anything that chance has made. This module does not know what is drawn.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    Draw = Callable[[Figure], None]

WIDTH, HEIGHT = 9.0, 3.8
"""Inches of a figure, unless another size is asked for."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours in their order, told apart by colour-blind readers too (Okabe and Ito 2008)."""

_LETTERS = 24  # of a label

GREY = "#767676"
"""For what is there to be compared with."""


def figure_svg(
    draw: Draw, *, size: tuple[float, float] = (WIDTH, HEIGHT), style: Mapping[str, Any] | None = None
) -> bytes:
    """Return as SVG what ``draw`` draws into the figure it is given, of ``size`` in inches.

    ``style`` holds settings of matplotlib in which the figure differs from the one look.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = BytesIO()
    with mpl.rc_context(_style() | (style or {})), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that no font here has: names may hold any
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return out.getvalue()


def save_figure(path: Path, draw: Draw, *, size: tuple[float, float] = (WIDTH, HEIGHT)) -> None:
    """Write what ``draw`` draws to ``path``; raises ``OSError`` as writing does."""
    path.write_bytes(figure_svg(draw, size=size))


def label(name: str) -> str:
    """Return a name as a figure can hold it: of printable letters, no more than 24, and cut from the left, as paths
    differ at their end.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in name).lstrip("_")
    return shown if len(shown) <= _LETTERS else f"..{shown[2 - _LETTERS :]}"


def _style() -> Any:  # noqa: ANN401 - matplotlib's own type lists every setting there is
    """Start from matplotlib's own defaults: what a user has configured is for the user's figures."""
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
