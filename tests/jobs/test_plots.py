"""Figures: the same bytes for the same data, whatever the user's configuration and whatever names hold."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest

from lvm_batch.jobs.plots import figure_svg, label, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

pytestmark = pytest.mark.slow


def draw(figure: Figure, name: str = "a model") -> None:
    """Draw a figure of every kind."""
    lines, bars = figure.subplots(1, 2)
    lines.plot([1, 2, 3], label=label(name))
    lines.legend()
    bars.hist([1, 2, 2, 3])
    bars.set_title(label(name))


def test_the_same_data_gives_the_same_bytes(tmp_path: Path) -> None:
    """Neither the time nor the user's own style changes a figure; the user's style is not modified."""
    before = figure_svg(draw)
    with mpl.rc_context({"font.size": 30.0, "axes.grid": False}):
        assert figure_svg(draw) == before
        assert mpl.rcParams["font.size"] == 30.0
    save_figure(tmp_path / "a.svg", draw)
    assert (tmp_path / "a.svg").read_bytes() == before


@pytest.mark.parametrize("name", ["cost $x_{", "日本", "_hidden", "a\x00b", "x" * 200, "--><g>"])
def test_a_name_may_hold_any_letters(name: str) -> None:
    """Printable characters are drawn as they are, and the figure stays valid XML."""
    ET.fromstring(figure_svg(lambda figure: draw(figure, name)))  # noqa: S314 - our own
    assert 1 <= len(label(name)) <= 24
