"""Thresholds of the routing policy for a budget, and their gain on articles that were not used to choose them.

The rule: thresholds chosen on one half of the articles are judged on the other half, each in turn. Needs numpy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.evaluation.bootstrap import interval, resampled_means
from lvm_batch.lvm.evaluation.calibration import CalibrationRows, oracle_rows
from lvm_batch.lvm.inference.routing import escalation_reasons, rows_in
from lvm_batch.lvm.inference.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from lvm_batch.lvm.evaluation.calibration import Flags, Floats, Values

    Policy = Callable[[CalibrationRows, CalibrationRows, float], Flags]

NEVER = Thresholds(min_confidence=-1.0, min_margin=0.0)
"""Thresholds under which no confidence and no margin escalates."""

_STEPS = 20  # of the grid of thresholds, over the budget
_DIGITS = 4  # significant digits of a threshold
_HALVINGS = 10


@dataclass(frozen=True, slots=True)
class Recovery:
    """The result of a policy on articles that were not used to choose it.

    ``escalated`` is a share of the rows, ``gain`` the rise of the mean cosine. ``of_oracle`` is the share of the gain
    of an oracle that may escalate as many rows as the budget, or as the policy if that was more; None if the oracle
    gains nothing. ``interval`` is its 95 % interval over articles, None for fewer than two. ``of_gap`` is the share of
    the gain of escalating every row (the performance gap recovered of Ong et al. 2024, RouteLLM), None if that gains
    nothing.
    """

    escalated: float
    gain: float
    of_oracle: float | None
    interval: tuple[float, float] | None
    of_gap: float | None


def escalated(rows: CalibrationRows, thresholds: Thresholds) -> Flags:
    """Return which rows are escalated under ``thresholds`` or for other reasons, as in a run, bool (n,)."""
    reasons = escalation_reasons(thresholds, len(rows), confidence=rows.confidence, margin=rows.margin)
    return np.asarray(rows.escalated_anyway | reasons.any(axis=1))


def find_thresholds(rows: CalibrationRows, budget: float) -> Thresholds:
    """Return the pair of thresholds that gains most among those that escalate at most ``budget`` of the rows.

    The pairs form a grid of quantiles of confidence and of margin. Of pairs with equal gain the one that escalates
    least is returned; if none gains anything, ``NEVER``.
    """
    confidences = _quantiles(rows.confidence, budget, lowest=NEVER.min_confidence)
    margins = _quantiles(rows.margin, budget, lowest=NEVER.min_margin)
    free = rows.take(~rows.escalated_anyway)
    counts = _below(free, confidences, margins, np.ones(len(free)))
    gains = _below(free, confidences, margins, free.gain)
    room = rows_in(budget, len(rows)) - int(rows.escalated_anyway.sum())
    allowed = np.where(counts <= max(0, room), gains, -np.inf)
    best = np.lexsort((counts.ravel(), -allowed.ravel()))[0]
    at_confidence, at_margin = np.unravel_index(best, allowed.shape)
    return Thresholds(min_confidence=confidences[at_confidence], min_margin=margins[at_margin])


def _quantiles(values: Floats, budget: float, *, lowest: float) -> list[float]:
    """Return thresholds with 0, 1, … 20 twentieths of the budget below them, ascending from ``lowest``."""
    twentieths = (quantile_below(values, budget * step / _STEPS) for step in range(1, _STEPS + 1))
    return [lowest, *(max(lowest, threshold) for threshold in twentieths)]


def quantile_below(values: Floats, share: float) -> float:
    """Return a threshold, rounded down to four digits, with at most ``share`` of the values (n,) below it.

    NaN is below no threshold. If no value is finite, or ``share`` is less than one value, nothing is below the result.
    """
    known = np.sort(values[np.isfinite(values)])
    place = rows_in(share, len(values))
    if not len(known) or not place:
        return NEVER.min_confidence
    return round_down(float(known[place])) if place < len(known) else 1.0


def round_down(value: float) -> float:
    """Return a number rounded down to four digits."""
    if not value:
        return 0.0
    unit = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(abs(value))))
    return float(f"{math.floor(value * unit) / unit:.{_DIGITS}g}")  # as a file shows it


def _below(rows: CalibrationRows, confidences: list[float], margins: list[float], weights: Values) -> Values:
    """Return the summed weights of rows below either threshold, for each pair of thresholds, (c, m).

    They are the total less the sum of rows above both, over the same cells: pairs that select the same rows have the
    same sum to the last bit.
    """
    cells = np.zeros((len(confidences) + 1, len(margins) + 1))
    np.add.at(cells, (_cell(rows.confidence, confidences), _cell(rows.margin, margins)), weights)
    above = cells[::-1, ::-1].cumsum(axis=0).cumsum(axis=1)[::-1, ::-1]
    return np.asarray(above[0, 0] - above[1:, 1:])


def _cell(values: Floats, thresholds: list[float]) -> npt.NDArray[np.int64]:
    """Return how many of the ascending thresholds each value reaches; NaN reaches all."""
    return np.searchsorted(np.asarray(thresholds, np.float32), values, side="right")


def by_cards(_: CalibrationRows, rows: CalibrationRows, budget: float) -> Flags:  # noqa: ARG001 - as all policies
    """Escalate by the thresholds of the models' cards, whatever the budget."""
    return escalated(rows, Thresholds())


def by_confidence(chosen_on: CalibrationRows, rows: CalibrationRows, budget: float) -> Flags:
    """Spend the budget on the least confident rows."""
    bound = quantile_below(chosen_on.confidence, _free(chosen_on, budget))
    return escalated(rows, replace(NEVER, min_confidence=bound))


def by_margin(chosen_on: CalibrationRows, rows: CalibrationRows, budget: float) -> Flags:
    """Spend the budget on the rows with the smallest margin."""
    return escalated(
        rows, replace(NEVER, min_margin=quantile_below(chosen_on.margin, _free(chosen_on, budget)))
    )


def by_both(chosen_on: CalibrationRows, rows: CalibrationRows, budget: float) -> Flags:
    """Escalate by the pair of thresholds with the largest gain."""
    return escalated(rows, find_thresholds(chosen_on, budget))


def _free(rows: CalibrationRows, budget: float) -> float:
    """Return the part of the budget, as a share of rows, that rows escalated for other reasons leave."""
    return max(0.0, budget - float(rows.escalated_anyway.mean()))


POLICIES: dict[str, Policy] = {
    "cards": by_cards,
    "confidence": by_confidence,
    "margin": by_margin,
    "both": by_both,
}
"""Ways to spend a budget, each fitted on some rows and applied to others."""


def recoveries(rows: CalibrationRows, *, budget: float, seed: int, resamples: int) -> dict[str, Recovery]:
    """Return the results of random choice, of each policy and of the oracle within ``budget``, on unseen articles.

    The articles are halved ten times at random, by ``seed``; intervals come from ``resamples`` bootstrap samples of
    articles.
    """
    halves = list(_halves(rows.articles, seed))
    best = sum((_oracle(rows, judged, budget) for _, judged in halves), np.zeros(len(rows))) / _HALVINGS
    shares = {"random": Shares(np.full(len(rows), budget), best)}
    shares |= {name: _apply(rows, halves, policy, budget) for name, policy in POLICIES.items()}
    shares["oracle"] = Shares(best, best)
    return {name: recovery_of(rows, each, seed=seed, resamples=resamples) for name, each in shares.items()}


@dataclass(frozen=True, slots=True)
class Shares:
    """How often each row was escalated over all halvings, and how often by an oracle, float64 (n,)."""

    chosen: Values
    oracle: Values


def _halves(articles: npt.NDArray[np.int64], seed: int) -> Iterator[tuple[Flags, Flags]]:
    """Yield the rows to choose thresholds on and the rows to judge them on: halves of the articles, each in turn."""
    names = np.unique(articles)
    rng = np.random.default_rng(seed)
    for _ in range(_HALVINGS):
        first = np.isin(articles, rng.permutation(names)[: len(names) // 2])
        yield from ((first, ~first), (~first, first))


def _apply(rows: CalibrationRows, halves: list[tuple[Flags, Flags]], policy: Policy, budget: float) -> Shares:
    chosen, oracle = np.zeros(len(rows)), np.zeros(len(rows))
    for chosen_on, judged in halves:
        applied = policy(rows.take(chosen_on), rows.take(judged), budget)
        chosen[judged] += applied
        oracle += _oracle(rows, judged, max(budget, float(applied.mean())))
    return Shares(chosen / _HALVINGS, oracle / _HALVINGS)


def _oracle(rows: CalibrationRows, judged: Flags, share: float) -> Values:
    chosen = np.zeros(len(rows))
    chosen[judged] = oracle_rows(rows.gain[judged], rows_in(share, int(judged.sum())))
    return chosen


def recovery_of(rows: CalibrationRows, shares: Shares, *, seed: int, resamples: int) -> Recovery:
    """Return what escalating each row as often as ``shares`` says recovers, with its interval over articles."""
    won, best, whole = shares.chosen * rows.gain, shares.oracle * rows.gain, float(rows.gain.sum())
    means = resampled_means([won, best], rows.articles, resamples=resamples, seed=seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = means[:, 0] / means[:, 1]
    return Recovery(
        escalated=float(shares.chosen.mean()),
        gain=float(won.mean()),
        of_oracle=float(won.sum() / best.sum()) if best.any() else None,
        interval=interval(ratios),
        of_gap=float(won.sum()) / whole if whole > 0 else None,
    )
