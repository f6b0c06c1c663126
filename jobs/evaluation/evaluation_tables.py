"""The tables of an evaluation, as rows of texts.

The rule: a table has a head and one row for each model and baseline; an unknown number is a dash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, Any]

UNKNOWN = "-"


def all_judged(values: Values) -> list[Values]:
    """Return the models, then the baselines."""
    return [*values["models"], *values["baselines"]]


def cosine_rows(values: Values) -> list[list[str]]:
    """Return the means over all rows, and their differences from the mean of the context."""
    rows = [["cosine", "mean", "interval", "std", "mse", "over mean", "interval"]]
    for judged in all_judged(values):
        over = judged["over_mean"] or {"cosine": None, "interval": None}
        rows.append(
            [
                judged["name"],
                format_number(judged["cosine"]),
                interval_text(judged["interval"]),
                format_number(judged["std"]),
                format_number(judged["mse"], ".6f"),
                format_number(over["cosine"], "+.4f"),
                interval_text(over["interval"], "+.4f"),
            ]
        )
    return rows


def split_rows(values: Values) -> list[list[str]]:
    """Return the means of each split, and how they differ; no rows if the dataset has no splits."""
    if not values["rows"]["by_split"]:
        return []
    rows = [["by split", "in_dist", "interval", "ood", "interval", "delta", "interval"]]
    nothing = {"cosine": None, "interval": None}
    for judged in all_judged(values):
        splits = [judged["by_split"].get(name, nothing) for name in ("in_dist", "ood")]
        delta = judged["delta"] or nothing
        cells = [
            text
            for split in splits
            for text in (format_number(split["cosine"]), interval_text(split["interval"]))
        ]
        rows.append(
            [
                judged["name"],
                *cells,
                format_number(delta["cosine"], "+.4f"),
                interval_text(delta["interval"], "+.4f"),
            ]
        )
    return rows


def difference_rows(cosines: list[list[str]], splits: list[list[str]]) -> list[list[str]]:
    """Return the last columns of both tables beside each other: over the mean, and between the splits."""
    of_splits = [row[5:] for row in splits] or [[] for _ in cosines]
    return [
        ["difference" if row is cosines[0] else row[0], *row[5:], *more]
        for row, more in zip(cosines, of_splits, strict=True)
    ]


def retrieval_rows(values: Values) -> list[list[str]]:
    """Return how often the target is among the first that a prediction finds."""
    names = {"recall_at_1": "R@1", "recall_at_5": "R@5", "recall_at_10": "R@10", "mrr": "MRR"}
    names["contain_at_50"] = "Contain@50"
    rows = [["retrieval", *names.values()]]
    rows += [
        [judged["name"], *(format_number(judged["retrieval"][name]) for name in names)]
        for judged in all_judged(values)
    ]
    return rows


def model_rows(values: Values) -> list[list[str]]:
    """Return the leaderboard, each model followed by the figures of its card."""
    rows = [["models", "in_dist", "ood", "p50 ms", "p95 ms", "size MiB", "parameters", "recommendation"]]
    formats = {
        "in_dist": ".4f",
        "ood": ".4f",
        "p50_ms": ".2f",
        "p95_ms": ".2f",
        "size_mib": ".1f",
        "parameters": ",",
    }
    for entry in values["leaderboard"]:
        cells = [
            format_number(entry[column], form) + ("*" if column in entry["best"] else " ")
            for column, form in formats.items()
        ]
        rows.append([entry["model"], *cells, entry["recommendation"] or UNKNOWN])
        if card := entry["published"]:
            rows.append([f"  card: {card['name']}", *_published(card)])
    return rows


def _published(card: Values) -> list[str]:
    formats = {
        "in_dist_cosine": ".4f",
        "ood_cosine": ".4f",
        "latency_ms": ".2f",
        "p95_ms": ".2f",
        "size_mb": ".1f",
        "n_parameters": ",",
    }
    return [
        *(f"{format_number(card[name], form)} " for name, form in formats.items()),
        card["recommendation"],
    ]


def interval_text(ends: Sequence[float] | None, form: str = ".4f") -> str:
    """Return an interval in a format such as "+.4f"."""
    return UNKNOWN if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"
