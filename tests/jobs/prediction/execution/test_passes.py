"""The two passes over batches: which model answers a row, which context is kept, and what a bad row holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from lvm_batch.io.dataset.batches import Batch
from lvm_batch.io.schema import BAD_INPUT, NO_ROUTE, OK, ROUTES, SHORT_CONTEXT
from lvm_batch.jobs.prediction.execution import passes
from lvm_batch.jobs.prediction.execution.blocks import make_block
from lvm_batch.jobs.prediction.execution.passes import first_pass, second_pass
from lvm_batch.jobs.prediction.execution.stopwatch import Stopwatch
from lvm_batch.lvm import REASONS, Thresholds
from lvm_batch.lvm.inference.cascade import Cascade
from lvm_batch.lvm.inference.cosines import cosines_with, has_unit_norm
from lvm_batch.lvm.inference.routing import shadow_rows
from lvm_batch.lvm.search.neighbours import Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from lvm_batch.io.output.writer import PredictionBlock

    Floats = NDArray[np.float32]

DIM = 4
AMN, GRU = (ROUTES.index(name) for name in ("amn", "gru"))


@dataclass
class Vectors:
    """A model that answers with one vector of the context, normalised; records the rows by their number."""

    position: int
    answered: list[list[float]] = field(default_factory=list)

    def __call__(self, contexts: Floats) -> Floats:
        """Answer contexts."""
        self.answered.append(contexts[:, 0, -1].tolist())
        vectors = contexts[:, self.position]
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class FirstTwo:
    """A bank in which a prediction's first two components are its two highest cosines."""

    def nearest(self, queries: Floats, k: int, contexts: Floats | None = None) -> Neighbours:
        """Return the two highest cosines of each query; the places are 0 and 1."""
        assert contexts is None, "the cascade keeps the own context by default"
        return Neighbours(queries[:, :2].copy(), np.tile(np.arange(2), (len(queries), 1))).first(k)

    def ranked(self, queries: Floats, found: Neighbours, k: int, contexts: Floats | None) -> Neighbours:
        """Return the first ``k`` of the neighbours."""
        assert contexts is None
        assert len(queries) == len(found.places)
        return found.first(k)


@dataclass
class Models:
    """Both models as a cascade: the primary returns a context's last vector, the fallback its first."""

    primary: Vectors = field(default_factory=lambda: Vectors(-1))
    fallback: Vectors | None = field(default_factory=lambda: Vectors(0))
    watch: Stopwatch = field(default_factory=Stopwatch)

    def pass_over(
        self, batches: Iterable[Batch], *, cap_rate: float | None = None, shadow_rate: float = 0.0
    ) -> list[passes.AnsweredBatch]:
        """Run batches through both passes."""
        cascade = Cascade(self.primary, self.fallback, FirstTwo(), Thresholds(0.5, 0.1, 384, ("law",)))
        parts = [
            first_pass(batch, cascade, key="a.parquet", shadow_rate=shadow_rate, watch=self.watch)
            for batch in batches
        ]
        second_pass(parts, cascade, cap_rate=cap_rate, watch=self.watch)
        return parts

    def block(self, *batches: Batch, **options: Any) -> PredictionBlock:  # noqa: ANN401 - those of `pass_over`
        """The block of rows to be written for batches."""
        return make_block(self.pass_over(batches, **options))


CONFIDENT = (0.9, 0.1, 0.0)
DOUBTFUL = (0.1, 0.1, 0.9)


def batch(*last: Sequence[float], first_row: int = 0, **given: Any) -> Batch:  # noqa: ANN401 - a batch's own
    """Rows of two vectors: the last as given, the first holds the row's number."""
    n_rows = len(last)
    contexts = np.zeros((n_rows, 2, DIM), np.float32)
    contexts[:, 0, -1] = np.arange(first_row, first_row + n_rows) + 1
    contexts[:, 1, : len(last[0])] = last
    values = {"targets": None, "lanes": None, "context_tokens": None, "details": {}} | given
    values["status"] = np.array(values.get("status", [OK] * n_rows), np.int8)
    return Batch(
        first_row=first_row,
        contexts=contexts,
        carried=pa.table({"row": range(first_row, first_row + n_rows)}),
        **values,
    )


def targets(*components: int) -> Floats:
    """Targets along one axis each."""
    return np.eye(DIM, dtype=np.float32)[list(components)]


def reasons(block: PredictionBlock) -> list[list[str]]:
    """Each row's reasons by name."""
    return [[name for name, holds in zip(REASONS, row, strict=True) if holds] for row in block.reasons]


def test_each_row_comes_out_with_the_prediction_of_one_model() -> None:
    """The fallback predicts escalated rows and no others; the primary predicts the rest."""
    models = Models()
    block = models.block(batch(CONFIDENT, DOUBTFUL, CONFIDENT))
    assert block.route.tolist() == [AMN, GRU, AMN]
    assert reasons(block) == [[], ["low_confidence", "low_margin"], []]
    assert models.fallback
    assert models.fallback.answered == [[2.0]]
    assert block.prediction[1].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(block.prediction[0], np.array([*CONFIDENT, 0]) / np.hypot(0.9, 0.1), rtol=1e-6)
    sizes = np.hypot(0.9, 0.1), np.sqrt(0.83), np.hypot(0.9, 0.1)
    np.testing.assert_allclose(block.confidence, np.array([0.9, 0.1, 0.9]) / sizes, rtol=1e-6)
    np.testing.assert_allclose(block.margin, np.array([0.8, 0, 0.8]) / sizes, atol=1e-6)
    assert block.carried["row"].to_pylist() == [0, 1, 2]


def test_lanes_and_token_counts_are_judged_too() -> None:
    """Each row is judged by its own lane and token count."""
    lanes = np.array([None, "law", "chat"], object)
    block = Models().block(
        batch(CONFIDENT, CONFIDENT, CONFIDENT, lanes=lanes, context_tokens=np.array([9.0, 9.0, 999.0]))
    )
    assert reasons(block) == [[], ["high_stakes_lane"], ["long_context"]]
    assert block.route.tolist() == [AMN, GRU, GRU]


def test_cosines_are_those_of_the_model_whose_route_a_row_took() -> None:
    """The output also has the cosine of each model that ran."""
    block = Models().block(batch((1, 0, 0), (0, 0, 1), targets=targets(0, 3)))
    assert block.amn_cosine.tolist() == [1, 0]
    assert np.isnan(block.gru_cosine[0])
    assert block.gru_cosine[1] == 1
    assert block.cosine.tolist() == [1, 1]


def test_without_targets_no_cosine_is_known() -> None:
    """The cosines of both models are NaN, one value a row."""
    block = Models().block(batch(CONFIDENT, DOUBTFUL), shadow_rate=1.0)
    for cosines in (block.cosine, block.amn_cosine, block.gru_cosine):
        assert cosines.dtype == np.float32
        assert np.isnan(cosines).tolist() == [True, True]
    assert np.isnan(cosines_with(np.ones((3, 2), np.float32), None)).tolist() == [True] * 3


def test_a_shadow_row_keeps_its_route() -> None:
    """Both models answer it for comparison; an escalated row is never a shadow row."""
    models = Models()
    block = models.block(batch(CONFIDENT, DOUBTFUL, targets=targets(3, 3)), shadow_rate=1.0)
    assert block.route.tolist() == [AMN, GRU]
    assert block.shadow.tolist() == [True, False]
    assert block.gru_cosine.tolist() == [1, 1]
    assert (block.cosine[0], block.cosine[1]) == (block.amn_cosine[0], 1)
    np.testing.assert_allclose(block.prediction[0], np.array([*CONFIDENT, 0]) / np.hypot(0.9, 0.1), rtol=1e-6)


def test_shadow_rows_are_chosen_by_their_place_in_the_file() -> None:
    """Batches do not change the choice, and of confident rows the fallback answers only the chosen ones."""
    whole = Models().block(batch(*[CONFIDENT] * 40, first_row=100), shadow_rate=0.3)
    parts = Models().block(
        batch(*[CONFIDENT] * 15, first_row=100), batch(*[CONFIDENT] * 25, first_row=115), shadow_rate=0.3
    )
    expected = shadow_rows("a.parquet", np.arange(100, 140), 0.3)
    assert 0 < expected.sum() < 40
    for block in (whole, parts):
        assert block.shadow.tolist() == expected.tolist()
    models = Models()
    models.block(batch(*[CONFIDENT] * 40, first_row=100), shadow_rate=0.3)
    assert models.fallback
    assert models.fallback.answered == [(np.flatnonzero(expected) + 101.0).tolist()]


def test_without_a_fallback_every_row_stays() -> None:
    """Its reasons are still written; no context is kept for a second pass, and no row is a shadow row."""
    models = Models(fallback=None)
    first = first_pass(
        batch(DOUBTFUL, CONFIDENT),
        Cascade(models.primary, None, FirstTwo(), Thresholds()),
        key="a",
        shadow_rate=1.0,
        watch=Stopwatch(),
    )
    assert first.candidates is None
    block = models.block(batch(DOUBTFUL, CONFIDENT), shadow_rate=1.0, cap_rate=0.5)
    assert block.route.tolist() == [AMN, AMN]
    assert reasons(block) == [["low_confidence", "low_margin"], []]
    assert block.shadow.tolist() == [False, False]
    assert np.isnan(block.gru_cosine).all()


@pytest.mark.parametrize("status", [BAD_INPUT, SHORT_CONTEXT])
def test_a_row_that_is_not_ok_has_no_values(status: int) -> None:
    """It has no route, reasons or figures, the fallback does not see it, and its prediction is NaN."""
    models = Models()
    block = models.block(
        batch(
            DOUBTFUL,
            DOUBTFUL,
            status=[status, OK],
            lanes=np.array(["law", "law"], object),
            targets=targets(3, 3),
            details={0: "nan"},
        ),
        shadow_rate=1.0,
    )
    assert block.status.tolist() == [status, OK]
    assert block.route.tolist() == [NO_ROUTE, GRU]
    assert reasons(block)[0] == []
    assert block.shadow.tolist() == [False, False]
    for values in (block.cosine, block.confidence, block.margin, block.amn_cosine, block.gru_cosine):
        assert np.isnan(values).tolist() == [True, False]
    assert np.isnan(block.prediction[0]).all()
    assert np.isfinite(block.prediction[1]).all()
    assert models.fallback
    assert models.fallback.answered == [[2.0]]
    assert block.details == {0: "nan"}


def test_under_a_cap_the_least_confident_rows_of_all_batches_are_escalated() -> None:
    """The other rows keep their reasons and the primary's prediction, and the fallback does not see them."""
    models = Models()
    doubts = [(0.4, 0.4, 1), (0.1, 0.1, 1), (0.3, 0.3, 1), (0.2, 0.2, 1)]
    block = models.block(
        batch(*doubts[:2], CONFIDENT, targets=targets(3, 3, 0)),
        batch(doubts[2], CONFIDENT, doubts[3], targets=targets(3, 3, 3), first_row=3),
        cap_rate=0.4,
    )
    assert block.route.tolist() == [AMN, GRU, AMN, AMN, AMN, GRU]
    assert [bool(row) for row in reasons(block)] == [True, True, False, True, False, True]
    assert models.fallback
    assert models.fallback.answered == [[2.0, 6.0]]
    assert np.isnan(block.gru_cosine).tolist() == [True, False, True, True, True, False]
    assert block.gru_cosine[[1, 5]].tolist() == [1, 1]
    assert block.prediction[[1, 5]].tolist() == [[0, 0, 0, 1]] * 2


def test_a_cap_is_a_share_of_the_rows_that_are_ok() -> None:
    """Of ten rows with five ok, a cap of 0.4 escalates two."""
    status = [OK, BAD_INPUT] * 5
    block = Models().block(batch(*[DOUBTFUL] * 10, status=status), cap_rate=0.4)
    assert (block.route == GRU).sum() == 2


def test_batches_without_a_row_for_the_fallback_do_not_call_it() -> None:
    """The fallback skips such a batch, alone or among others."""
    models = Models()
    models.block(batch(CONFIDENT))
    models.block(batch(CONFIDENT, CONFIDENT), batch(DOUBTFUL, first_row=2), batch(CONFIDENT, first_row=3))
    models.block(batch(DOUBTFUL), cap_rate=0.0)
    assert models.fallback
    assert models.fallback.answered == [[3.0]]


def test_the_fallback_answers_several_batches_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback runs as soon as enough rows wait; each row gets its own answer, and contexts are freed."""
    monkeypatch.setattr(passes, "FALLBACK_ROWS", 3)
    models = Models()
    rows = [
        (DOUBTFUL,),
        (DOUBTFUL, CONFIDENT, DOUBTFUL),
        (DOUBTFUL,) * 3,
        (DOUBTFUL,),
        (CONFIDENT,),
        (DOUBTFUL,),
    ]
    starts = np.cumsum([0, *map(len, rows)])
    batches = [batch(*part, first_row=int(start)) for part, start in zip(rows, starts, strict=False)]
    for number, each in enumerate(batches):
        each.contexts[:, 0, number % 3] = each.contexts[:, 0, -1]  # the fallback's answers differ by batch
    parts = models.pass_over(batches)
    assert models.fallback
    assert models.fallback.answered == [[1, 2, 4], [5, 6, 7], [8, 10]]
    assert [part.candidates for part in parts] == [None] * len(parts)
    block = make_block(parts)
    escalated = np.flatnonzero(block.route == GRU).tolist()
    assert escalated == [0, 1, 3, 4, 5, 6, 7, 9]
    along = [int(np.flatnonzero(block.prediction[row][:3] > 0.5)[0]) for row in escalated]
    assert along == [0, 1, 1, 2, 2, 2, 0, 2]


def test_what_the_fallback_needs_is_copied() -> None:
    """The reader reuses the same arrays before the second pass."""
    models = Models()
    cascade = Cascade(models.primary, models.fallback, FirstTwo(), Thresholds(0.5))
    first = batch(DOUBTFUL, CONFIDENT, targets=targets(3, 0))
    passed = first_pass(first, cascade, key="a", shadow_rate=0, watch=Stopwatch())
    assert passed.candidates is not None
    assert len(passed.candidates) == 1
    first.contexts[:] = 0.5
    assert first.targets is not None
    first.targets[:] = 0.5
    second_pass([passed], cascade, cap_rate=None, watch=Stopwatch())
    assert make_block([passed]).prediction[0].tolist() == [0, 0, 0, 1]
    assert make_block([passed]).gru_cosine[0] == 1


def test_an_answer_without_unit_norm_is_bad_input() -> None:
    """A context so large that float32 overflows has an empty prediction, while other rows keep theirs."""
    huge = (3e38, 3e38, 3e38)
    with np.errstate(over="ignore", invalid="ignore"):
        block = Models(fallback=None).block(
            batch(CONFIDENT, (0, 0, 0), status=[OK, BAD_INPUT], details={1: "zero_norm"}),
            batch(huge, CONFIDENT, details={1: "padded: 1"}, first_row=2),
        )
    assert block.status.tolist() == [OK, BAD_INPUT, BAD_INPUT, OK]
    assert block.details == {1: "zero_norm", 2: "inf", 3: "padded: 1"}
    assert block.route.tolist() == [AMN, NO_ROUTE, NO_ROUTE, AMN]
    assert np.isnan(block.prediction[1:3]).all()
    assert reasons(block) == [[], [], [], []]


@pytest.mark.parametrize(
    ("off", "is_unit"), [(0.0004, True), (-0.0004, True), (0.001, False), (-0.001, False), (-1, False)]
)
def test_a_norm_is_one_within_half_a_thousandth(off: float, is_unit: bool) -> None:  # noqa: FBT001 - a case
    """Models end in a division by the norm, so a larger deviation is a failed computation."""
    vector = np.zeros((1, 768), np.float32)
    vector[0, 5] = 1 + off
    assert has_unit_norm(vector).tolist() == [is_unit]


def test_nan_is_no_unit_norm() -> None:
    """One NaN component is enough."""
    vectors = np.eye(3, dtype=np.float32)
    vectors[1, 0] = np.nan
    assert has_unit_norm(vectors).tolist() == [True, False, True]


def test_the_parts_of_the_work_are_timed() -> None:
    """Each part has its own name."""
    models = Models()
    models.block(batch(DOUBTFUL))
    assert sorted(models.watch.seconds) == ["amn", "bank", "cosines", "gru"]


def test_the_fallback_is_not_timed_where_there_is_none() -> None:
    """Without a fallback there is no `gru` time."""
    models = Models(fallback=None)
    models.block(batch(DOUBTFUL))
    assert "gru" not in models.watch.seconds


def test_seconds_of_a_part_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part's time is the sum of its blocks, those that end with an error included."""
    clock = iter([1.0, 3.0, 10.0, 14.0])
    monkeypatch.setattr("lvm_batch.jobs.prediction.execution.stopwatch.perf_counter", lambda: next(clock))
    watch = Stopwatch()
    with watch.timing("read"):
        pass
    with pytest.raises(ValueError, match="broken"), watch.timing("read"):
        raise ValueError("broken")
    assert watch.seconds == {"read": 6.0}
