"""Published files are held against what their job says it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.outputs import begin, write_unit

from lvm_batch.io.output.verification import Fault, file_faults
from lvm_batch.io.schema import OUTPUT_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from lvm_batch.io.schema import OutputDtype

OUTPUT = "a-00000.parquet"
NARROW = [name for name in OUTPUT_COLUMNS if name != "prediction"]


@pytest.mark.parametrize("dtype", ["float32", None])
def test_a_file_has_the_columns_of_its_job(tmp_path: Path, dtype: OutputDtype | None) -> None:
    """Predictions are missed only where the job writes them; a column that is in no file is always missed."""
    folder = begin(str(tmp_path), [OUTPUT])
    record = write_unit(
        folder, OUTPUT, {"key": [1, 2, 3]}, dtype=dtype, metadata={"lvm_batch.fingerprint": "f"}
    )

    def faults(columns: list[str]) -> list[Fault]:
        return list(file_faults(folder, {OUTPUT: record}, "f", columns=columns))

    assert faults(NARROW) == []
    assert faults([*OUTPUT_COLUMNS]) == (
        [Fault(OUTPUT, "it has no column `prediction`")] if dtype is None else []
    )
    assert faults(["key", "confidnce"]) == [Fault(OUTPUT, "it has no column `confidnce`")]
