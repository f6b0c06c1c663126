"""Parts of a page: how they share its lines, how two means are compared, and how fine a histogram is."""

from __future__ import annotations

import numpy as np
import pytest

from lvm_batch.jobs.reports.comparison.differences import compare_spreads, compare_values
from lvm_batch.jobs.reports.figures import histograms
from lvm_batch.jobs.reports.groups import spread_of
from lvm_batch.jobs.reports.parts import Note, Picture, Section, table

NOTE = Note("a sentence")
WIDE = table("wide", [str(n) for n in range(8)], [["1"] * 8], empty="")
NARROW = table("narrow", ("name", "rows"), [("a", "1")], empty="")
PICTURE = histograms("h", "A picture.", {"a": np.linspace(0, 1, 400)}, of="x", empty="")


def test_no_half_of_a_line_stays_empty() -> None:
    """Two halves stand side by side; one that has no other beside it gets the whole line."""
    section = Section("s", (NARROW, PICTURE, NARROW, NOTE, PICTURE, WIDE, PICTURE, PICTURE))
    placed = [(line.part, line.wide) for line in section.lines]
    assert [part for part, _ in placed] == list(section.parts)
    assert [wide for _, wide in placed] == [False, False, True, True, True, True, False, False]


def test_a_picture_alone_is_drawn_wide() -> None:
    """It has other proportions than beside another, and other ids, as a page may hold both."""
    assert isinstance(PICTURE, Picture)
    half, whole = (str(PICTURE.draw_svg(wide)) for wide in (False, True))
    widths = [float(svg.partition('width="')[2].partition("pt")[0]) for svg in (half, whole)]
    assert widths[1] > 1.5 * widths[0]
    assert 'id="h-wide-' in whole
    assert 'id="h-wide-' not in half


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (0.0, "the same"),
        (1e-9, "within chance"),
        (0.1, "▲ better, very small"),
        (-0.6, "▼ worse, medium"),
        (2, "▲ better, large"),
    ],
)
def test_a_difference_is_called_by_its_size(shift: float, expected: str) -> None:
    """In standard deviations of the rows; what chance explains is neither better nor worse."""
    rows = np.random.default_rng(0).normal(size=4000).astype(np.float64)
    noise = np.random.default_rng(1).normal(size=4000) * (1e-3 if shift else 0)
    assert compare_values(rows, rows + shift + noise, same_rows=True).text == expected


def test_the_same_rows_are_compared_row_by_row() -> None:
    """What is hard in both jobs does not hide a small gain of every row; independent rows cannot show it."""
    rows = np.random.default_rng(0).normal(size=400)
    gained = rows + 0.05
    assert compare_values(rows, gained, same_rows=True).tone == "better"
    assert compare_values(rows, gained, same_rows=False).text == "within chance"
    assert compare_spreads(spread_of(rows), None).text == "-"


def test_a_histogram_of_few_rows_has_few_steps() -> None:
    """400 rows have 15 steps of about 27 rows; an outline has as many corners as that needs."""
    from lvm_batch.jobs.reports.figures import cut_range

    assert [len(cut_range([np.linspace(0, 1, n)], [])) - 1 for n in (40, 400, 10**6)] == [8, 14, 60]
