"""The rules of ``monitor``, evaluated over a window of past runs.

The rule: whether a threshold is met is decided on the figures as they are, not as they are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvm_batch.jobs.monitoring.drift_rules import check_input_centroid, check_input_norm
from lvm_batch.jobs.monitoring.findings import Finding, lacks
from lvm_batch.jobs.monitoring.quality_rules import (
    check_escalation_gain,
    check_fallback_rate,
    check_ood_cosine,
    check_ood_delta,
    check_seen_rows,
    check_shadow_gain,
)
from lvm_batch.jobs.monitoring.query_rules import check_query_memory, check_query_p95, check_query_rate
from lvm_batch.jobs.monitoring.resource_rules import check_memory, check_rows_per_s
from lvm_batch.jobs.monitoring.sample_rules import (
    check_confidence_drift,
    check_input_drift,
    check_prediction_drift,
    check_reason_drift,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from lvm_batch.jobs.monitoring.rule_figures import Window
    from lvm_batch.jobs.monitoring.rules import Rules


def evaluate_rules(rules: Rules, window: Window) -> list[Finding]:
    """Return what every rule that is enabled says of ``window``, in the order of their declaration."""
    checks: Mapping[str, Callable[[], Finding]] = {
        "ood_cosine": lambda: check_ood_cosine(rules.ood_cosine, window),
        "ood_delta": lambda: check_ood_delta(rules.ood_delta, window),
        "fallback_rate": lambda: check_fallback_rate(rules.fallback_rate, window),
        "query_p95": lambda: check_query_p95(rules.query_p95, window),
        "query_rate": lambda: check_query_rate(rules.query_rate, window),
        "query_memory": lambda: check_query_memory(rules.query_memory, window),
        "rows_per_s": lambda: check_rows_per_s(rules.rows_per_s, window),
        "memory": lambda: check_memory(rules.memory, window),
        "shadow_gain": lambda: check_shadow_gain(rules.shadow_gain, window),
        "escalation_gain": lambda: check_escalation_gain(rules.escalation_gain, window),
        "input_norm": lambda: check_input_norm(rules.input_norm, window),
        "input_centroid": lambda: check_input_centroid(rules.input_centroid, window),
        "seen_rows": lambda: check_seen_rows(rules.seen_rows, window),
        "input_drift": lambda: check_input_drift(rules.input_drift, window),
        "prediction_drift": lambda: check_prediction_drift(rules.prediction_drift, window),
        "confidence_drift": lambda: check_confidence_drift(rules.confidence_drift, window),
        "reason_drift": lambda: check_reason_drift(rules.reason_drift, window),
    }
    enabled = {name: check for name, check in checks.items() if getattr(rules, name).enabled}
    if not window.inside:
        return [lacks(name, "no run ended in this window") for name in enabled]
    return [check() for check in enabled.values()]
