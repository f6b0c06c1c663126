"""Fits a router: ridge regression of the fallback's gain on signals that are known before the fallback runs.

The rule: what a router recovers is measured on articles that it was not fitted on, and if nothing shows there that it
tells rows apart there is no router. Needs numpy alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.lvm.evaluation.bootstrap import interval, resampled_means
from lvm_batch.lvm.evaluation.calibration import oracle_rows
from lvm_batch.lvm.evaluation.router_features import Design
from lvm_batch.lvm.evaluation.threshold_search import Shares, recovery_of, round_down
from lvm_batch.lvm.inference.router_file import RouterRecovery
from lvm_batch.lvm.inference.routing import rows_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lvm_batch.lvm.evaluation.calibration import CalibrationRows, Flags, Values
    from lvm_batch.lvm.evaluation.router_features import RouterRows
    from lvm_batch.lvm.evaluation.threshold_search import Recovery
    from lvm_batch.lvm.inference.gain_router import GainRouter

_SHRINKAGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # as shares of the number of rows
_FOLDS = 5
_LEAST = 1e-12  # the least gain that is one


@dataclass(frozen=True, slots=True)
class FittedRouter:
    """The result of fitting: a router, unless it is no better than random choice.

    ``recovery`` is measured among the rows that no other reason escalates, of which the router may take ``share``;
    ``ahead`` is the 95 % interval of its gain less that of random choice, ``None`` if nothing was escalated. ``signal``
    is the 95 % interval of the covariance of expected and actual gain, which needs fewer rows to show that there is
    one. ``recovery_of_all`` is that of the router and of the other reasons together.
    """

    router: GainRouter | None
    share: float
    recovery: Recovery
    random: float | None
    ahead: tuple[float, float] | None
    signal: tuple[float, float] | None
    recovery_of_all: Recovery
    n_rows: int
    n_articles: int

    @property
    def recorded(self) -> RouterRecovery:
        """The recovery as the router's file has it; for a router that is there."""
        found = self.recovery
        assert found.of_oracle is not None and found.interval and self.random is not None  # noqa: PT018, S101
        return RouterRecovery(
            self.n_rows, self.n_articles, found.escalated, found.of_oracle, found.interval, self.random
        )


def fit_router(data: RouterRows, *, budget: float, seed: int, resamples: int) -> FittedRouter:
    """Fit a router that escalates the part of ``budget`` that other reasons leave.

    If they leave nothing, it may take ``budget`` of the rows that they do not escalate. The threshold is a quantile of
    gains that were expected by fits to other articles, and is positive.
    """
    free = ~data.rows.escalated_anyway
    share = _share_of_free(free, budget)
    design = Design.of(data)
    features = design.features(data)
    expected, shrinkage = _expected_by_others(features, data.rows)
    threshold = _threshold(expected[free], share)
    chosen = (expected >= threshold) & free
    decided = free if free.any() else np.ones_like(free)
    judged, taken = data.rows.take(decided), chosen[decided]
    recovery = _recovery(judged, taken, share, seed=seed, resamples=resamples)
    signal = _covariance(judged, expected[decided], seed=seed, resamples=resamples)
    is_ahead = recovery.gain > max(0.0, recovery.escalated * float(judged.gain.mean()))
    is_better = signal is not None and signal[0] > 0 and is_ahead
    ((weights, level),) = _fits(features, data.rows.gain, [shrinkage])
    return FittedRouter(
        router=design.router(weights, level, threshold) if is_better else None,
        share=share,
        recovery=recovery,
        random=_random_choice(judged.gain, share),
        ahead=_ahead_of_random(judged, taken, seed=seed, resamples=resamples),
        signal=signal,
        recovery_of_all=_recovery(data.rows, chosen | ~free, budget, seed=seed, resamples=resamples),
        n_rows=len(judged),
        n_articles=len(np.unique(judged.articles)),
    )


def _share_of_free(free: Flags, budget: float) -> float:
    """Return the share of the rows without another reason that the router may escalate."""
    room = budget - float((~free).mean())
    return room / float(free.mean()) if room > 0 else budget


def _threshold(expected: Values, share: float) -> float:
    """Return the least positive gain that at most ``share`` of the expected gains (n,) reach; inf if there is none."""
    n_chosen = rows_in(share, len(expected))
    best = np.sort(expected)[::-1][:n_chosen]
    best = best[best > _LEAST]
    return -round_down(-float(best[-1])) if len(best) else math.inf  # rounded up


def _expected_by_others(features: Values, rows: CalibrationRows) -> tuple[Values, float]:
    """Return the gain of each row that a fit to other articles expects, and the shrinkage whose error is the least."""
    _, articles = np.unique(rows.articles, return_inverse=True)
    folds = articles % _FOLDS
    expected = np.zeros((len(_SHRINKAGES), len(rows)))
    for fold in np.unique(folds).tolist():
        apart = folds == fold
        if apart.all():
            continue  # one article: nothing is expected
        fits = _fits(features[~apart], rows.gain[~apart], _SHRINKAGES)
        for number, (weights, level) in enumerate(fits):
            expected[number, apart] = features[apart] @ weights + level
    best = int(np.square(expected - rows.gain).sum(axis=1).argmin())
    return expected[best], _SHRINKAGES[best]


def _fits(features: Values, gain: Values, shrinkages: Sequence[float]) -> Iterator[tuple[Values, float]]:
    """Yield the weights (f,) and the level of ridge regressions of ``gain`` (n,) on ``features`` (n, f)."""
    centre, level = features.mean(axis=0), float(gain.mean())
    spread = features - centre
    gram, against = spread.T @ spread, spread.T @ (gain - level)
    for shrinkage in shrinkages:
        weights = np.linalg.solve(gram + shrinkage * len(gain) * np.eye(len(gram)), against)
        yield weights, level - float(centre @ weights)


def _recovery(rows: CalibrationRows, chosen: Flags, share: float, *, seed: int, resamples: int) -> Recovery:
    n_best = max(rows_in(share, len(rows)), int(chosen.sum()))
    shares = Shares(chosen.astype(np.float64), oracle_rows(rows.gain, n_best).astype(np.float64))
    return recovery_of(rows, shares, seed=seed, resamples=resamples)


def _random_choice(gain: Values, share: float) -> float | None:
    """Return what random choice recovers of the gain of an oracle; ``None`` if that gains nothing."""
    of_oracle = float(gain[oracle_rows(gain, rows_in(share, len(gain)))].sum())
    return share * float(gain.sum()) / of_oracle if of_oracle > 0 else None


def _ahead_of_random(
    rows: CalibrationRows, chosen: Flags, *, seed: int, resamples: int
) -> tuple[float, float] | None:
    """Return the interval of the gain of the chosen rows less that of as many at random."""
    if not chosen.any():
        return None
    won = chosen * rows.gain
    means = resampled_means([won, rows.gain], rows.articles, resamples=resamples, seed=seed)
    return interval(means[:, 0] - chosen.mean() * means[:, 1])


def _covariance(
    rows: CalibrationRows, expected: Values, *, seed: int, resamples: int
) -> tuple[float, float] | None:
    """Return the interval of the covariance of expected gains (n,) and the rows' own, over articles."""
    columns = [expected * rows.gain, expected, rows.gain]
    means = resampled_means(columns, rows.articles, resamples=resamples, seed=seed)
    return interval(means[:, 0] - means[:, 1] * means[:, 2])
