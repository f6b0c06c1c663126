"""``lvm-batch serve``: single queries and small batches over HTTP."""

from __future__ import annotations

import os
import sys

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.extras import require
from lvm_batch.jobs.releases.applied import with_release
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.serve import TAKEN, ServeSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings

_EXTRA = ("fastapi", "orjson", "prometheus_client", "uvicorn")
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@takes_settings(required=(), kind=ServeSettings, names=TAKEN)
@takes_console
def serve(resolved: ResolvedSettings[ServeSettings], *, console: Console) -> None:
    """Answer requests over HTTP as a run would answer the same rows.

    It serves POST /predict and /predict/batch until SIGTERM or Ctrl-C.

    Examples:
        lvm-batch serve --model amn/best_model.pt --bank bank/
        lvm-batch serve --model amn --fallback gru --host 0.0.0.0 --port 8080
    """
    for package in _EXTRA:
        require(package, option="serve", extra="serve")
    console.doing("looking at the models")
    from lvm_batch.jobs.models.files import check_model_files

    settings = with_release(resolved)
    check_model_files(settings)
    console.doing("loading torch and the models")
    if "numpy" not in sys.modules:  # it reads these when it is loaded
        os.environ.update(dict.fromkeys(_POOLS, str(settings.threads)))
    from lvm_batch.jobs.serving.serve import serve as serve_models

    console.result(*serve_models(settings, console=console))
