"""Evaluates rules over the runs of a time in the history.

The rule: a history that cannot be read completely is not judged.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError
from lvm_batch.io.history.history import read_history
from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import GateFailed
from lvm_batch.jobs.monitoring.rule_checks import evaluate_rules
from lvm_batch.jobs.monitoring.window import window_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lvm_batch.io.history.run_entry import RunEntry
    from lvm_batch.jobs.monitoring.findings import Finding
    from lvm_batch.jobs.monitoring.rule_figures import Window
    from lvm_batch.jobs.monitoring.rules import Rules

_STATES = {"fired": "ALERT", "quiet": "ok", "not_evaluated": "-"}


def monitor(
    history: str, rules: Rules, *, since: datetime, now: datetime
) -> tuple[dict[str, Any], str, GateFailed | None]:
    """Evaluate rules over the runs that ended from ``since`` to ``now``; return values, text, and the error of alerts.

    Raises ``DataError``, or ``SettingsError`` for several files, where the history cannot be read.
    """
    window, left_out = window_of(read_runs(history), since=since, now=now)
    findings = evaluate_rules(rules, window)
    alerts = [finding for finding in findings if finding.state == "fired"]
    times = {"since": since.isoformat(), "until": now.isoformat()}
    values = {
        "history": redact(history),
        "window": times,
        "runs": len(window.inside),
        "runs_before": len(window.before),
        "rows": sum(run.rows_in for run in window.inside),
        "left_out": left_out,
        "alerts": len(alerts),
        "rules": [asdict(finding) | {"window": times} for finding in findings],
    }
    return values, _as_text(window, findings, left_out), _error(alerts)


def read_runs(history: str) -> list[RunEntry]:
    """Return all runs of a history; every file that cannot be understood is named in the error."""
    checks = Checks()
    runs: list[RunEntry] = []
    for _, found in read_history(history):
        if isinstance(found, DataError):
            checks.errors.append(found)
        else:
            runs.extend(found)
    checks.raise_all()
    return runs


def _error(alerts: Sequence[Finding]) -> GateFailed | None:
    if not alerts:
        return None
    fired = plural(len(alerts), "rule", ("fires", "fire"))
    return GateFailed(
        f"{fired}: {', '.join(finding.rule for finding in alerts)}",
        f"see {alerts[0].report}" if alerts[0].report else "",
    )


def _as_text(window: Window, findings: Sequence[Finding], left_out: Sequence[str]) -> str:
    n_rows = sum(run.rows_in for run in window.inside)
    head = (
        f"from {window.since:%Y-%m-%d %H:%M} to {window.until:%Y-%m-%d %H:%M} UTC: "
        f"{plural(len(window.inside), 'run')} of {plural(n_rows, 'row')}; before: {plural(len(window.before), 'run')}"
    )
    return "\n".join([head, *left_out, "", *(line for finding in findings for line in _lines(finding))])


def _lines(finding: Finding) -> list[str]:
    text = f"not evaluated: {finding.text}" if finding.state == "not_evaluated" else finding.text
    runs = f" [{plural(finding.rows, 'row')}, {plural(finding.runs, 'run')}]" if finding.runs else ""
    lines = [f"{finding.rule:<16} {_STATES[finding.state]:<6} {text}{runs}"]
    return [*lines, f"{'':<23} {finding.report}"] if finding.state == "fired" else lines
