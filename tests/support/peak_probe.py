"""Computes pickled units as a worker does, in a separate process, and prints the process's peak memory.

Called as a script with the path of a pickle of (job, units); prints one JSON object.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.dataset.units import Unit
    from lvm_batch.jobs.prediction.planning.job import Job


def peaks_of(job: Job, units: Sequence[Unit], folder: Path) -> dict[str, Any]:
    """Compute ``units`` one after the other in a new process.

    Returns ``loaded``, the process's memory in bytes once its models are loaded, and ``peaks``, its peak in bytes
    after each unit.
    """
    pickled = folder / "units.pickle"
    pickled.write_bytes(pickle.dumps((job, tuple(units))))
    done = subprocess.run(
        [sys.executable, __file__, str(pickled)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return json.loads(done.stdout)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _main(pickled: Path) -> None:
    from lvm_batch.jobs.prediction.execution import worker

    job, units = pickle.loads(pickled.read_bytes())  # noqa: S301 - our own
    worker._cascade(job)
    loaded, peaks = _status("VmRSS"), []
    for unit in units:
        outcome = worker.run_unit(job, unit)
        assert not isinstance(outcome, worker.Failure), outcome
        peaks.append(_status("VmHWM"))
    sys.stdout.write(json.dumps({"loaded": loaded, "peaks": peaks}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
