"""Tests of calibration against direct counting, and on rows made so that the answer is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvm_batch.lvm.evaluation.calibration import (
    CalibrationRows,
    auroc,
    average_ranks,
    gain_curve,
    oracle_curve,
    oracle_rows,
    reliability,
    spearman,
)
from lvm_batch.lvm.evaluation.threshold_search import (
    NEVER,
    Recovery,
    escalated,
    find_thresholds,
    quantile_below,
    recoveries,
)
from lvm_batch.lvm.inference.routing import escalation_reasons
from lvm_batch.lvm.inference.thresholds import Thresholds

FEW = st.lists(st.integers(-3, 3), min_size=2, max_size=30)


def rows_of(gain: np.ndarray, *, n_articles: int = 20, **columns: np.ndarray) -> CalibrationRows:
    """Rows whose fallback gains ``gain``; confidence and margin say nothing of it unless given."""
    n_rows, rng = len(gain), np.random.default_rng(1)
    confidence = columns.get("confidence", rng.uniform(0.5, 0.9, n_rows)).astype(np.float32)
    margin = columns.get("margin", rng.uniform(0, 0.05, n_rows)).astype(np.float32)
    return CalibrationRows(
        primary=np.full(n_rows, 0.6),
        fallback=0.6 + gain,
        confidence=confidence,
        margin=margin,
        escalated_anyway=columns.get("escalated_anyway", np.zeros(n_rows, np.bool_)),
        articles=columns.get("articles", np.arange(n_rows) * n_articles // n_rows),
    )


def noise(n_rows: int, seed: int = 0) -> np.ndarray:
    """Random gains of 0.01 in either direction, independent of all signals."""
    return 0.01 * np.random.default_rng(seed).standard_normal(n_rows)


def recovered(rows: CalibrationRows, *, budget: float = 0.2, resamples: int = 200) -> dict[str, Recovery]:
    """The share of the gain that each policy recovers."""
    return recoveries(rows, budget=budget, seed=3, resamples=resamples)


@given(FEW, st.data())
def test_auroc_is_the_share_of_pairs_in_the_right_order(scores: list[int], data: st.DataObject) -> None:
    """Counted pair by pair, a tie counts half; if all rows are of one kind, there is no AUROC."""
    flags = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    pairs = [
        (high > low) + (high == low) / 2
        for (high, is_high), (low, is_low) in product(zip(scores, flags, strict=True), repeat=2)
        if is_high and not is_low
    ]
    found = auroc(np.array(scores, float), np.array(flags))
    assert found == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)


@given(FEW)
def test_equal_values_share_their_ranks(values: list[int]) -> None:
    """A rank is one plus the number of smaller values, plus half the number of other equal ones."""
    ranks = [sum(x < value for x in values) + (values.count(value) + 1) / 2 for value in values]
    assert average_ranks(np.array(values, float)).tolist() == ranks


def test_rank_correlation_sees_order_alone() -> None:
    """Any increasing function of the values has 1, any decreasing one -1, and a constant has none."""
    values = np.array([3.0, 1.0, 2.0, 9.0])
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)
    assert spearman(values, np.ones(4)) is None
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 4, 3])) == pytest.approx(0.6)


def test_a_reliability_curve_has_bins_of_equal_size() -> None:
    """Bins are ordered by value and have the means of their rows; with few rows there are fewer bins."""
    predicted = np.random.default_rng(0).permutation(103) / 103
    curve = reliability(predicted, 2 * predicted)
    assert [tenth.rows for tenth in curve] == [11] * 3 + [10] * 7
    assert all(tenth.actual == pytest.approx(2 * tenth.predicted) for tenth in curve)
    assert curve[0].predicted == pytest.approx(5 / 103)
    assert len(reliability(predicted[:4], predicted[:4])) == 4


def test_an_oracle_takes_the_best_and_no_row_that_loses() -> None:
    """The oracle sorts by the true gain, takes at most the budget, and stops at the first row without a gain."""
    gain = np.array([0.0, 3, -1, 2, 1])
    assert oracle_rows(gain, 2).tolist() == [False, True, False, True, False]
    assert oracle_rows(gain, 5).tolist() == [False, True, False, True, True]
    assert oracle_curve(gain, np.array([0, 0.2, 0.4, 1])).tolist() == pytest.approx([0, 0.6, 1.0, 1.2])


def test_a_gain_curve_ends_where_every_row_is_escalated() -> None:
    """The curve sums gains in the order of the scores, over all rows; no order exceeds the oracle's."""
    gain, shares = np.array([0.5, -1.0, 2.0, 0.25]), np.array([0, 0.25, 0.5, 1])
    curve = gain_curve(np.array([4.0, 3, 2, 1]), gain, shares)
    assert curve.tolist() == pytest.approx([0, 0.125, -0.125, 0.4375])
    assert (oracle_curve(gain, shares) >= curve).all()


@given(
    st.lists(st.floats(-1, 1, width=32) | st.just(np.nan), min_size=1, max_size=40),
    st.floats(0, 1),
)
def test_a_quantile_is_never_above_its_share(values: list[float], share: float) -> None:
    """Rounded to four digits, as written to a file, a threshold has at most its share of values below it."""
    column = np.array(values, np.float32)
    bound = quantile_below(column, share)
    assert (column < np.float32(bound)).sum() <= share * len(column) + 1e-9
    assert float(f"{bound:.4g}") == bound


def test_thresholds_find_the_rows_that_gain() -> None:
    """If the least confident tenth gains and the rest loses, that tenth is escalated, and margin is not used."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 0.9, 2000)
    gain = np.where(confidence < np.quantile(confidence, 0.1), 0.05, -0.02)
    rows = rows_of(gain, confidence=confidence)
    found = find_thresholds(rows, 0.2)
    assert found.min_margin == 0
    assert escalated(rows, found).sum() == pytest.approx(200, abs=2)
    assert (gain[escalated(rows, found)] > 0).all()


def test_both_thresholds_are_found_together() -> None:
    """If low confidence and low margin each indicate gains, the budget is split between them."""
    rng = np.random.default_rng(0)
    confidence, margin = rng.uniform(0.5, 0.9, 4000), rng.uniform(0, 0.05, 4000)
    gain = np.where((confidence < 0.52) | (margin < 0.004), 0.05, -0.02)
    rows = rows_of(gain, confidence=confidence, margin=margin)
    chosen = escalated(rows, find_thresholds(rows, 0.2))
    assert gain[chosen].sum() > 0.9 * gain[gain > 0].sum()


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.2, 1.0]))
def test_thresholds_gain_most_of_all_pairs_within_the_budget(seed: int, budget: float) -> None:
    """Of all pairs of quantiles within the budget, applied as a run applies them, none gains more."""
    rng = np.random.default_rng(seed)
    escalated_anyway = rng.random(200) < 0.03
    margin = np.where(rng.random(200) < 0.1, np.nan, rng.uniform(0, 0.05, 200))
    rows = rows_of(noise(200, seed), margin=margin, escalated_anyway=escalated_anyway)
    found = find_thresholds(rows, budget)
    chosen = escalated(rows, found)
    assert chosen.sum() <= max(budget * 200 + 1e-9, escalated_anyway.sum())
    shares = [budget * step / 20 for step in range(1, 21)]
    for confidence, bound in product(shares, shares):
        pair = Thresholds(
            min_confidence=quantile_below(rows.confidence, confidence),
            min_margin=max(0, quantile_below(rows.margin, bound)),
        )
        other = escalated(rows, pair)
        if other.sum() <= budget * 200 + 1e-9:
            assert rows.gain[other].sum() <= rows.gain[chosen].sum() + 1e-12


def test_no_threshold_is_proposed_if_nothing_gains() -> None:
    """If the fallback is worse on every row, the thresholds escalate none."""
    rows = rows_of(np.full(300, -0.01))
    assert find_thresholds(rows, 0.2) == NEVER
    assert not escalated(rows, NEVER).any()


def test_of_equal_pairs_the_one_that_escalates_least_is_found() -> None:
    """Of thresholds that gain the same, the search returns those that escalate the fewest rows."""
    steps = np.linspace(0.1, 0.9, 20)
    third, eighth = steps, np.roll(steps, -5)
    gain = np.where(np.arange(20) == 2, 1.0, 0.0)
    for confidence, margin in ((third, eighth), (eighth, third)):
        rows = rows_of(gain, confidence=confidence, margin=margin)
        assert np.flatnonzero(escalated(rows, find_thresholds(rows, 0.5))).tolist() == [0, 1, 2]


def test_rows_are_escalated_as_a_run_escalates_them() -> None:
    """The routing policy itself decides, strictly and in float32; unknown values are no reason."""
    rows = rows_of(noise(5), confidence=np.array([0.7, 0.69, 0.8, np.nan, 0.9]), margin=np.full(5, np.nan))
    expected = escalation_reasons(Thresholds(), 5, confidence=rows.confidence, margin=rows.margin)
    assert escalated(rows, Thresholds()).tolist() == expected.any(axis=1).tolist()
    assert escalated(rows, Thresholds()).tolist() == [False, True, False, False, False]


def test_rows_that_are_escalated_anyway_use_up_the_budget() -> None:
    """If lane and length use the whole budget, neither threshold escalates further rows."""
    confidence = np.linspace(0.5, 0.9, 1000)
    gain = np.where(confidence < 0.6, 0.05, -0.01)
    escalated_anyway = np.arange(1000) >= 750
    assert (
        find_thresholds(rows_of(gain, confidence=confidence, escalated_anyway=escalated_anyway), 0.2) == NEVER
    )
    half = rows_of(gain, confidence=confidence, escalated_anyway=np.arange(1000) >= 900)
    assert escalated(half, find_thresholds(half, 0.2)).sum() == pytest.approx(200, abs=10)


def test_every_policy_leaves_room_for_rows_that_are_escalated_anyway() -> None:
    """A tenth of the rows escalates anyway, so each policy adds a tenth to reach a budget of a fifth."""
    rows = rows_of(noise(4000) + 0.01, escalated_anyway=np.arange(4000) % 10 == 0)
    found = recovered(rows)
    for name in ("confidence", "margin"):
        assert found[name].escalated == pytest.approx(0.19, abs=0.015), name
    assert found["both"].escalated <= 0.21


def test_a_row_on_its_threshold_is_not_counted_as_escalated() -> None:
    """With repeated confidences the search compares as strictly as a run does."""
    confidence = np.where(np.arange(100) < 10, 0.5, 0.75)
    rows = rows_of(np.where(confidence < 0.7, 0.05, -0.02), confidence=confidence)
    assert find_thresholds(rows, 0.2) == Thresholds(min_confidence=0.75, min_margin=0)


def test_a_perfect_signal_recovers_what_the_oracle_gains() -> None:
    """If confidence orders rows by gain, it nearly equals the oracle, while margin equals chance."""
    gain = noise(4000)
    found = recovered(rows_of(gain, confidence=0.7 - 5 * gain, articles=np.arange(4000) % 40))
    assert found["oracle"].of_oracle == 1
    for name in ("confidence", "both"):
        assert found[name].of_oracle == pytest.approx(1, abs=0.03), name
        assert found[name].escalated == pytest.approx(0.2, abs=0.02)
    assert found["margin"].of_oracle == pytest.approx(found["random"].of_oracle, abs=0.06)


def test_random_choice_gains_its_share_of_everything() -> None:
    """If all rows gain the same, random choice equals the oracle; if gains are noise, it recovers nothing."""
    even = recovered(rows_of(np.full(400, 0.03)))
    assert even["random"].gain == pytest.approx(0.2 * 0.03)
    assert even["random"].of_oracle == pytest.approx(1)
    assert even["random"].of_gap == pytest.approx(0.2)
    gain = noise(400)
    gain -= gain.mean()
    assert recovered(rows_of(gain))["random"].of_oracle == pytest.approx(0, abs=1e-12)


def of_chance(seed: int) -> tuple[float, float]:
    """The oracle share on the fitted rows and on unseen articles, with signals that vary by article at random."""
    rng = np.random.default_rng(seed)
    articles = np.arange(1800) % 60
    gain = rng.standard_normal(60)[articles] * 0.05
    rows = rows_of(gain - gain.mean(), confidence=rng.uniform(0.5, 0.9, 60)[articles], articles=articles)
    itself = rows.gain[escalated(rows, find_thresholds(rows, 0.2))].sum()
    return itself / rows.gain[oracle_rows(rows.gain, 360)].sum(), recovered(rows, resamples=2)[
        "both"
    ].of_oracle or 0.0


def test_overfitting_to_some_articles_is_not_rewarded() -> None:
    """Thresholds fitted to chance gain on the articles they were fitted on, and nothing on others."""
    on_itself, on_others = np.mean([of_chance(seed) for seed in range(12)], axis=0)
    assert on_itself > 0.06
    assert on_others < 0.03


def test_an_oracle_may_escalate_as_many_rows_as_the_policy_did() -> None:
    """If the card's thresholds escalate every row, the oracle may escalate every row too."""
    gain = noise(500) + 0.002
    found = recovered(rows_of(gain, margin=np.full(500, 0.001)))["cards"]
    assert found.escalated == 1
    assert found.of_oracle == pytest.approx(gain.sum() / gain[gain > 0].sum())
    assert found.of_gap == pytest.approx(1)


def test_a_bank_of_one_vector_leaves_margin_out() -> None:
    """If no margin is known, margin escalates nothing, and confidence still works."""
    gain = noise(800)
    found = recovered(rows_of(gain, confidence=0.7 - 5 * gain, margin=np.full(800, np.nan)))
    assert found["margin"].escalated == 0
    assert found["both"].of_oracle is not None
    assert found["both"].of_oracle > 0.8


def test_without_any_gain_there_is_no_share() -> None:
    """If both models give the same answers, the oracle gains nothing, and the shares are None."""
    for recovery in recovered(rows_of(np.zeros(200))).values():
        assert (recovery.gain, recovery.of_oracle, recovery.interval, recovery.of_gap) == (
            0,
            None,
            None,
            None,
        )


def test_recoveries_follow_from_the_seed() -> None:
    """The same rows and seed give the same figures; each interval contains its figure."""
    rows = rows_of(noise(600) + 0.003)
    first = recovered(rows)
    assert first == recovered(rows)
    for name in ("random", "confidence", "margin", "both"):
        low, high = first[name].interval or (np.nan, np.nan)
        assert low <= (first[name].of_oracle or np.nan) <= high


def test_a_budget_may_be_zero_or_one() -> None:
    """With a budget of zero no share is known; with a budget of one, thresholds take everything that gains."""
    nothing = recovered(rows_of(noise(300)), budget=0.0)
    assert all(
        (found.escalated, found.of_oracle) == (0, None) for name, found in nothing.items() if name != "cards"
    )
    everything = recovered(rows_of(np.full(300, 0.01)), budget=1.0)
    for name in ("random", "confidence", "margin", "both", "oracle"):
        assert everything[name].of_oracle == pytest.approx(1), name
