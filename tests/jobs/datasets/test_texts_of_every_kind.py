"""Text columns of every Arrow type are accepted, also with values that are not valid text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.datasets import windows
from support.outputs import block, write_output

from lvm_batch.jobs.prediction.execution.tally import tally_block
from lvm_batch.jobs.reports.columns import read_columns
from lvm_batch.jobs.settings.train import TrainSettings
from lvm_batch.jobs.training.training_rows import read_training_rows
from lvm_batch.lvm.inference.routing import REASONS

if TYPE_CHECKING:
    from pathlib import Path

NO_TEXT = b"\xff\xfe"
SPLITS = pa.array([b"ood", NO_TEXT, None, b"in_dist", b"ood"])
TEXT = pa.Array.from_buffers(pa.string(), len(SPLITS), SPLITS.buffers())
KINDS = {
    "string": TEXT,
    "large_string": TEXT.cast(pa.large_string()),
    "string_view": TEXT.cast(pa.string_view()),
    "dictionary": TEXT.dictionary_encode(),
}

kinds = pytest.mark.parametrize("column", KINDS.values(), ids=KINDS)


@kinds
def test_splits_are_counted(column: pa.Array) -> None:
    """A unit's record has the cosines of each split."""
    rows = block(pa.table({"key": range(5), "split": column}))
    rows = replace(rows, reasons=np.zeros((5, len(REASONS)), np.bool_))
    counted = tally_block(rows, 0, split_column="split")
    assert {name: sums.n for name, sums in counted.cosine_by_split.items()} == {"ood": 2, "in_dist": 1}


@kinds
def test_splits_are_read_for_training(column: pa.Array, tmp_path: Path) -> None:
    """Training knows the windows of out-of-distribution articles."""
    contexts, targets = (rows[:5].reshape(5, -1) for rows in windows())
    lists = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        for name, rows in (("context", contexts), ("target", targets))
    }
    pq.write_table(pa.table({**lists, "split": column}), tmp_path / "in.parquet")
    rows = read_training_rows(TrainSettings(dataset=(str(tmp_path / "in.parquet"),)))
    assert rows.ood.tolist() == [True, False, False, False, True]


@kinds
def test_names_are_shown(column: pa.Array, tmp_path: Path) -> None:
    """A report counts the rows of each lane, and shows invalid text as far as it is valid."""
    folder = write_output(str(tmp_path), {"a-00000.parquet": {"key": range(5), "lane": column}})
    columns = read_columns(folder, {"a-00000.parquet": 5}, lane="lane", split="split")
    assert columns.lane is not None
    shown = np.array([*columns.lane.names, None], object)[columns.lane.codes]
    assert shown.tolist() == ["ood", "\ufffd\ufffd", None, "in_dist", "ood"]
