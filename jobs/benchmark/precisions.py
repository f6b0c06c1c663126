"""Which precision to take on this machine: how much faster each is, and what it changes.

The rule: a precision is advised only if it was seen, on the user's own rows, to change little.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.jobs.benchmark.precision_runs import EXACT, PrecisionRun
from lvm_batch.jobs.console.text import as_table, format_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    Runs = Mapping[str, PrecisionRun | str]

PRECISIONS = {"cpu": (EXACT, "bf16", "int8"), "cuda": (EXACT, "tf32", "bf16", "fp16"), "mps": (EXACT,)}
"""Those that each kind of device may have."""

LEAST_GAIN = 1.1
"""A precision that is not that much faster is not worth its rounding."""

MOST_ROUTES_CHANGED = 0.005
MOST_COSINE_CHANGE = 0.001
"""What a precision may change: this fraction of the routes, and a row's cosine by that much in the mean."""


@dataclass(frozen=True, slots=True)
class PrecisionFigures:
    """One precision on this machine; unknown figures are ``None``.

    ``gain`` is its rate divided by float32's. ``cosine_change`` is the mean over rows of how far their cosine with the
    target moves, ``routes_changed`` the fraction of rows that the other model answers; both need a dataset. ``refused``
    says why it does not run.
    """

    rows_per_s_of_a_core: int | None = None
    gain: float | None = None
    cosine_change: float | None = None
    routes_changed: float | None = None
    refused: str | None = None

    @property
    def is_advised(self) -> bool:
        """Whether it is faster than float32, and known to change little."""
        figures = (self.gain, self.cosine_change, self.routes_changed)
        gain, cosine_change, routes_changed = (np.nan if value is None else value for value in figures)
        return bool(
            gain >= LEAST_GAIN
            and cosine_change <= MOST_COSINE_CHANGE
            and routes_changed <= MOST_ROUTES_CHANGED
        )


def compare_precisions(timed: Runs, sample: Runs | None) -> dict[str, PrecisionFigures]:
    """Return the figures of each precision: rates from ``timed``, changes from ``sample``, None without a dataset."""
    return {name: _figures(name, timed, sample) for name in timed}


def _figures(name: str, timed: Runs, sample: Runs | None) -> PrecisionFigures:
    run, exact = timed[name], timed[EXACT]
    changed, unchanged = (sample[name], sample[EXACT]) if sample else (None, None)
    for refusal in (run, changed):
        if isinstance(refusal, str):
            return PrecisionFigures(refused=refusal)
    rate, reference = (each.rows / each.seconds for each in (run, exact) if isinstance(each, PrecisionRun))
    return PrecisionFigures(round(rate), round(rate / reference, 3), *_changes(changed, unchanged))


def _changes(run: object, exact: object) -> tuple[float | None, float | None]:
    """Return the mean change of a cosine, None where no row has one, and the fraction of routes that differ."""
    if not (isinstance(run, PrecisionRun) and isinstance(exact, PrecisionRun)):
        return None, None
    moved = np.abs(run.cosines.astype(np.float64) - exact.cosines)
    routed = np.array([route is not None for route in exact.routes], dtype=np.bool_)
    routes_changed = float(np.mean((run.routes != exact.routes)[routed])) if routed.any() else None
    return (None if np.isnan(moved).all() else float(np.nanmean(moved))), routes_changed


def choose_precision(figures: Mapping[str, PrecisionFigures]) -> str:
    """Return the fastest of the precisions that are advised, float32 if none is."""
    advised = [name for name, each in figures.items() if each.is_advised]
    return max(advised, key=lambda name: figures[name].gain or 0.0, default=EXACT)


def as_values(figures: Mapping[str, PrecisionFigures], *, n_sampled: int | None) -> dict[str, Any]:
    """Return the figures and the choice as JSON values; ``n_sampled`` is the number of the user's rows, if any."""
    chosen = choose_precision(figures)
    return {
        "precisions": {name: asdict(each) for name, each in figures.items()},
        "sampled_rows": n_sampled,
        "advised_precision": chosen,
        "advised_why": _why(chosen, figures, n_sampled),
    }


def _why(chosen: str, figures: Mapping[str, PrecisionFigures], n_sampled: int | None) -> str:
    if chosen != EXACT:
        return "it is the fastest that changes little"
    if not any((each.gain or 0.0) >= LEAST_GAIN for each in figures.values()):
        return "no other is much faster here"
    if n_sampled is None:
        return "it is unknown what the others change: give DATASET, your --model, --fallback, --bank and thresholds"
    if all(each.cosine_change is None for each in figures.values()):
        return "it is unknown what the others change: the rows have no targets"
    return (
        f"each faster one changes more than {MOST_ROUTES_CHANGED:.1%} of the routes, or cosines by more than "
        f"{MOST_COSINE_CHANGE:g} in the mean"
    )


def as_text(values: Mapping[str, Any]) -> str:
    """Return what :func:`as_values` returns as a table, and the choice below it."""
    head = ("precision", "rows/s of a core", "gain", "cosines change by", "routes changed")
    rows = [head, *(_cells(name, each) for name, each in values["precisions"].items())]
    refused = [f"{name}: {each['refused']}" for name, each in values["precisions"].items() if each["refused"]]
    sampled = values["sampled_rows"]
    changes = "" if sampled is None else f"changes are those of {sampled:,} of your rows\n"
    lines = [as_table(rows), *refused]
    return (
        "\n".join(lines)
        + f"\n{changes}take --precision {values['advised_precision']}: {values['advised_why']}"
    )


def _cells(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    forms = {
        "rows_per_s_of_a_core": ",",
        "gain": ".2f",
        "cosine_change": ".6f",
        "routes_changed": ".2%",
    }
    return (name, *(format_number(figures[key], form) for key, form in forms.items()))
