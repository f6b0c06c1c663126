"""The errors for a command without a model that fits its data, and what to do: no weights ship with this package.

The rule: the hint holds complete commands with the user's own dataset. Models that are there and fit are named first,
each with the option to add.
"""

from __future__ import annotations

import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.jobs.errors import Lines
from lvm_batch.jobs.models.facts import PRIMARY_ARCHITECTURES
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.paths import DEMO_FOLDER
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.jobs.settings.sources import flag_of
from lvm_batch.lvm.checkpoints.checkpoint_facts import read_facts
from lvm_batch.lvm.errors import ArchitectureError, CheckpointError, ModelError
from lvm_batch.lvm.registry.registry import (
    CHECKPOINT_FILE,
    DEFAULT_MODELS_DIR,
    ROLES,
    checkpoint_in,
    list_models,
    model_in,
    role_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.discovery.found_columns import FoundColumns
    from lvm_batch.jobs.models.fit import SizedModel
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.lvm.checkpoints.checkpoint_facts import CheckpointFacts

    AnySettings = RunSettings | EvaluateSettings

_DEMO_MODELS = Path(DEMO_FOLDER) / DEFAULT_MODELS_DIR

_MOST = 8  # of the models in a folder: each file is read


def no_primary_model(settings: RunSettings, data: FoundColumns | None = None) -> CheckpointError:
    """Return the error of a run or a service without a model; ``data`` is what is known of its dataset."""
    role = role_path(ROLES[0], Path(settings.models_dir))
    message = f"no model is given: lvm-batch ships without weights, and neither --model nor {role} names one"
    there = list(_models_there(settings, data))
    return CheckpointError(message, Lines([*there, *_train_and_run(settings, data, first=not there)]))


def no_judged_model(settings: EvaluateSettings, data: FoundColumns | None = None) -> CheckpointError:
    """Return the error of an evaluation without a model."""
    role = role_path(ROLES[0], Path(settings.models_dir))
    message = f"no model to judge is given: lvm-batch ships without weights, and neither --model nor {role} names one"
    there = list(_models_there(settings, data))
    return CheckpointError(message, Lines([*there, *_train_and_judge(settings, first=not there)]))


def data_misfit(settings: AnySettings, data: FoundColumns, model: SizedModel) -> ArchitectureError | None:
    """Return the error if a dataset has vectors of another width than the model takes, or contexts of another length.

    The length counts only where the data's type fixes it. Contexts may be cut or filled if the user has said how
    (``--pad``, ``--context-length``).
    """
    if data.layout is None or model.dim is None:
        return None
    if data.shape.dim != model.dim:
        return _misfit(
            settings, data, f"vectors of {data.shape.dim} components", f"{model.name} takes {model.dim}"
        )
    is_said = getattr(settings, "pad", None) or getattr(settings, "context_length", None)
    if data.has_fixed_length and data.shape.length != model.length and not is_said:
        return _misfit(
            settings, data, f"contexts of {data.shape.length} vectors", f"{model.name} takes {model.length}"
        )
    return None


def _misfit(settings: AnySettings, data: FoundColumns, has: str, takes: str) -> ArchitectureError:
    there = list(_models_there(settings, data))
    train = "or train one for them:" if there else "train a model for them, then give it with --model:"
    cut = {"vectors": [], "contexts": [_cut(settings)]}[has.partition(" ")[0]]
    column = data.names.context if data.layout == "windows" else data.names.vector
    return ArchitectureError(
        f"{' '.join(_names(settings))}: column `{column}` holds {has}, but the model {takes}",
        Lines([*there, train, f"  {train_command(settings, data)}", *cut]),
    )


def _cut(settings: AnySettings) -> str:
    option = "--pad repeat" if isinstance(settings, RunSettings) else "--context-length N"
    return f"or cut or pad every context to the model's length: {option}"


def train_command(settings: AnySettings, data: FoundColumns | None) -> str:
    """Return the command that trains a model on the dataset of the settings, as a line for a shell.

    Windows without targets teach nothing: then it leaves the dataset to the user.
    """
    dataset = _dataset(settings) if _has_targets(settings, data) else ["DATASET"]
    return _line("train", *dataset, "--arch", "amn", "--output", _new_model(settings))


def _has_targets(settings: AnySettings, data: FoundColumns | None) -> bool:
    if data is None or data.layout != "windows":
        return True
    return "target" in settings.given_columns or bool(data.candidates["target"])


def _train_and_run(settings: RunSettings, data: FoundColumns | None, *, first: bool) -> Iterator[str]:
    model, bank = f"{_new_model(settings)}/{CHECKPOINT_FILE}", settings.bank or "bank"
    yield "train one on your own vectors, then use it:" if first else "or train one on your own vectors:"
    yield f"  {train_command(settings, data)}"
    if not settings.bank:
        yield f"  {_line('bank', 'build', *_vectors(settings, data), '--output', bank)}"
    models = ("--model", model, "--bank", bank)
    if isinstance(settings, ServeSettings):
        yield f"  {_line('serve', *models)}"
    else:
        yield f"  {_line('run', *_dataset(settings), *models, '--output', settings.output or 'OUT')}"


def _train_and_judge(settings: EvaluateSettings, *, first: bool) -> Iterator[str]:
    yield "train one on other articles, then judge it:" if first else "or train one on other articles:"
    yield "  lvm-batch train DATASET --arch amn --output " + shlex.quote(_new_model(settings))
    model = f"{_new_model(settings)}/{CHECKPOINT_FILE}"
    yield f"  {_line('evaluate', *_dataset(settings), '--model', model)}"


def _models_there(settings: AnySettings, data: FoundColumns | None) -> Iterator[str]:
    """Yield the options that name the models in the models folder and in the demo's, a line each."""
    lines = [
        f"  --model {shlex.quote(name)}: {text}" for name, text in _primaries(Path(settings.models_dir), data)
    ]
    lines += [f"  --models-dir {_DEMO_MODELS}: {text}, of the demo" for _, text in _demo_primary(data)]
    if lines:
        yield "add one of these to the command:"
        yield from lines


def _demo_primary(data: FoundColumns | None) -> Iterator[tuple[str, str]]:
    """Yield the demo's primary model, if the demo has run here and its model fits the data."""
    has_role = role_path(ROLES[0], _DEMO_MODELS).exists()
    return islice(_primaries(_DEMO_MODELS, data), 1) if has_role else iter(())


def _primaries(models_dir: Path, data: FoundColumns | None) -> Iterator[tuple[str, str]]:
    """Yield the name and the sizes of each primary model in a folder that fits the data."""
    for name in islice(list_models(models_dir), _MOST):
        facts = _facts(model_in(models_dir, name))
        if facts and facts.architecture in PRIMARY_ARCHITECTURES and _fits(facts, data):
            yield name, f"{facts.architecture}, contexts of {facts.length} vectors of {facts.dim}"


def _fits(facts: CheckpointFacts, data: FoundColumns | None) -> bool:
    if data is None or data.layout is None:
        return True
    return facts.dim == data.shape.dim and (not data.has_fixed_length or facts.length == data.shape.length)


def _facts(path: Path) -> CheckpointFacts | None:
    try:
        return read_facts(checkpoint_in(path))
    except (ModelError, OSError):
        return None


def _new_model(settings: AnySettings) -> str:
    """Return a folder for a new model that does not exist yet."""
    models_dir = Path(settings.models_dir)
    names = ("amn", *(f"amn-{number}" for number in range(2, 100)))
    free = (name for name in names if not model_in(models_dir, name).exists())
    return str(models_dir / next(free, "new"))


def _dataset(settings: DatasetSettings) -> list[str]:
    """Return the dataset and the options that say how to read it, as they are given."""
    given = {
        name: getattr(settings, name)
        for name, field in DatasetSettings.model_fields.items()
        if name != "dataset" and getattr(settings, name) != field.default
    }
    return [
        *_names(settings),
        *(text for name, value in given.items() for text in (flag_of(name), str(value))),
    ]


def _names(settings: DatasetSettings) -> list[str]:
    return list(settings.dataset) or ["DATASET"]


def _vectors(settings: AnySettings, data: FoundColumns | None) -> list[str]:
    """Return the dataset of a bank with the option of its column of vectors: of windows, the targets."""
    if not _has_targets(settings, data):
        return ["DATASET"]
    is_windows = data is not None and data.layout == "windows"
    column = data.names.target if data and is_windows else settings.given_columns.get("vector")
    return [*_names(settings), *(["--vector-column", column] if column else [])]


def _line(*words: str) -> str:
    return shlex.join(["lvm-batch", *words])
