"""The leaderboard of models, with the figures that their cards publish.

The rule: recommendations follow from the measured figures by :data:`RULE`, never from the cards. The figures of the
cards were measured on other data, and are marked so.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.registry.published_cards import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.jobs.evaluation.judged_models import JudgedModel

NEAR = 0.005
"""Cosines out of distribution that differ by no more count as equal: the mean differs by more between two samples of 60
articles."""

RULE = (
    f"primary: the fastest of those within {NEAR} of the highest cosine out of distribution; fallback: the highest in "
    "distribution among the others; archived: the rest"
)

BEST = {"in_dist": max, "ood": max, "p50_ms": min, "p95_ms": min, "size_mib": min, "parameters": min}
"""Whether the highest or the lowest value of a column is the best."""

_MIN_MODELS = 2


def leaderboard(
    models: Sequence[JudgedModel], figures: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return an entry for each model, in order; ``best`` names the columns in which no model is better.

    ``recommendation`` is None if there is only one model, or no rows of one of the splits.
    """
    entries = [_entry(model, figures[model.name]) for model in models]
    if len(entries) >= _MIN_MODELS:
        _recommend(entries)
        for column, best in BEST.items():
            known = [entry[column] for entry in entries if entry[column] is not None]
            for entry in entries:
                if known and entry[column] == best(known):
                    entry["best"].append(column)
    return entries


def _entry(model: JudgedModel, figures: Mapping[str, Any]) -> dict[str, Any]:
    published = PUBLISHED.get(model.checkpoint.architecture)
    splits = figures["by_split"]
    return {
        "model": model.name,
        "architecture": model.checkpoint.architecture,
        "in_dist": splits.get("in_dist", {}).get("cosine"),
        "ood": splits.get("ood", {}).get("cosine"),
        "p50_ms": model.cost.latency_ms["p50"],
        "p95_ms": model.cost.latency_ms["p95"],
        "size_mib": model.n_bytes / 2**20,
        "parameters": model.checkpoint.n_parameters,
        "recommendation": None,
        "best": [],
        "published": asdict(published) if published else None,
    }


def _recommend(entries: Sequence[dict[str, Any]]) -> None:
    if any(entry["in_dist"] is None or entry["ood"] is None for entry in entries):
        return
    highest = max(entry["ood"] for entry in entries)
    near = [entry for entry in entries if entry["ood"] >= highest - NEAR]
    primary = min(near, key=lambda entry: entry["p50_ms"])
    others = [entry for entry in entries if entry is not primary]
    fallback = max(others, key=lambda entry: entry["in_dist"])
    for entry in entries:
        entry["recommendation"] = "archived"
    primary["recommendation"], fallback["recommendation"] = "primary", "fallback"
