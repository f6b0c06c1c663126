"""Reports in a real browser: without JavaScript, without a network, light and dark, wide and narrow."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest
from support.reported import FILE, HOSTILE, make_output

from lvm_batch.jobs.reports.comparison.compare import compare
from lvm_batch.jobs.reports.report import report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs pip install playwright"),
    pytest.mark.skipif(_CHROMIUM is None, reason="needs apt-get install chromium"),
]

TITLES = {"report": "in → out · lvm-batch", "comparison": "out (A) and out (B) compared · lvm-batch"}
SIZES = {"wide": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def pages(
    models: Path, bank: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A report and a comparison, as files."""
    folder = tmp_path_factory.mktemp("pages")
    output = str(make_output(folder, models, bank, scheduler))
    report(output, file=str(folder / "report.html"))
    compare(output, output, file=str(folder / "comparison.html"))
    return {name: folder / f"{name}.html" for name in ("report", "comparison")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=root)
        yield browser
        browser.close()


class Shown:
    """A page in a browser without JavaScript; ``requests`` lists every address that it requested."""

    def __init__(self, browser: Any, path: Path, *, scheme: str, size: str) -> None:  # noqa: ANN401
        width, height = SIZES[size]
        self.context = browser.new_context(
            java_script_enabled=False,
            color_scheme=scheme,
            viewport={"width": width, "height": height},
            offline=True,
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.goto(path.as_uri())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def screenshot(self, path: Path | None = None) -> np.ndarray:
        """The whole page, (height, width, 3) in 0 to 1."""
        from matplotlib.image import imread

        return imread(BytesIO(self.page.screenshot(full_page=True, path=path)), "png")[..., :3]


def contrast(first: np.ndarray, second: np.ndarray) -> float:
    """The luminance ratio of two colours, as WCAG 2 defines it."""
    linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (first, second)]
    low, high = sorted(float(c @ (0.2126, 0.7152, 0.0722)) + 0.05 for c in linear)
    return high / low


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_can_be_read(
    browser: Any,  # noqa: ANN401
    pages: dict[str, Path],
    tmp_path: Path,
    *,
    name: str,
    scheme: str,
    size: str,
) -> None:
    """Headings, tables and figures are visible and fit the screen, and the page requests nothing from a network."""
    with Shown(browser, pages[name], scheme=scheme, size=size) as shown:
        page = shown.page
        picture = shown.screenshot(tmp_path / f"{name}-{scheme}-{size}.png")
        assert shown.requests == [pages[name].as_uri()]
        assert shown.complaints == []
        assert page.title() == TITLES[name]
        headings = page.locator("h1, h2").all()
        assert len(headings) >= 6
        assert all(heading.is_visible() for heading in headings)
        assert picture.shape[1] == SIZES[size][0]  # so that nothing makes the page wider than the screen
        figures = [figure for figure in page.locator("figure svg").all() if figure.is_visible()]
        assert len(figures) >= 3
        for table in page.locator(".table").all():
            assert_says_that_it_scrolls(table, is_phone=size == "phone")
        for figure in figures:
            assert_is_drawn(picture, figure.bounding_box(), is_dark=scheme == "dark")


def assert_says_that_it_scrolls(table: Any, *, is_phone: bool) -> None:  # noqa: ANN401
    """Check that a table that is wider than its place says so on a phone; elsewhere none is."""
    inner, place = (part.bounding_box()["width"] for part in (table.locator("table"), table))
    if inner > place + 1:
        assert is_phone
        assert table.locator("xpath=preceding-sibling::*[@class='scrolls']").is_visible()


def assert_is_drawn(picture: np.ndarray, box: dict[str, float], *, is_dark: bool) -> None:
    """Check that a figure lies within the page, on its background, with visible contrast."""
    left, top = round(box["x"]), round(box["y"])
    part = picture[top : top + round(box["height"]), left : left + round(box["width"])]
    assert part.shape[0] > 100
    assert part.shape[1] > 250
    background = part[1, -2]
    assert (background.mean() < 0.3) == is_dark
    colours = colours_of(part)
    ratios = [contrast(background, colour) for colour in colours[:: max(1, len(colours) // 200)]]
    assert max(ratios) > 7
    saturation = colours.max(axis=1) - colours.min(axis=1)
    series = colours[saturation > 0.5]
    assert len(series)
    strongest = series[np.argsort(series.max(axis=1) - series.min(axis=1))[-20:]]
    assert max(contrast(background, colour) for colour in strongest) > 3


def colours_of(part: np.ndarray) -> np.ndarray:
    """Every colour of a picture once, (n, 3)."""
    red, green, blue = np.moveaxis(np.rint(part * 255).astype(np.uint32), -1, 0)
    packed = np.unique(red << 16 | green << 8 | blue)
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1) / 255


def test_names_of_the_data_do_not_run(browser: Any, pages: dict[str, Path]) -> None:  # noqa: ANN401
    """Markup in a lane or a file name is shown as text, also with JavaScript enabled."""
    context = browser.new_context()
    page = context.new_page()
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.goto(pages["report"].as_uri())
    assert page.title() == TITLES["report"]
    assert page.get_by_text(HOSTILE).first.is_visible()
    assert page.get_by_text(FILE).first.is_visible()
    assert dialogs == []
    context.close()
