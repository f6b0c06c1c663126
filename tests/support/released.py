"""A copy of what release 0.1.0 wrote, as if that release had run in another folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

RELEASED = Path(__file__).parents[1] / "io/released"
WRITTEN_AT = "/data/nightly"
ARGUMENTS = (
    *("in", "--model", "models/amn.pt", "--fallback", "models/gru.pt", "--bank", "bank", "--output", "out"),
    *("--history", "history", "--unit-size", "1kB", "--shadow-rate", "0.4", "--min-confidence", "0.3"),
    *("--max-bad-rows", "0.2", "--workers", "1", "--max-fallback-rate", "1.0", "--precision", "fp32"),
)
"""The command-line arguments of the released job."""


def copy_released(folder: Path) -> Path:
    """Copy the job to `folder`: its documents name that folder, and its inputs keep their modification times."""
    shutil.copytree(RELEASED, folder, dirs_exist_ok=True)
    for document in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        document.write_text(document.read_text().replace(WRITTEN_AT, str(folder)))
    for name in ("job.json", "grown/00001.json"):
        document = json.loads((folder / "out/_lvm_batch" / name).read_text())
        for file in document.get("identity", document)["inputs"].values():
            os.utime(file["path"], ns=(file["modified_ns"], file["modified_ns"]))
    return folder
