"""``lvm-batch train``: a dataset in, a model with its card out."""

from __future__ import annotations

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.sources import ResolvedSettings
from lvm_batch.jobs.settings.train import TrainSettings


@takes_settings(required=("dataset", "arch", "output"), kind=TrainSettings)
@takes_console
def train(resolved: ResolvedSettings[TrainSettings], *, console: Console) -> int:
    """Train a model on DATASET, and judge it on articles kept apart.

    The folder gets the model and its card. The same command resumes a training that was stopped.

    Examples:
        lvm-batch train data/ --arch amn --output models/amn
        lvm-batch train data/ --arch gru --output models/gru --epochs 5 --device cuda
    """
    console.doing("loading torch")
    from lvm_batch.jobs.training.train import train as train_model

    outcome = train_model(resolved.settings, console=console)
    console.result(outcome.history, outcome.text, error=outcome.error)
    return outcome.error.exit_code if outcome.error else 0
