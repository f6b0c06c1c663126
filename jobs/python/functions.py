"""The functions of ``lvm_batch``, one for each command that a program may want to call.

The rule: each imports what is heavy when it is called, so that ``import lvm_batch`` stays quick.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.python.calls import at_work, plain, raising_errors, takes_settings
from lvm_batch.jobs.python.results import BankResult, PlanResult, Result, RunResult, TrainResult
from lvm_batch.jobs.releases.applied import with_release
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.run import INSPECTED, RunSettings
from lvm_batch.jobs.settings.train import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from lvm_batch.jobs.errors import JobError
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.sources import ResolvedSettings


@takes_settings(RunSettings)
def run(resolved: ResolvedSettings[RunSettings], *, console: Console) -> RunResult:
    """Predict the next vector of every row of a dataset, and write the predictions to ``output``.

    The same call resumes a run that was interrupted, and finds one that is done. Returns the summary. Raises
    ``LvmBatchError``; for ``UnitsFailed`` and ``GateFailed`` its ``result`` has the summary, and the output stays.
    """
    # With the threads that the caller wants of them: within a run they would be loaded with one.
    import numpy  # noqa: F401, ICN001
    import pyarrow  # noqa: F401, ICN001

    from lvm_batch.jobs.observed_run import run_observed

    with at_work():
        outcome = run_observed(with_release(resolved), console=console, on_signals=nullcontext)
    console.warn(warning.as_dict for warning in outcome.summary.warnings)
    result = RunResult(outcome.summary.to_json(), outcome.text, outcome.summary)
    _raise_with(outcome.error, result)
    return result


@takes_settings(RunSettings)
def plan(resolved: ResolvedSettings[RunSettings], *, console: Console) -> PlanResult:  # noqa: ARG001 - says nothing
    """Check the inputs, models and settings of a run, and say how it would be cut into work units.

    Writes nothing. An output or a limit of memory that a run would refuse is the result's ``refusal``; other problems
    are raised as ``LvmBatchError``, as a run raises them.
    """
    from lvm_batch.jobs.prediction.planning.preview import preview_job

    return PlanResult(*preview_job(with_release(resolved)))


@takes_settings(RunSettings, required=("dataset",), names=INSPECTED)
def inspect(resolved: ResolvedSettings[RunSettings], *, console: Console) -> Result:  # noqa: ARG001 - says nothing
    """Say what a dataset holds, what a run would make of it, and which commands come next.

    What a run would refuse is among the result's ``problems``. Raises ``LvmBatchError`` if there is no file to look at.
    """
    from lvm_batch.jobs.inspection.inspection import inspect as inspect_dataset

    return Result(*inspect_dataset(resolved.settings))


@takes_settings(TrainSettings, required=("dataset", "arch", "output"))
def train(resolved: ResolvedSettings[TrainSettings], *, console: Console) -> TrainResult:
    """Train a model on a dataset, judge it on articles that are kept apart, and write it with its card to ``output``.

    The same call resumes a training that was interrupted, and finds one that is done. Raises ``LvmBatchError``; if the
    loss became NaN, its ``result`` has the best model before that.
    """
    from lvm_batch.jobs.training.train import train as train_model
    from lvm_batch.lvm.registry.registry import CHECKPOINT_FILE

    settings = resolved.settings
    with at_work():
        outcome = train_model(settings, console=console, on_signals=nullcontext)
    result = TrainResult(outcome.history, outcome.text, Path(settings.output, CHECKPOINT_FILE))
    _raise_with(outcome.error, result)
    return result


@takes_settings(
    EvaluateSettings,
    required=("dataset",),
    own={
        "calibrate": "Whether to propose thresholds and fit a router too, under `calibration`; needs a bank. Default: "
        "False"
    },
)
def evaluate(
    resolved: ResolvedSettings[EvaluateSettings], *, console: Console, calibrate: bool = False
) -> Result:
    """Judge models by the true next vectors of a dataset, beside baselines that need no model.

    Raises ``LvmBatchError``.
    """
    from lvm_batch.jobs.evaluation.requested import evaluate_requested

    with at_work():
        return Result(*evaluate_requested(resolved, console=console, calibrate=calibrate))


def build_bank(
    vectors: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    output: str | PathLike[str],
    vector_column: str | None = None,
    id_column: str | None = None,
    article_column: str | None = None,
    position_column: str | None = None,
    index: Literal["exact", "faiss"] = "exact",
    progress: bool = True,
) -> BankResult:
    """Make unit vectors of Parquet files, keep their ids, and write a bank that ``run`` takes.

    ``vectors`` are files, folders, globs or URLs, ``output`` is the folder to make. ``vector_column`` is ``vector``, or
    else the only column that can be it; ``id_column`` is ``id`` if there is one; ``article_column`` and
    ``position_column`` are those that a run would find, "@none" for none. ``index`` is "exact", or "faiss" for a
    large bank. Raises ``LvmBatchError``.
    """
    from lvm_batch.jobs.datasets.bank_building import build_bank as build

    console = Console(quiet=not progress)
    several = vectors if isinstance(vectors, (list, tuple)) else [vectors]
    with raising_errors(), at_work():
        values, text = build(
            [str(plain(each)) for each in several],
            str(plain(output)),
            vector_column=vector_column,
            id_column=id_column,
            article_column=article_column,
            position_column=position_column,
            index=index,
            console=console,
        )
    return BankResult(values, text, str(values["output"]))


def read_summary(output: str | PathLike[str]) -> Summary:
    """Return the summary of the last run that came to its end in an output, a folder or a URL.

    Raises ``LvmBatchError`` if there is none, or if it is damaged.
    """
    from lvm_batch.io.errors import NotFinished
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.reports.documents import read_summary as read

    with raising_errors():
        folder = OutputFolder(str(plain(output)))
        folder.required_job()
        if summary := read(folder):
            return summary
        raise NotFinished(f"no run in {folder.text} has ended", "run the same job again")


def _raise_with(error: JobError | None, result: Result) -> None:
    """Raise the error that a job has ended with, if it has, with its result."""
    if error:
        error.result = result
        raise error
