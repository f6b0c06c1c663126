"""The figures of reports, as SVG for a page, in the page's colours.

The rule: a figure has no background, and its colours are names that the page gives a light and a dark value; nothing in
it leads out of the page, and names in it are drawn, not written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from lvm_batch.jobs.plots import COLOURS, GREY, figure_svg, label
from lvm_batch.jobs.reports.parts import Note, Picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from lvm_batch.jobs.plots import Draw
    from lvm_batch.jobs.reports.groups import Group
    from lvm_batch.jobs.reports.rates import Rates

    Values = NDArray[np.floating]

_WIDTHS = (4.6, 9.6)  # inches: beside another, and alone
_HEIGHT = 2.8
_FEWEST_BINS, _MOST_BINS = 8, 60
_LETTER = 0.075  # inches of a wide letter
_FEW = 30  # rows are no distribution
_TAIL = 0.001
_INK, _GRID = "#010203", "#040506"  # no figure has these colours otherwise
_STYLE = {
    **dict.fromkeys(
        (
            "text.color",
            "axes.edgecolor",
            "axes.labelcolor",
            "xtick.color",
            "ytick.color",
            "legend.labelcolor",
        ),
        _INK,
    ),
    "grid.color": _GRID,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_NAMES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    GREY: "var(--muted)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(COLOURS)},
}
_COLOUR = re.compile("|".join(map(re.escape, _NAMES)), re.IGNORECASE)
_LEFT_OUT = re.compile(r"\A.*?(?=<svg )|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)
_ID = re.compile(r'(\bid="|href="#|url\(#)')


def picture(name: str, caption: str, draw: Draw, *, height: float = _HEIGHT) -> Picture:
    """Return a figure to draw; ``name`` is one that no other figure of the page has, ``caption`` also what is read out.

    ``height`` is in inches.
    """

    def draw_svg(wide: bool) -> Markup:  # noqa: FBT001 - the template calls it
        return _svg(f"{name}-wide" if wide else name, caption, draw, size=(_WIDTHS[wide], height))

    return Picture(caption, draw_svg)


def _svg(name: str, caption: str, draw: Draw, *, size: tuple[float, float]) -> Markup:
    svg = _LEFT_OUT.sub("", figure_svg(draw, size=size, style=_STYLE).decode())
    svg = _COLOUR.sub(lambda found: _NAMES[_as_known(found[0])], svg)
    svg = _ID.sub(rf"\g<1>{name}-", svg)
    read_out = f'<svg role="img" aria-label="{escape(caption)}" '
    return Markup(svg.replace("<svg ", read_out, 1))  # noqa: S704 - drawn here, names as outlines


def _as_known(colour: str) -> str:
    return next(name for name in _NAMES if name.lower() == colour.lower())


def histograms(
    name: str,
    caption: str,
    values: Mapping[str, Values],
    *,
    of: str,
    threshold: tuple[str, float] | None = None,
    empty: str,
) -> Picture | Note:
    """Draw the distribution of each of ``values`` over one axis, as shares of its own rows."""
    finite = {key: known[np.isfinite(known)] for key, known in values.items()}
    few = {key: len(known) for key, known in finite.items() if len(known) < _FEW}
    if len(few) < len(finite):
        finite = {key: known for key, known in finite.items() if key not in few}
        omitted = ", ".join(f"{key} ({n})" for key, n in few.items() if n)
        caption += f" Too few rows to draw: {omitted}." if omitted else ""
    finite = {key: known for key, known in finite.items() if len(known)}
    if not finite:
        return Note(empty)
    marks = [] if threshold is None else [threshold[1]]
    edges = cut_range(list(finite.values()), marks)

    def draw(figure: Figure) -> None:
        place = figure.subplots()
        for key, known in finite.items():
            counts = np.histogram(known, edges)[0]
            shares = 100 * counts / len(known)
            drawn = place.stairs(shares, edges, label=f"{label(key)} ({len(known):,})", linewidth=1.4)
            place.stairs(shares, edges, fill=True, color=drawn.get_edgecolor(), alpha=0.15)
        if threshold is not None:
            place.axvline(threshold[1], color=_INK, linestyle="--", label=f"{threshold[0]} {threshold[1]:g}")
        place.set(xlabel=of, ylabel="% of its rows", ylim=(0, None))
        place.locator_params(axis="x", nbins=6)
        _finish(figure)

    return picture(name, caption, draw)


def spreads(name: str, caption: str, groups: Sequence[Group]) -> Picture | Note:
    """Draw the cosines of each group: the middle 90 % and 50 % of its rows, the median, and the mean."""
    shown = [group for group in groups if group.quantiles]
    if not shown:
        return Note("No row has a cosine: there are no targets.")

    def draw(figure: Figure) -> None:
        place, rows = figure.subplots(), range(len(shown))
        quantiles = np.array([group.quantiles for group in shown]).T
        place.hlines(rows, quantiles[0], quantiles[4], linewidth=1.2, label="90 % of the rows")
        place.hlines(rows, quantiles[1], quantiles[3], linewidth=5, label="50 %")
        means = np.array([group.cosine for group in shown], np.float64)
        place.plot(means, rows, "D", color=COLOURS[1], markersize=4.5, label="mean")
        place.set_yticks(list(rows), [label(group.name) for group in shown])
        place.set(xlabel="cosine with the true next vector", ylim=(len(shown) - 0.5, -0.5))
        place.locator_params(axis="x", nbins=4)
        place.grid(visible=False, axis="y")
        _finish(figure, names=[group.name for group in shown])

    return picture(name, caption, draw, height=max(_HEIGHT, 1.4 + 0.24 * len(shown)))


def rate_over_time(caption: str, rates: Rates) -> Picture | Note:
    """Draw rows a second over the seconds in which runs were at work."""
    if not len(rates.rows_per_s):
        return Note("No event says when units were done.")

    def draw(figure: Figure) -> None:
        place = figure.subplots()
        unit_s, unit = next(
            (s, u) for s, u in ((3600, "h"), (60, "min"), (1, "s")) if rates.wall_s > 2 * s or s == 1
        )
        edges = rates.edges / unit_s
        place.stairs(rates.rows_per_s, edges, fill=True, color=COLOURS[0], alpha=0.3)
        place.stairs(rates.rows_per_s, edges, color=COLOURS[0], linewidth=1.4)
        for number, moment in enumerate(rates.resumed):
            place.axvline(moment / unit_s, color=_INK, linestyle=":", label="_" if number else "resumed")
        if rates.rate:
            place.axhline(rates.rate, color=_INK, linestyle="--", label=f"{rates.rate:,.0f} rows/s over all")
        place.set(xlabel=f"{unit} at work", ylabel="rows/s", ylim=(0, None), xlim=(0, rates.wall_s / unit_s))
        _finish(figure)

    return picture("rate", caption, draw)


def shares(caption: str, parts: Sequence[tuple[str, str, float]]) -> Picture | Note:
    """Draw what share of the workers' busy seconds each part took; a part's colour is that of its whole."""
    total = sum(seconds for _, _, seconds in parts)
    if not total:
        return Note("No unit has recorded times of its parts.")
    wholes = list(dict.fromkeys(whole for whole, _, _ in parts))

    def draw(figure: Figure) -> None:
        place = figure.subplots()
        for number, whole in enumerate(wholes):
            rows = [row for row, part in enumerate(parts) if part[0] == whole]
            lengths = [100 * parts[row][2] / total for row in rows]
            place.barh(rows, lengths, color=COLOURS[number % len(COLOURS)], label=whole)
            for row, length in zip(rows, lengths, strict=True):
                place.text(length, row, f" {length:.1f} %", va="center")
        place.set_yticks(range(len(parts)), [label(part) for _, part, _ in parts])
        place.set(xlabel="% of the busy time", ylim=(len(parts) - 0.5, -0.5))
        place.margins(x=0.15)
        place.grid(visible=False, axis="y")
        _finish(figure, names=[part for _, part, _ in parts])

    return picture("shares", caption, draw)


def cut_range(values: Sequence[Values], marks: Sequence[float]) -> Values:
    """Cut the range of all values, but for the outermost thousandth, so that ``marks`` lie within it."""
    ends: list[Any] = [np.quantile(known, (_TAIL, 1 - _TAIL)) for known in values]
    low = min(*(end[0] for end in ends), *marks, *(end[0] for end in ends))
    high = max(*(end[1] for end in ends), *marks, *(end[1] for end in ends))
    room = 0.02 * (high - low) or 0.01
    # Rice's rule, which keeps the steps of a few hundred rows apart from noise
    n_bins = int(np.clip(2 * np.cbrt(max(map(len, values))), _FEWEST_BINS, _MOST_BINS))
    return np.linspace(low - room, high + room, n_bins + 1)


def _finish(figure: Figure, *, names: Sequence[str] = ()) -> None:
    """Leave fixed room around the axes, which is found in no time, and put the legend where it covers nothing."""
    (place,) = figure.axes
    width, height = figure.get_size_inches()
    left = max(0.6, 0.25 + _LETTER * max((len(label(name)) for name in names), default=0))
    left, bottom = left / width, 0.5 / height
    figure.set_layout_engine("none")
    place.set_position((left, bottom, 0.97 - left, 1 - 0.42 / height - bottom))
    place.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, fontsize=8)
