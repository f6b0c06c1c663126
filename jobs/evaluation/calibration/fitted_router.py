"""The router of a calibration: its figures, its file, and the settings of a run that spends the budget by it alone.

The rule: where no signal tells rows apart, nothing is written, and what an earlier calibration wrote goes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.output_folder import write_files
from lvm_batch.lvm.evaluation.threshold_search import NEVER
from lvm_batch.lvm.inference.router_file import RouterFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lvm_batch.lvm.evaluation.router_fit import FittedRouter

ROUTER, ROUTER_SETTINGS = "router.json", "router.toml"


def router_figures(fitted: FittedRouter, *, is_written: bool) -> dict[str, Any]:
    """Return what a router recovers among the rows that no other reason escalates, and the name of its file, if any."""
    recovery = fitted.recovery
    return {
        "is_better": fitted.router is not None,
        "file": ROUTER if is_written and fitted.router else None,
        "rows": fitted.n_rows,
        "articles": fitted.n_articles,
        "share": fitted.share,
        "threshold": fitted.router.threshold if fitted.router else None,
        "escalated": recovery.escalated,
        "gain": recovery.gain,
        "of_oracle": recovery.of_oracle,
        "interval": recovery.interval,
        "random": fitted.random,
        "ahead_of_random": fitted.ahead,
        "covariance": fitted.signal,
    }


def write_router(folder: Path, fitted: FittedRouter, values: Mapping[str, Any]) -> None:
    """Write the router and the settings of a run with it; ``values`` are those of the calibration.

    Raises ``OutputError``.
    """
    for name in (ROUTER, ROUTER_SETTINGS):
        (folder / name).unlink(missing_ok=True)
    if fitted.router is None:
        return
    file = RouterFile(
        fitted.router,
        primary=values["primary"]["sha256"],
        fallback=values["fallback"]["sha256"],
        budget=values["budget"],
        recovery=fitted.recorded,
    )
    write_files(
        folder, {ROUTER: file.to_bytes(), ROUTER_SETTINGS: _as_toml(values, folder / ROUTER).encode()}
    )


def _as_toml(values: Mapping[str, Any], path: Path) -> str:
    """Return lines for ``run --config`` under which the router spends the budget, and no threshold does."""
    return (
        f"# the router escalates {values['router']['escalated']:.1%} of the rows that neither lane nor length "
        "escalates; confidence and margin escalate none\n"
        f"router = {json.dumps(str(path), ensure_ascii=False)}\n"
        f"min_confidence = {NEVER.min_confidence!r}\nmin_margin = {NEVER.min_margin!r}\n"
    )
