"""Tests of the routing policy: its thresholds, its cap, and the choice of shadow rows."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvm_batch.lvm import REASONS, Thresholds, escalation_reasons
from lvm_batch.lvm.inference.routing import _splitmix64, cap, shadow_rows
from lvm_batch.lvm.inference.thresholds import HIGH_STAKES_LANES

EDGE = np.float32(0.70)
BELOW, ABOVE = np.nextafter(EDGE, np.float32(0)), np.nextafter(EDGE, np.float32(1))
MARGIN = np.float32(0.02)


def floats(*values: float) -> np.ndarray:
    """A float32 column."""
    return np.array(values, dtype=np.float32)


def column(reason: str, n_rows: int, **inputs: object) -> list[bool]:
    """One criterion of the default policy, with the others off."""
    reasons = escalation_reasons(Thresholds(), n_rows, **inputs)  # type: ignore[arg-type]
    assert reasons.sum() == reasons[:, REASONS.index(reason)].sum()
    return reasons[:, REASONS.index(reason)].tolist()


def test_confidence_is_compared_strictly_in_float32() -> None:
    """Exactly 0.70 is not escalated, the next smaller float32 is; unknown confidence is no reason."""
    confidence = floats(BELOW, EDGE, ABOVE, np.nan, -1.0)
    assert column("low_confidence", 5, confidence=confidence) == [True, False, False, False, True]


def test_margin_is_compared_strictly_in_float32() -> None:
    """Exactly 0.02 is not escalated; an unknown margin, as with a bank of one vector, is no reason."""
    margin = floats(np.nextafter(MARGIN, np.float32(0)), MARGIN, 0.0, np.nan)
    assert column("low_margin", 4, margin=margin) == [True, False, True, False]


def test_a_context_of_384_tokens_is_not_long() -> None:
    """385 tokens are long; an unknown count is no reason."""
    tokens = np.array([384, 385, 383, np.nan, 384.5])
    assert column("long_context", 5, context_tokens=tokens) == [False, True, False, False, True]


def test_high_stakes_lanes_are_the_four_of_the_cards() -> None:
    """Each of the four lanes escalates; other lanes, partial names and null do not."""
    lanes = [
        "sci-fact",
        "math-derivation",
        "med-guideline",
        "policy/procedure",
        "chat",
        None,
        "sci",
        "",
        "SCI-FACT",
    ]
    assert column("high_stakes_lane", 9, lanes=np.array(lanes, dtype=object)) == [True] * 4 + [False] * 5
    assert column("high_stakes_lane", 9, lanes=lanes) == [True] * 4 + [False] * 5


def test_unknown_values_are_no_reason() -> None:
    """Without a bank, lanes and counts no row is escalated."""
    nothing = escalation_reasons(Thresholds(), 3)
    assert nothing.dtype == np.bool_
    assert nothing.tolist() == [[False] * 4] * 3


def test_reasons_can_be_combined() -> None:
    """A row may have all four reasons at once, in the order of REASONS."""
    reasons = escalation_reasons(
        Thresholds(),
        1,
        confidence=floats(0.1),
        margin=floats(0),
        lanes=["sci-fact"],
        context_tokens=np.array([999.0]),
    )
    assert REASONS == ("low_confidence", "high_stakes_lane", "long_context", "low_margin")
    assert reasons.tolist() == [[True] * 4]


def test_thresholds_are_settings() -> None:
    """A changed threshold takes effect."""
    changed = Thresholds(
        min_confidence=0.5, min_margin=0.1, max_context_tokens=10, high_stakes_lanes=("law",)
    )
    reasons = escalation_reasons(
        changed,
        2,
        confidence=floats(0.5, 0.4),
        margin=floats(0.1, 0.05),
        lanes=["sci-fact", "law"],
        context_tokens=np.array([10.0, 11.0]),
    )
    assert reasons.tolist() == [[False] * 4, [True] * 4]
    assert Thresholds() == Thresholds(0.70, 0.02, 384, HIGH_STAKES_LANES)


def flags(*numbers: int, n_rows: int) -> np.ndarray:
    """A boolean column, true at these rows."""
    return np.isin(np.arange(n_rows), numbers)


def reasons_of(n_rows: int, *, low: tuple[int, ...], high_stakes: tuple[int, ...] = ()) -> np.ndarray:
    """Reasons for rows of low confidence or in high-stakes lanes."""
    reasons = np.zeros((n_rows, 4), dtype=bool)
    reasons[list(low), 0] = True
    reasons[list(high_stakes), 1] = True
    return reasons


def capped(
    reasons: np.ndarray, confidence: np.ndarray | None, rate: float, eligible: np.ndarray | None = None
) -> list[int]:
    """The rows that stay escalated under the cap."""
    everyone = np.ones(len(reasons), dtype=bool)
    return np.flatnonzero(
        cap(reasons, confidence, max_rate=rate, eligible=everyone if eligible is None else eligible)
    ).tolist()


def test_a_cap_keeps_the_least_confident() -> None:
    """Of four low-confidence rows in ten, a cap of 0.2 keeps the two lowest."""
    confidence = floats(0.9, 0.3, 0.9, 0.1, 0.9, 0.2, 0.9, 0.4, 0.9, 0.9)
    assert capped(reasons_of(10, low=(1, 3, 5, 7)), confidence, 0.2) == [3, 5]


def test_a_cap_keeps_every_high_stakes_row() -> None:
    """High-stakes rows may exceed the budget, and use it up for others."""
    confidence = floats(*[0.1] * 10)
    assert capped(reasons_of(10, low=(0, 1), high_stakes=(7, 8, 9)), confidence, 0.2) == [7, 8, 9]
    assert capped(reasons_of(10, low=(0, 1), high_stakes=(7,)), confidence, 0.2) == [0, 7]


def test_ties_under_a_cap_go_to_the_earlier_row() -> None:
    """Unknown confidence comes last; without a bank every row is a tie."""
    assert capped(reasons_of(10, low=(2, 4, 6)), floats(*[0.5] * 10), 0.2) == [2, 4]
    assert capped(reasons_of(10, low=(2, 4, 6)), floats(*[0.5] * 4, np.nan, *[0.5] * 5), 0.2) == [2, 6]
    assert capped(reasons_of(10, low=(2, 4, 6)), None, 0.2) == [2, 4]
    many = np.tile(floats(0.5, 0.4, 0.3), 1000)
    assert capped(reasons_of(3000, low=tuple(range(3000))), many, 0.1) == list(range(2, 900, 3))


def test_rows_without_a_prediction_neither_count_nor_escalate() -> None:
    """The budget is a share of the eligible rows, and only those are escalated."""
    eligible = ~flags(0, 1, 2, 3, 4, n_rows=10)
    reasons = reasons_of(10, low=(0, 6, 7), high_stakes=(1,))
    assert capped(reasons, floats(*[0.5] * 10), 0.2, eligible) == [6]


@pytest.mark.parametrize(
    ("rate", "n_rows", "budget"),
    [(0.2, 9, 1), (0.29, 100, 29), (0.2 - 1e-9, 10, 1), (0.0, 10, 0), (1.0, 10, 10)],
)
def test_a_budget_is_the_rate_of_the_rows_rounded_down(rate: float, n_rows: int, budget: int) -> None:
    """Rounding errors do not change the budget: 0.29 of 100 is 29, and never one more."""
    assert len(capped(reasons_of(n_rows, low=tuple(range(n_rows))), None, rate)) == budget


@given(st.data())
def test_a_cap_takes_from_the_top(data: st.DataObject) -> None:
    """For any rows, the least confident rows with a reason fill the budget that high-stakes rows leave."""
    n_rows = data.draw(st.integers(0, 30))
    confidence = np.array(
        data.draw(st.lists(st.sampled_from([0.1, 0.2, 0.3, np.nan]), min_size=n_rows, max_size=n_rows)),
        np.float32,
    )
    reasons = np.array(
        data.draw(st.lists(st.booleans(), min_size=4 * n_rows, max_size=4 * n_rows)), bool
    ).reshape(n_rows, 4)
    rate = data.draw(st.floats(0, 1))
    capped_rows = cap(reasons, confidence, max_rate=rate, eligible=np.ones(n_rows, dtype=bool))
    has_reason, must = reasons.any(1), reasons[:, 1]
    assert not (capped_rows & ~has_reason).any()
    assert capped_rows[must].all()
    assert capped_rows.sum() == min(has_reason.sum(), max(must.sum(), int(np.floor(rate * n_rows + 1e-9))))
    order = np.nan_to_num(confidence, nan=9) * 1000 + np.arange(n_rows)
    chosen, turned_down = order[capped_rows & ~must], order[has_reason & ~capped_rows]
    assert not len(chosen) or not len(turned_down) or chosen.max() < turned_down.min()


def test_with_a_router_the_cap_takes_the_largest_expected_gain() -> None:
    """After high stakes, whatever the confidence; a gain that is not known comes last."""
    reasons = np.ones((5, 5), np.bool_)
    reasons[:, 1] = [False, False, False, False, True]
    chosen = cap(
        reasons,
        floats(0.1, 0.2, 0.3, 0.4, 0.9),
        max_rate=0.6,
        eligible=np.ones(5, np.bool_),
        expected_gain=floats(np.nan, 0.01, 0.03, 0.02, -1),
    )
    assert chosen.tolist() == [False, False, True, True, True]


def test_shadow_rows_are_chosen_at_the_rate() -> None:
    """A rate of 0.01 over a million rows gives 10,000 within five standard deviations, spread evenly over the file."""
    chosen = shadow_rows("a/b.parquet", np.arange(1_000_000), 0.01)
    assert abs(int(chosen.sum()) - 10_000) < 5 * 99.5
    assert np.abs(chosen.reshape(10, -1).sum(axis=1) - 1_000).max() < 5 * 31.5


def test_shadow_rows_do_not_depend_on_batches() -> None:
    """Any split of the rows into batches, in any order, chooses the same rows."""
    rows = np.arange(10_000)
    at_once = shadow_rows("a.parquet", rows, 0.05)
    parts = [shadow_rows("a.parquet", part, 0.05) for part in np.split(rows, [1, 17, 4096])]
    assert np.array_equal(at_once, np.concatenate(parts))
    assert np.array_equal(at_once[::-1], shadow_rows("a.parquet", rows[::-1], 0.05))


def test_files_choose_their_shadow_rows_independently() -> None:
    """Two files choose the same rows no more often than chance would."""
    rows = np.arange(100_000)
    both = shadow_rows("a.parquet", rows, 0.1) & shadow_rows("b.parquet", rows, 0.1)
    assert abs(int(both.sum()) - 1_000) < 5 * 31.5


def test_a_higher_rate_adds_rows() -> None:
    """Rate 0 chooses none, 1 all, and a row chosen at one rate is chosen at every higher rate."""
    rows = np.arange(5_000)
    low, high = shadow_rows("k", rows, 0.01), shadow_rows("k", rows, 0.1)
    assert not shadow_rows("k", rows, 0.0).any()
    assert shadow_rows("k", rows, 1.0).all()
    assert high[low].all()


def test_shadow_rows_stay_the_same_over_versions() -> None:
    """The choice is part of a job's output, so these rows, first chosen by an earlier release, must stay."""
    assert np.flatnonzero(shadow_rows("part-0.parquet", np.arange(500), 0.02)).tolist() == [
        12,
        19,
        56,
        97,
        129,
        184,
        277,
        345,
        443,
        473,
    ]


def test_a_row_is_chosen_at_rates_above_its_own_number() -> None:
    """The hash of a row's place gives a number in [0, 1); at a rate of exactly that number the row is not chosen."""
    rows = np.arange(100)
    start = int.from_bytes(hashlib.blake2b(b"a", digest_size=8).digest(), "little")
    number = float(_splitmix64(rows.astype(np.uint64), start)[7] >> np.uint64(11)) / 2**53
    assert not shadow_rows("a", rows, number)[7]
    assert shadow_rows("a", rows, np.nextafter(number, 1))[7]


def test_the_hash_is_splitmix64() -> None:
    """The first outputs equal those of the published generator from the state 1234567."""
    assert _splitmix64(np.arange(5, dtype=np.uint64), 1234567).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
