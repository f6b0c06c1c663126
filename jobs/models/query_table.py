"""What one query takes, as a table: of each model, beside what its card asks.

The rule: a figure that is not known, or that no card gives, is a dash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import format_number
from lvm_batch.lvm.registry.published_cards import QUERY_TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUERY_REMARK = (
    "per s: one thread, one query after the other. MB: above the process without a model.\n"
    "card: the targets of the model cards: queries at least, MB at most / at the alert."
)

UNKNOWN = "-"

_TIMES = ("mean", "p50", "p95", "p99")


def query_rows(models: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[list[str]]:
    """Return a row for each model, given as its name, its architecture and ``QueryCost.as_dict``."""
    head = ["one query, ms", *_TIMES, "per s", "card", "MB", "card"]
    return [head, *([name, *_cells(architecture, cost)] for name, architecture, cost in models)]


def _cells(architecture: str, cost: Mapping[str, Any]) -> list[str]:
    targets = QUERY_TARGETS.get(architecture)
    return [
        *(format_number(cost["latency_ms"][name], ".3f") for name in _TIMES),
        format_number(cost["queries_per_s"], ",.0f"),
        UNKNOWN if targets is None else f"{targets.queries_per_s:,}",
        format_number(cost["memory_mb"], ".1f"),
        UNKNOWN if targets is None else f"{targets.memory_mb}/{targets.memory_alert_mb}",
    ]
