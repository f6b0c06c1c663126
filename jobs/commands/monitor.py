"""``lvm-batch monitor``: what the history of runs gives cause for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.paths import expanded_file
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings

_SINCE = typer.Option(
    metavar="TIME", help="Check runs that ended since then: 24h, 7d, or a time such as 2026-11-23T06:00Z."
)
_RULES = typer.Option(
    metavar="FILE", help="TOML file of rules; the values of --print-rules apply to what it leaves out."
)
_PRINT = typer.Option("--print-rules", help="Print the rules in force as TOML, and do nothing else.")


@takes_settings(required=(), names=("history",))
@takes_console
def monitor(
    resolved: ResolvedSettings[RunSettings],
    *,
    console: Console,
    since: Annotated[str, _SINCE] = "24h",
    rules: Annotated[str | None, _RULES] = None,
    print_rules: Annotated[bool, _PRINT] = False,
) -> int:
    """Check the last runs of a history against rules.

    It exits with 3 if a rule fires.

    Examples:
        lvm-batch monitor --history history/
        lvm-batch monitor --history history/ --since 7d --rules rules.toml
        lvm-batch monitor --print-rules
    """
    from lvm_batch.jobs.monitoring.rule_files import load_rules, rules_text
    from lvm_batch.jobs.monitoring.rules import Rules

    loaded = load_rules(file) if (file := expanded_file(rules, option="--rules")) else Rules()
    if print_rules:
        console.result(loaded.model_dump(), rules_text(loaded))
        return 0
    history = resolved.settings.history
    if history is None:
        raise UsageError("no history is given", "give --history, or set LVM_BATCH_HISTORY")
    console.doing(f"reading the history {history}")
    now = datetime.now(UTC)
    from lvm_batch.jobs.monitoring.monitor import monitor as evaluate_rules
    from lvm_batch.jobs.monitoring.window import parse_since

    values, text, error = evaluate_rules(history, loaded, since=parse_since(since, now), now=now)
    console.result(values, text, error=error)
    return error.exit_code if error else 0
