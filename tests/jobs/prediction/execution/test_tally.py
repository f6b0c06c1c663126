"""The counts of a block of predictions, and how the counts of blocks and units add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.output.commit_record import CommitRecord, UnitPlace
from lvm_batch.io.output.tally import NOTHING, BadRow, SquareSums, Sums, Tally
from lvm_batch.io.output.writer import PredictionBlock
from lvm_batch.io.schema import BAD_INPUT, NO_ROUTE, OK, ROUTES, SHORT_CONTEXT
from lvm_batch.jobs.prediction.execution.tally import empty_tally, tally_block, total_of
from lvm_batch.jobs.prediction.results.totals import totals_of
from lvm_batch.lvm import REASONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.jobs.prediction.results.totals import BadRowInFile

NAN = float("nan")
AMN, GRU = ROUTES.index("amn"), ROUTES.index("gru")


FLOATS = ("cosine", "confidence", "margin", "amn_cosine", "gru_cosine", "context_cosine")


def block(n_rows: int, *, carried: dict[str, Any] | None = None, **given: Any) -> PredictionBlock:  # noqa: ANN401 - a block's own
    """Rows that are ok, take the primary's route and have no figures, unless given."""

    def floats(name: str) -> np.ndarray:
        return np.array(given.get(name, [NAN] * n_rows), np.float32)

    return PredictionBlock(
        carried=pa.table(carried or {"row": range(n_rows)}),
        prediction=np.zeros((n_rows, 2), np.float32),
        route=np.array(given.get("route", [AMN] * n_rows), np.int8),
        reasons=np.array(given.get("reasons", np.zeros((n_rows, len(REASONS)))), bool),
        shadow=np.array(given.get("shadow", [False] * n_rows), bool),
        status=np.array(given.get("status", [OK] * n_rows), np.int8),
        details=given.get("details", {}),
        **{name: floats(name) for name in FLOATS},
    )


MIXED: dict[str, Any] = {
    "route": [AMN, GRU, GRU, NO_ROUTE, AMN, NO_ROUTE],
    "reasons": np.array([[0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]),
    "status": [OK, OK, OK, BAD_INPUT, OK, SHORT_CONTEXT],
    "details": {3: "nan: position 17", 0: "padded: 2", 4: "padded: 3"},
    "shadow": [True, False, False, False, True, False],
    "cosine": [0.5, 0.75, NAN, NAN, 0.25, NAN],
    "amn_cosine": [0.5, 0.5, NAN, NAN, 0.25, NAN],
    "gru_cosine": [0.75, 0.75, 0.5, NAN, 0.0, NAN],
    "confidence": [0.5, 0.25, 0.125, NAN, 1.0, NAN],
    "margin": [0.5, NAN, NAN, NAN, 0.25, NAN],
    "context_cosine": [0.75, NAN, 0.5, NAN, 0.75, NAN],
}


def test_rows_are_counted_by_route_reason_status_and_detail() -> None:
    """A row with two reasons counts for both, and once among the rows with reasons."""
    tally = tally_block(block(6, **MIXED), 0)
    assert tally.rows_out == 6
    assert tally.rows_by_route == {"amn": 2, "gru": 2}
    assert tally.rows_by_reason == {
        "low_confidence": 2,
        "high_stakes_lane": 1,
        "long_context": 1,
        "low_margin": 1,
    }
    assert tally.rows_by_status == {"ok": 4, "short_context": 1, "bad_input": 1}
    assert tally.rows_by_detail == {"nan": 1, "padded": 2}
    assert (tally.rows_with_reasons, tally.shadow_rows) == (3, 2)


def test_figures_are_summed_where_they_are_known() -> None:
    """Sums have their number of values, also by route; gains have squares, too."""
    tally = tally_block(block(6, **MIXED), 0)
    assert tally.cosine == Sums(3, 1.5)
    assert tally.amn_cosine == Sums(3, 1.25)
    assert tally.gru_cosine == Sums(4, 2.0)
    assert tally.confidence == Sums(4, 1.875)
    assert tally.margin == Sums(2, 0.75)
    assert tally.cosine_by_route == {"amn": Sums(2, 0.75), "gru": Sums(1, 0.75)}
    assert tally.escalation_gain == SquareSums(1, 0.25, 1, 0.0625)
    assert tally.shadow_gain == SquareSums(2, 0.0, 2, 0.125)
    assert tally.context_gain == SquareSums(2, -0.75, 2, 0.3125)


def test_sums_are_exact_to_float64() -> None:
    """A float32 sum over a million such values would be wrong."""
    tally = tally_block(block(300_000, cosine=[0.1] * 300_000), 0)
    assert tally.cosine.sum == pytest.approx(300_000 * float(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_cosines_are_summed_by_split(kind: pa.DataType) -> None:
    """Any text type is accepted; other words, nulls and rows without a cosine are not counted."""
    words = pa.array(["in_dist", "ood", "in_dist", "test", None]).cast(kind)
    values = [0.5, 0.25, 0.125, 1.0, 1.0]
    tally = tally_block(block(5, carried={"split": words}, cosine=values), 0)
    assert tally.cosine_by_split == {"in_dist": Sums(2, 0.625), "ood": Sums(1, 0.25)}
    tally = tally_block(block(5, carried={"split": words}, cosine=[0.5, *[NAN] * 4]), 0)
    assert tally.cosine_by_split == {"in_dist": Sums(1, 0.5)}


def test_the_column_of_splits_may_have_another_name() -> None:
    """A column that is missing or not text gives no splits."""
    words = pa.array(["ood", "ood"])
    rows = block(2, carried={"part": words, "split": [1, 2]}, cosine=[0.5, 0.5])
    assert tally_block(rows, 0, split_column="part").cosine_by_split == {"ood": Sums(2, 1.0)}
    assert tally_block(rows, 0).cosine_by_split == {}
    assert tally_block(rows, 0, split_column="none").cosine_by_split == {}


def test_bad_rows_are_named_by_their_place_in_the_file() -> None:
    """Rows are named in their order; an ok row is not among them, whatever its detail says."""
    details = {5: "inf", 2: "nan: position 3", 0: "padded: 2"}
    status = [OK, OK, BAD_INPUT, OK, OK, BAD_INPUT]
    tally = tally_block(block(6, status=status, details=details), 1000)
    assert tally.bad_rows == (BadRow(1002, "nan: position 3"), BadRow(1005, "inf"))


def bad_block(n_rows: int, first_row: int) -> Tally:
    """The tally of rows that are all bad."""
    details = dict.fromkeys(range(n_rows), "nan")
    return tally_block(block(n_rows, status=[BAD_INPUT] * n_rows, details=details), first_row)


def rows_of(bad_rows: Sequence[BadRow | BadRowInFile]) -> list[int]:
    """The numbers of the named rows."""
    return [bad.row for bad in bad_rows]


def test_the_first_twenty_bad_rows_are_kept() -> None:
    """The limit holds for a block, a unit and a job, while all bad rows are counted."""
    assert rows_of(bad_block(50, 100).bad_rows) == list(range(100, 120))
    blocks = [bad_block(15, 0), bad_block(3, 40), bad_block(50, 100)]
    total = total_of(blocks)
    assert rows_of(total.bad_rows) == [*range(15), 40, 41, 42, 100, 101]
    assert total.rows_by_status["bad_input"] == 68


def test_of_a_jobs_bad_rows_the_first_twenty_are_shown_with_their_files() -> None:
    """The order is that of the outputs, whichever unit was committed first."""
    records = [
        CommitRecord(f"{name}-00000.parquet", UnitPlace(f"/in/{name}"), (), n_rows, bad_block(n_rows, 0))
        for name, n_rows in (("c", 9), ("a", 4), ("b", 12))
    ]
    shown = totals_of(records).bad_rows
    assert [bad.file for bad in shown] == ["/in/a"] * 4 + ["/in/b"] * 12 + ["/in/c"] * 4
    assert rows_of(shown) == [*range(4), *range(12), *range(4)]


def test_tallies_of_parts_add_up_to_that_of_the_whole() -> None:
    """The sum is the same wherever the rows are cut, and with an empty tally first."""
    split = ["ood", "in_dist", None, "ood", "in_dist", "ood"]
    whole = tally_block(block(6, carried={"split": pa.array(split)}, **MIXED), 10)

    def part(start: int, end: int) -> Tally:
        given = {name: values[start:end] for name, values in MIXED.items() if name != "details"}
        inside = {row: text for row, text in MIXED["details"].items() if start <= row < end}
        given["details"] = {row - start: text for row, text in inside.items()}
        carried = {"split": pa.array(split[start:end], pa.string())}
        return tally_block(block(end - start, carried=carried, **given), 10 + start)

    for cut in range(1, 6):
        assert total_of([part(0, cut), part(cut, 6)]) == whole
        assert total_of([part(cut, 6), part(0, cut)]) == whole
    assert total_of([whole]) == whole
    assert total_of([whole, empty_tally()]) == whole


def test_an_empty_tally_has_every_count() -> None:
    """All counts are zero, so that a file without rows is reported like any other."""
    nothing = empty_tally()
    assert total_of([]) == nothing == tally_block(block(0), 0)
    for name in ("rows_by_route", "rows_by_reason", "rows_by_status"):
        assert getattr(nothing, name).keys() == getattr(tally_block(block(1), 0), name).keys()
    assert nothing.shadow_rows == nothing.rows_with_reasons == 0
    assert nothing.escalation_gain == nothing.shadow_gain == SquareSums()
    assert NOTHING == Sums(0, 0.0) == nothing.cosine == nothing.margin


def test_adding_changes_none_of_what_is_added() -> None:
    """A record that is read once is added more than once."""
    tally = tally_block(block(6, **MIXED), 0)
    kept = tally_block(block(6, **MIXED), 0)
    total_of([tally, tally])
    assert tally == kept


def test_a_mean_is_a_sum_over_what_was_counted() -> None:
    """The mean of no values is None."""
    assert Sums(4, 1.0).mean == SquareSums(4, 1.0).mean == 0.25
    assert NOTHING.mean is SquareSums().mean is None


def test_a_deviation_is_that_of_a_sample() -> None:
    """As in numpy with n - 1: two values have a deviation, one value has none."""
    for values in ([0.5, 0.25], [0.25, -0.5, 1.0, 0.125]):
        n_rows = len(values)
        tally = tally_block(
            block(n_rows, shadow=[True] * n_rows, amn_cosine=[0.0] * n_rows, gru_cosine=values), 0
        )
        assert tally.shadow_gain.deviation == pytest.approx(np.std(values, ddof=1))
    assert SquareSums(1, 0.5, 1, 0.25).deviation is None
    assert SquareSums(0, 0.0, 0, 0.0).deviation is None


def test_without_squares_there_is_no_deviation() -> None:
    """Records of older versions have no squares; a sum that rounding made negative gives no deviation below 0."""
    assert SquareSums(3, 1.5, 2, 0.5).deviation is None
    assert SquareSums(2, 2.0, 2, 2.0 - 1e-12).deviation == 0.0
