"""The parts that columns play, and the columns that could play them.

The rule: every part is told, also one that no column plays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION
from lvm_batch.jobs.inspection.view import plays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.inspection.view import View
    from lvm_batch.jobs.settings.run import RunSettings

_PARTS = {
    "windows": ("context", "target", "lane", "context_tokens", "split", "article"),
    "sequences": ("vector", "article", "position", "lane", "tokens", "split"),
    None: ("context", "vector", "article", "position"),
}


def part_values(view: View) -> dict[str, Any]:
    """Return for each part of the layout which column plays it, and which ones could."""
    columns = view.columns
    return {
        part: {
            "column": plays(part, view.settings, columns),
            "candidates": list(columns.candidates.get(part, ())),
            "found": _found(part, view),
        }
        for part in _PARTS[columns.layout if view.has_vectors else None]
    }


def _found(part: str, view: View) -> str | None:
    """Return how a part's column was found.

    By an ``option``, by its ``usual name``, ``found`` by its type and name, the ``first of several``, or as a
    ``stand-in``.
    """
    if part in view.given:
        return "option"
    if chosen := view.settings.given_columns.get(part):
        return "stand-in" if chosen in {FILE_ARTICLE, ROW_POSITION} else "first of several"
    if part in view.columns.taken:
        return "found"
    return "usual name" if plays(part, view.settings, view.columns) else None


def stand_in_notices(settings: RunSettings) -> Iterator[str]:
    """Yield what stands in for columns that tell articles and their order."""
    given = settings.given_columns
    if given.get("article") == FILE_ARTICLE:
        yield (
            f"each file is taken as one article (--article-column {FILE_ARTICLE}), because no column identifies "
            "articles. If rows are not parts of longer texts, there is nothing to predict, but `bank build` "
            "can use them"
        )
    if given.get("position") == ROW_POSITION:
        yield (
            f"rows are taken to be in reading order (--position-column {ROW_POSITION}), because no column gives "
            "their order"
        )
