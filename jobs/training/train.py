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
from lvm_batch.jobs.training.folder import NAMES, TEACHER_STATE, TrainingFolder, digest_of
from lvm_batch.jobs.training.model_card import as_text, card_text
from lvm_batch.jobs.training.notices import odd_norms, start_notice
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
    from collections.abc import Callable
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

_SIGNAL_WINDOWS = 5000
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
            start_notice(settings, split, device),
            recipe_notice(settings.recipe, recipe, n_windows=len(split.training)),
        )
        warnings = filter(None, (signal.warning,))
        for notice in (*rows.notices, *begun, *odd_norms(split), *warnings):
            console.note(notice)
        teacher = _teacher(settings, recipe, split, device=device, console=console)
        history = _train(model, split, recipe, settings, folder=folder, console=console, teacher=teacher)
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


def _signal(windows: Windows) -> Signal:
    """Return what some of the training windows say about the next vector."""
    sums = SignalSums()
    for contexts, targets in windows.some(_SIGNAL_WINDOWS).batches():
        sums.add(contexts.numpy(), targets.numpy())
    return sums.signal()


def _teacher(
    settings: TrainSettings, recipe: Recipe, split: Split, *, device: torch.device, console: Console
) -> ContextModel | None:
    """Train the model that teaches this one, if the recipe has one, by its own recipe and with the same seed."""
    if recipe.taught_by is None:
        return None
    own = settings.model_copy(update={"arch": recipe.taught_by, **dict.fromkeys(_OVERRIDES)})
    own_recipe = _recipe(own, len(split.training))
    identity = _identity(own, own_recipe, digest_of(split))
    folder = TrainingFolder(settings.output, identity, state=TEACHER_STATE)
    model = _fresh_model(own, split.training).to(device)
    console.note(f"first {own.arch}: {plural(own_recipe.epochs, 'epoch')}")
    history = _train(model, split, own_recipe, own, folder=folder, console=console)
    if error := _error(history):
        console.note(f"{own.arch}: {error.message}")
    console.note(f"then {settings.arch}: {plural(recipe.epochs, 'epoch')}")
    return model


def _train(
    model: ContextModel,
    split: Split,
    recipe: Recipe,
    settings: TrainSettings,
    *,
    folder: TrainingFolder,
    console: Console,
    teacher: ContextModel | None = None,
) -> History:
    """Train to the end, resuming an interrupted training; write the state after each epoch."""
    name = settings.arch or ""
    n_windows = len(split.training) * (2 if recipe.both_directions else 1)
    with TrainingProgress(console, name=name, n_windows=n_windows, n_epochs=recipe.epochs) as progress:
        training = Training(
            model,
            split.training,
            recipe=recipe,
            seed=settings.seed,
            validation=split.validation,
            on_step=progress.step,
            teacher=teacher,
        )
        if state := folder.saved_state():
            training.restore(state)
            progress.resume(training.epochs[-1].number)
            console.note(f"resuming {name} after epoch {training.epochs[-1].number}")
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
