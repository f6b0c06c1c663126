"""The figures that the models' own cards publish, which a leaderboard prints beside measured ones.

The rule: every figure was published by the source that is named, and is in the card of its architecture
(``cards/<name>.md``); none was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PublishedCard:
    """One published model; None for what was not published.

    ``n_parameters`` is the printed number, which is not always that of the weights. Cosines are means over rows, with
    their standard deviations. ``latency_ms`` is the mean time of a query (``amn``: the median), ``p95_ms`` the 95th
    percentile, both for one query at a time on Apple silicon.
    """

    name: str
    n_parameters: int
    size_mb: float
    in_dist_cosine: float
    in_dist_std: float | None
    ood_cosine: float
    ood_std: float | None
    latency_ms: float
    p95_ms: float | None
    recommendation: str
    source: str


@dataclass(frozen=True, slots=True)
class QueryTargets:
    """What a card asks of single queries to a model on one thread.

    ``queries_per_s`` is the least rate, ``memory_mb`` the most memory of a worker in 10^6 bytes, and
    ``memory_alert_mb`` that from which the card wants to be told.
    """

    queries_per_s: int
    memory_mb: int
    memory_alert_mb: int


_PRIMARY = QueryTargets(1_500, 15, 20)

QUERY_TARGETS: Mapping[str, QueryTargets] = MappingProxyType(
    {"amn": _PRIMARY, "amn-mixer": _PRIMARY, "gru": QueryTargets(400, 50, 60)}
)
"""By architecture, from the cards of AMN_v0 and GRU_v0 (2025-10-28). The card of ``amn`` has none: those of the other
primary model are asked of it.
"""

PUBLISHED: Mapping[str, PublishedCard] = MappingProxyType(
    {
        "amn": PublishedCard(
            name="AMN",
            n_parameters=1_472_768,
            size_mb=5.8,
            in_dist_cosine=0.5597,
            in_dist_std=0.0198,
            ood_cosine=0.6375,
            ood_std=None,
            latency_ms=0.62,
            p95_ms=None,
            recommendation="Production primary",
            source="AMN card 1.0 (2025-10-24); size: leaderboard (2025-10-16)",
        ),
        "amn-mixer": PublishedCard(
            name="AMN_v0",
            n_parameters=1_500_000,
            size_mb=5.8,
            in_dist_cosine=0.5664,
            in_dist_std=0.1283,
            ood_cosine=0.6375,
            ood_std=0.1061,
            latency_ms=0.62,
            p95_ms=0.89,
            recommendation="Primary (default)",
            source="AMN_v0 card (2025-10-28)",
        ),
        "gru": PublishedCard(
            name="GRU_v0",
            n_parameters=7_079_936,
            size_mb=28.3,
            in_dist_cosine=0.5920,
            in_dist_std=0.1235,
            ood_cosine=0.6295,
            ood_std=0.1071,
            latency_ms=2.11,
            p95_ms=2.87,
            recommendation="Fallback (accuracy)",
            source="GRU_v0 card (2025-10-28); parameters: GRU card 1.0 (2025-10-24)",
        ),
        "lstm": PublishedCard(
            name="LSTM_v0",
            n_parameters=3_500_000,
            size_mb=14.1,
            in_dist_cosine=0.5758,
            in_dist_std=None,
            ood_cosine=0.6281,
            ood_std=None,
            latency_ms=0.56,
            p95_ms=None,
            recommendation="Archived (redundant)",
            source="table of the v0 cards (2025-10-28); in distribution: leaderboard (2025-10-16)",
        ),
        "transformer": PublishedCard(
            name="Transformer",
            n_parameters=5_900_000,
            size_mb=23.7,
            in_dist_cosine=0.5820,
            in_dist_std=None,
            ood_cosine=0.6042,
            ood_std=None,
            latency_ms=2.68,
            p95_ms=None,
            recommendation="Archived (slower)",
            source="table of the v0 cards (2025-10-28); in distribution: leaderboard (2025-10-16)",
        ),
    }
)
"""The cards' figures, by architecture."""
