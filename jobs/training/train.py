"""Trains a model on a dataset, measures it, and writes it to a folder.

The rule: the same data, settings and seed give the same model on a CPU, even if the training was killed and resumed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from lvm_batch.io.output.lock import lock_output
from lvm_batch.jobs.console.signals import stop_on_signals
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.datasets.signal import SignalSums
from lvm_batch.jobs.errors import JobError
from lvm_batch.jobs.output_folder import make_output_folder
from lvm_batch.jobs.places import Place, check_places
from lvm_batch.jobs.processes.resources import usable_cores
from lvm_batch.jobs.training.article_split import split_by_article
from lvm_batch.jobs.training.curves import curves_svg
from lvm_batch.jobs.training.folder import NAMES, TrainingFolder, digest_of
from lvm_batch.jobs.training.model_card import as_text, card_text
from lvm_batch.jobs.training.progress import TrainingProgress
from lvm_batch.jobs.training.recipe_text import recipe_notice
from lvm_batch.jobs.training.training_history import TrainingEnvironment, describe_training
from lvm_batch.jobs.training.training_rows import read_training_rows
from lvm_batch.lvm.architectures.catalog import architecture_named, build_model
from lvm_batch.lvm.checkpoints.training_vectors import TrainingVectors
from lvm_batch.lvm.devices.devices import pick_device, set_threads
from lvm_batch.lvm.training.recipes import recipe_for
from lvm_batch.lvm.training.ridge import fit_ridge
from lvm_batch.lvm.training.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import torch

    from lvm_batch.jobs.console.console import Console
    from lvm_batch.jobs.datasets.signal import Signal
    from lvm_batch.jobs.settings.train import TrainSettings
    from lvm_batch.jobs.training.article_split import Split
    from lvm_batch.jobs.training.training_rows import TrainingRows
    from lvm_batch.lvm.architectures.context_model import ContextModel
    from lvm_batch.lvm.training.recipes import Recipe
    from lvm_batch.lvm.training.training import History
    from lvm_batch.lvm.training.windows import Windows

_SAMPLE = 1000
_SIGNAL_WINDOWS = 5000
_NORM_TOLERANCE = 0.01
_OVERRIDES = ("epochs", "batch_size", "learning_rate", "weight_decay", "schedule", "patience")


class Diverged(JobError):
    """The loss became NaN or infinite; the best model before that was kept."""

    kind = "diverged"
    exit_code = 1


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The history of a training as values and as text, and the error if it diverged."""

    history: dict[str, Any]
    text: str
    error: JobError | None


def train(
    settings: TrainSettings,
    *,
    console: Console,
    on_signals: Callable[[], AbstractContextManager[None]] = stop_on_signals,
) -> TrainingResult:
    """Train and write the model; raises ``DataError``, ``ModelError`` or ``JobError`` before training starts.

    ``on_signals`` says what Ctrl-C and SIGTERM do meanwhile.
    """
    assert settings.arch is not None  # noqa: S101 - the command requires it
    started = monotonic()
    device = pick_device(settings.device)
    set_threads(usable_cores())  # set anew, as imports may change it and sums of floats depend on it
    check_places([Place("the output", "--output", settings.output, NAMES)], dataset=settings.dataset)
    make_output_folder(settings.output, what="a model")
    rows = read_training_rows(settings)
    split = split_by_article(rows, share=settings.validation_share, seed=settings.seed)
    recipe = _recipe(settings, len(split.training))
    model = _fresh_model(settings, rows.windows).to(device)
    identity = _identity(settings, recipe, digest_of(split))
    with on_signals(), lock_output(settings.output, on_wait=console.note):
        folder = TrainingFolder(settings.output, identity)
        if finished := folder.finished_history():
            return TrainingResult(finished, as_text(finished, settings.output, already=True), None)
        ridge = fit_ridge(split.training)
        signal = _signal(split.training)
        begun = (
            _start(settings, split, device),
            recipe_notice(settings.recipe, recipe, n_windows=len(split.training)),
        )
        warnings = filter(None, (signal.warning,))
        for notice in (*rows.notices, *begun, *_odd_norms(split), *warnings):
            console.note(notice)
        history = _train(model, split, recipe, settings=settings, folder=folder, console=console)
        model.unit_inputs = settings.input_norm == "unit"  # only now: the windows' vectors are unit vectors
        environment = TrainingEnvironment.now(device, started=started)
        document = describe_training(model, split, history, ridge=ridge, environment=environment)
        document |= {
            "identity": folder.identity,
            "signal": signal.values(),
            **_origin(settings, recipe, rows),
        }
        _write(folder, model, history, document, training_vectors=_digest(split.training))
    return TrainingResult(document, as_text(document, settings.output), _error(history))


def _recipe(settings: TrainSettings, n_windows: int) -> Recipe:
    given = {name: value for name in _OVERRIDES if (value := getattr(settings, name)) is not None}
    architecture = architecture_named(settings.arch or "").name
    return replace(recipe_for(settings.recipe, architecture, n_windows=n_windows), **given)


def _fresh_model(settings: TrainSettings, windows: Windows) -> ContextModel:
    name = settings.arch or ""
    dimensions = {"input_dim": windows.dim}
    if name == "amn-mixer":
        dimensions |= {"output_dim": windows.dim, "max_length": windows.length}
    return build_model(name, seed=settings.seed, **dimensions)


def _identity(settings: TrainSettings, recipe: Recipe, data: str) -> dict[str, Any]:
    """Return everything that the model depends on."""
    norm = {} if settings.input_norm == "as_is" else {"input_norm": settings.input_norm}
    return {"arch": settings.arch, "seed": settings.seed, "data": data, **norm, **recipe.identity()}


def _origin(settings: TrainSettings, recipe: Recipe, rows: TrainingRows) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "dataset": list(settings.dataset),
        "rows": rows.n_rows,
        "arguments": settings.model_dump(mode="json", exclude_defaults=True),
    }


def _start(settings: TrainSettings, split: Split, device: torch.device) -> str:
    train, val = split.n_articles
    if not val:
        return (
            f"training {settings.arch} on {device}: {plural(len(split.training), 'window')} of one article; judged by "
            f"{plural(len(split.validation), 'window')} at its end, so expect lower results on other articles"
        )
    return (
        f"training {settings.arch} on {device}: {plural(len(split.training), 'window')} of "
        f"{plural(train, 'article')}; judged by {plural(len(split.validation), 'window')} of {plural(val, 'other')}"
    )


def _odd_norms(split: Split) -> Iterator[str]:
    """Yield a notice if the vectors are no unit vectors: the model will know this norm alone."""
    norms = np.linalg.norm(split.training.sample(_SAMPLE).numpy(), axis=2)
    if abs(float(norms.mean()) - 1) >= _NORM_TOLERANCE:
        yield (
            f"the vectors' norm is {norms.mean():.3g} on average, not 1: the model will need such vectors in a "
            "run too (--input-norm unit trains a model that scales its input to unit norm)"
        )


def _signal(windows: Windows) -> Signal:
    """Return what some of the training windows say about the next vector."""
    sums = SignalSums()
    for contexts, targets in windows.some(_SIGNAL_WINDOWS).batches():
        sums.add(contexts.numpy(), targets.numpy())
    return sums.signal()


def _train(
    model: ContextModel,
    split: Split,
    recipe: Recipe,
    *,
    settings: TrainSettings,
    folder: TrainingFolder,
    console: Console,
) -> History:
    """Train to the end, resuming an interrupted training; write the state after each epoch."""
    n_windows = len(split.training) * (2 if recipe.both_directions else 1)
    with TrainingProgress(
        console, name=settings.arch or "", n_windows=n_windows, n_epochs=recipe.epochs
    ) as progress:
        training = Training(
            model,
            split.training,
            recipe=recipe,
            seed=settings.seed,
            validation=split.validation,
            on_step=progress.step,
        )
        if state := folder.saved_state():
            training.restore(state)
            progress.resume(training.epochs[-1].number)
            console.note(f"resuming after epoch {training.epochs[-1].number}")
        for epoch in training:
            folder.save_state(training.state())
            progress.epoch(epoch)
        return training.finish()


def _digest(windows: Windows) -> TrainingVectors:
    """Return the digest of the vectors of windows, by which the model's rows are recognised later."""
    return TrainingVectors.of(windows.vectors, np.union1d(windows.contexts, windows.targets))


def _write(
    folder: TrainingFolder,
    model: ContextModel,
    history: History,
    document: dict[str, Any],
    *,
    training_vectors: TrainingVectors,
) -> None:
    folder.save_model(
        model,
        architecture=document["model_type"],
        context_length=document["context_length"],
        epoch=history.best.number,
        val_loss=history.best.val_loss,
        val_cosine=history.best.val_cosine,
        args=document["arguments"] | {"recipe": document["recipe"]},
        training_vectors=training_vectors,
    )
    folder.write("curves.svg", curves_svg(document))
    folder.write("MODEL_CARD.md", card_text(document).encode())
    folder.finish(document)


def _error(history: History) -> JobError | None:
    if history.stopped != "diverged":
        return None
    return Diverged(
        f"the loss was NaN in epoch {history.epochs[-1].number}; epoch {history.best.number} was kept",
        "give a lower --learning-rate, and check the vectors with `lvm-batch inspect`",
    )
