"""The result of a rule for a window of past runs, and the texts that rules share.

The rule: a rule without enough data says so and does not fire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lvm_batch.jobs.console.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from lvm_batch.io.history.run_entry import Figure, RunEntry

State = Literal["fired", "quiet", "not_evaluated"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of a window.

    ``figure`` is what was judged, ``threshold`` by what; ``text`` says both in words, or why nothing was judged.
    ``runs`` are how many were judged, ``rows`` how many of theirs bear on the figure; ``report`` leads to the report of
    the run that stands out most, whose figure it is where runs are judged one by one. ``details`` are more figures.
    """

    rule: str
    state: State
    text: str
    figure: float | None = None
    threshold: float | None = None
    rows: int = 0
    runs: int = 0
    report: str | None = None
    details: dict[str, float | None] | None = None


def state_of(fires: bool) -> State:  # noqa: FBT001 - it is the only argument
    """Return the state for a rule's condition."""
    return "fired" if fires else "quiet"


def lacks(rule: str, why: str) -> Finding:
    """Return the finding of a rule that lacks data."""
    return Finding(rule, "not_evaluated", why)


def runs_with(runs: Iterable[RunEntry], figure: Callable[[RunEntry], Figure | None]) -> list[RunEntry]:
    """Return the runs that have rows of a figure."""
    return [run for run in runs if (found := figure(run)) is not None and found.n and found.mean is not None]


def mean_of(figure: Figure | None) -> float:
    """Return a figure's mean, 0 if there is none."""
    return 0.0 if figure is None or figure.mean is None else figure.mean


def spell(runs: Sequence[RunEntry]) -> str:
    """Describe the runs that a window is compared with."""
    first, last = runs[0].ended, runs[-1].ended
    if len(runs) == 1:
        return f"the run that ended at {last:%Y-%m-%d %H:%M} UTC"
    return f"{plural(len(runs), 'run')} that ended from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
