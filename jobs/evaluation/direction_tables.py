"""The tables of direction, recall beside the last vector's, and seen rows, as rows of texts; and what follows in words.

The rule: a table has a head and one row for each model and baseline; an unknown number is a dash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import format_number
from lvm_batch.jobs.evaluation.direction import PREVIOUS
from lvm_batch.jobs.evaluation.evaluation_tables import UNKNOWN, all_judged, interval_text
from lvm_batch.jobs.models.seen_rows import MAX_SEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Values = Mapping[str, Any]

_NO_FIGURE: Values = {"mean": None, "interval": None}
_NAMES = {"recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10"}
SHOWN_RECALL = "recall_at_5"
"""The recall in the printed result; the table as Markdown has all."""


def direction_rows(values: Values) -> list[list[str]]:
    """Return how much closer predictions are to the next vector than to the last, and what the order is worth."""
    rows = [["direction", "next - last", "interval", "order", "interval"]]
    for judged in all_judged(values):
        direction = judged["direction"]
        order = direction["over_shuffled"] or _NO_FIGURE
        rows.append([judged["name"], *_signed(direction["over_last"]), *_signed(order)])
    return rows


def recall_rows(values: Values, name: str = SHOWN_RECALL) -> list[list[str]]:
    """Return a recall with its interval, and how much higher it is than that of the last vector as a query."""
    rows = [[_NAMES[name], "recall", "interval", "over last", "interval"]]
    for judged in all_judged(values):
        recall = judged["recall"][name]
        own = [format_number(recall["mean"]), interval_text(recall["interval"])]
        rows.append([judged["name"], *own, *_signed(recall["over_last"])])
    return rows


def all_recall_rows(values: Values) -> Iterator[list[list[str]]]:
    """Yield a table for each recall."""
    return (recall_rows(values, name) for name in _NAMES)


def seen_rows(values: Values) -> list[list[str]]:
    """Return how many of the rows each model was trained on."""
    rows = [["seen in training", "rows", "of", "share", "trained on"]]
    for model in values["models"]:
        seen = model["seen"]
        share = None if seen is None else seen["share"]
        counts = (
            [UNKNOWN, UNKNOWN, "unknown", UNKNOWN]
            if seen is None
            else [
                f"{seen['seen']:,}",
                f"{seen['told']:,}",
                format_number(share, ".1%"),
                f"{seen['trained_on']:,}",
            ]
        )
        rows.append([model["name"], *counts])
    return rows


def direction_notices(values: Values) -> Iterator[str]:
    """Yield the models that look back, and those that have seen the rows."""
    for model in values["models"]:
        over = model["direction"]["over_last"]
        if model["direction"]["closer_to"] == PREVIOUS:
            yield (
                f"{model['name']}: this model is closer to the previous vector than to the next: its cosine with the "
                f"next is {-over['mean']:.4f} lower than that with the last of the context "
                f"({interval_text(over['interval'], '+.4f')})"
            )
        seen = model["seen"]
        if seen is not None and (seen["share"] or 0.0) > MAX_SEEN:
            yield (
                f"{model['name']} was trained on {seen['share']:.1%} of the rows, so its figures say little "
                "about other rows: evaluate it on articles that it was not trained on"
            )


def _signed(figure: Values) -> list[str]:
    return [format_number(figure["mean"], "+.4f"), interval_text(figure["interval"], "+.4f")]
