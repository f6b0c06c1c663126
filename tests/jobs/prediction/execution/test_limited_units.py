"""A limited run gives the first rows of a whole one."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import assert_same_rows, sample, windows, write_windows

from lvm_batch.io import predictions_dataset
from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.jobs.models.load import load_cascade
from lvm_batch.jobs.prediction.execution import unit as unit_module
from lvm_batch.jobs.prediction.planning.plan import Plan, job_document, make_plan
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lvm_batch.lvm.inference.cascade import Cascade

ROWS_A_FILE = 40
N_ROWS = 2 * ROWS_A_FILE
UNIT_SIZE = "60KiB"  # two units or more a file

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of each layout: articles and windows go on in the second one."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "sequences").mkdir()
    for name, first in (("a", 0), ("b", ROWS_A_FILE)):
        table = sample().slice(first, ROWS_A_FILE)
        pq.write_table(table, folder / f"sequences/{name}.parquet", row_group_size=16)
        rows = slice(first, first + ROWS_A_FILE)
        contexts, targets = (part[rows] for part in windows())
        path = folder / f"windows/{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        tokens = [90 + row % 3 for row in range(ROWS_A_FILE)]
        write_windows(path, contexts, targets, row_group_rows=16, columns={"context_tokens": tokens})
    return folder


@pytest.fixture(scope="module")
def computed(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Plan, Rows]]:
    """Computes a run in this process: its plan and its rows."""
    folder, number = tmp_path_factory.mktemp("outputs"), count()
    loaded: list[Cascade] = []

    def compute(dataset: Path, **chosen: Any) -> tuple[Plan, Rows]:  # noqa: ANN401
        run = RunSettings(
            dataset=[str(dataset)],
            output=str(folder / f"out-{next(number)}"),
            model=str(models / "amn.pt"),
            fallback=str(models / "gru.pt"),
            max_context_tokens=90,
            shadow_rate=0.2,
            unit_size=UNIT_SIZE,
            device="cpu",
            **chosen,
        )
        plan = make_plan(run, threads=1)
        loaded[:] = loaded or [load_cascade(plan.job.models)]
        output = OutputFolder(plan.job.output)
        output.begin(job_document(plan, run))
        for unit in plan.units:
            unit_module.compute_unit(plan.job, unit, loaded[0], output).commit()
        return plan, predictions_dataset(run.output, require_success=False).to_table().to_pylist()

    return compute


@pytest.mark.parametrize(("layout", "policy"), [("sequences", "warn"), ("windows", "cap")])
def test_a_limit_gives_the_first_rows_of_the_whole(
    layout: str, policy: str, inputs: Path, computed: Callable[..., tuple[Plan, Rows]]
) -> None:
    """Rows are those of a run over everything: with the next row as target, and under a cap of the whole unit."""
    chosen = {"fallback_policy": policy, "max_fallback_rate": 0.1}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BATCH_ROWS", 8), ("BLOCK_BATCHES", 2), ("FALLBACK_ROWS", 4)):
            patch.setattr(unit_module, name, value)
        patch.setattr("lvm_batch.io.dataset.carried.ROWS_AT_ONCE", 8)
        whole, rows = computed(inputs / layout, **chosen)
        assert len(rows) == N_ROWS
        assert {row["route"] for row in rows} >= {"amn", "gru"}
        assert len(whole.units) > 2

        @settings(max_examples=5)
        @given(st.integers(1, N_ROWS))
        def check(limit: int) -> None:
            plan, first = computed(inputs / layout, limit=limit, **chosen)
            assert plan.n_rows == limit
            assert_same_rows(first, rows[:limit])

        check()
        assert_same_rows(computed(inputs / layout, limit=N_ROWS + 1, **chosen)[1], rows)


def test_a_choice_changes_no_value(inputs: Path, computed: Callable[..., tuple[Plan, Rows]]) -> None:
    """Fewer columns are written; those that are hold what they hold without the choice."""
    dataset = inputs / "sequences"
    _, rows = computed(dataset)
    left_out = {"prediction", "title", "tokens"}
    _, chosen = computed(dataset, drop=["title", "tokens"], no_prediction=True)
    assert_same_rows(chosen, [{name: row[name] for name in row.keys() - left_out} for row in rows])


def test_what_is_not_read_is_no_part_of_the_job(
    inputs: Path, computed: Callable[..., tuple[Plan, Rows]]
) -> None:
    """Files behind the limit may change; one that is read in part counts with the rows that are read."""
    plan, _ = computed(inputs / "sequences", limit=ROWS_A_FILE)
    assert {name: file.rows for name, file in plan.identity.inputs.items()} == {"a.parquet": None}
    assert "only the first 40 rows are read (--limit), from 1 of 2 files" in plan.notices
    plan, _ = computed(inputs / "sequences", limit=ROWS_A_FILE + 3)
    assert {name: file.rows for name, file in plan.identity.inputs.items()} == {
        "a.parquet": None,
        "b.parquet": 3,
    }
    plan, _ = computed(inputs / "sequences", limit=N_ROWS + 1)
    assert "the limit of 81 rows is not reached: all 80 rows are read" in plan.notices


def test_jobs_with_another_choice_are_other_jobs() -> None:
    """Each choice is part of the fingerprint; the order in which columns are named is not."""
    fields = {"columns": ["a", "b"], "drop": ["c"], "no_prediction": True, "limit": 3}
    assert {
        name: RunSettings(**{name: value}).output_values()[name] for name, value in fields.items()
    } == fields
    assert (
        RunSettings(columns=["b", "a", "b"]).output_values()
        == RunSettings(columns=["a", "b"]).output_values()
    )
