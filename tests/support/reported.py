"""A finished output whose names are as hostile as possible, for tests of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from support.datasets import windows, write_windows

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>document.title='ran'</script>"
FILE = "a<img src=x onerror=alert(1)>&amp;.parquet"
N_ROWS = 240
BAD_ROW = 7


def make_output(folder: Path, models: Path, bank: Path, scheduler: str) -> Path:
    """Run a small job over two files, one row of them bad, and return its output."""
    from lvm_batch.jobs.cli import main

    contexts, targets = (values[:N_ROWS].copy() for values in windows())
    contexts[BAD_ROW] = np.nan
    for number, name in enumerate((FILE, "b.parquet")):
        rows = np.arange(number * 120, number * 120 + 120)
        columns = {
            "lane": [(HOSTILE, "sci-fact", None, "music")[row % 4] for row in rows],
            "split": [("in_dist", "ood")[row % 2] for row in rows],
        }
        write_windows(folder / "in" / name, contexts[rows], targets[rows], columns=columns, row_group_rows=40)
    options = {
        "--model": models / "amn.pt",
        "--fallback": models / "gru.pt",
        "--bank": bank,
        "--scheduler": scheduler,
        "--output": folder / "out",
        "--unit-size": "600kB",
        "--min-confidence": 0.098,
        "--min-margin": 0.001,
        "--shadow-rate": 0.4,
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    assert main(["run", str(folder / "in"), *arguments]) == 0
    (folder / "out/_lvm_batch/report.html").unlink()  # left out: tests write the report themselves
    return folder / "out"
