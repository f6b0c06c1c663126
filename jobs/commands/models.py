"""``lvm-batch models``: the registry of models, and which of them have a role."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.help import HelpCommand, HelpGroup
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.settings.completion import model_names_and_roles
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import names_of
from lvm_batch.jobs.settings.options import choice, takes_console, takes_options, takes_settings
from lvm_batch.jobs.settings.paths import path_argument
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings
from lvm_batch.lvm.registry.registry import ROLES

if TYPE_CHECKING:
    from lvm_batch.jobs.registry.candidate import VerificationRequest
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

app = typer.Typer(name="models", cls=HelpGroup, help="List, verify and promote the models that run takes.")

_MAX_TOLERANCE = 2.0  # the largest difference of two cosines
_PLACE = ("models_dir",)
_DATASET = tuple(name for name in names_of(DatasetSettings) if name != "dataset")

Name = Annotated[
    str,
    typer.Argument(
        help="A name under the models folder, a role, or a path.",
        metavar="NAME",
        autocompletion=model_names_and_roles,
    ),
]
Role = Annotated[
    str | None,
    choice(*ROLES, help="Role to check for. Default: the one that takes the architecture."),
]
RoleGiven = Annotated[str, choice(*ROLES, help="Role to give back.")]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Dataset to compare cosines on: articles that no model was trained on; repeatable.",
        metavar="DATASET",
        parser=path_argument,
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(help="How far the mean cosine may be below that of who has the role.", metavar="NUMBER"),
]
SampleRows = Annotated[
    int,
    typer.Option(
        help="Windows to compare cosines on: those whose split is ood, among the first 20 times as many, then others.",
        min=1,
        metavar="N",
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        help="Width that vectors must have. Default: that of the models with a role, else the data's, else 768.",
        min=1,
        metavar="N",
    ),
]


@dataclass(frozen=True, slots=True)
class VerificationOptions:
    """The options of a verification."""

    role: Role = None
    data: Data = None
    tolerance: Tolerance = 0.005
    sample_rows: SampleRows = 2000
    dim: Dim = None


@app.command("list", cls=HelpCommand)
@takes_settings(required=(), names=_PLACE)
@takes_console
def list_models(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """List the models of the registry with their roles.

    A model that cannot be loaded is listed with the reason.

    Examples:
        lvm-batch models list
        lvm-batch models list --models-dir models/
    """
    console.doing("reading the models")
    from lvm_batch.jobs.registry.view import list_registry

    console.result(*list_registry(_models_dir(resolved)))


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_PLACE)
@takes_console
def show(name: Name, resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Show one model: digest, dimensions, figures, roles and card.

    Examples:
        lvm-batch models show amn
        lvm-batch models show production_model
    """
    console.doing("reading the model")
    from lvm_batch.jobs.registry.view import show_model

    console.result(*show_model(name, _models_dir(resolved)))


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=(*_PLACE, *_DATASET))
@takes_console
@takes_options(VerificationOptions)
def verify(
    name: Name, resolved: ResolvedSettings[RunSettings], *, console: Console, options: VerificationOptions
) -> int:
    """Check that a model loads and predicts as it should.

    It must have the right dimensions, give finite unit vectors, the same ones packed as published,
    and, with --data, a mean cosine not below that of the model that has the role. The command exits
    with 3 if a check fails.

    Examples:
        lvm-batch models verify amn
        lvm-batch models verify amn --data held-out/ --tolerance 0.01
    """
    console.doing("loading torch and the models")
    request = _request(resolved, options)
    from lvm_batch.jobs.registry.candidate import find_candidate
    from lvm_batch.jobs.registry.verify_model import verify_candidate

    result = verify_candidate(find_candidate(name, request), request)
    console.result(result.values(), result.text(), error=result.error)
    return result.error.exit_code if result.error else 0


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=(*_PLACE, *_DATASET))
@takes_console
@takes_options(VerificationOptions)
def promote(
    name: Name, resolved: ResolvedSettings[RunSettings], *, console: Console, options: VerificationOptions
) -> int:
    """Give a model its role in the registry if it passes every check.

    The checks are those of `models verify`; without --data no cosine is compared. The model that
    had the role before stays in roles.jsonl beside the models folder.

    Examples:
        lvm-batch models promote amn --data held-out/
        lvm-batch models promote gru --role fallback_model
    """
    console.doing("loading torch and the models")
    request = _request(resolved, options)
    from lvm_batch.jobs.registry.promotion import Signature
    from lvm_batch.jobs.registry.promotion import promote as promote_model

    outcome = promote_model(name, request, signature=Signature.now())
    console.result(outcome.values(), outcome.text(), error=outcome.error)
    return outcome.error.exit_code if outcome.error else 0


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_PLACE)
@takes_console
def rollback(
    resolved: ResolvedSettings[RunSettings], *, console: Console, role: RoleGiven = "production_model"
) -> None:
    """Give a role back to the model that had it before.

    The same command again goes one further back.

    Examples:
        lvm-batch models rollback
        lvm-batch models rollback --role fallback_model
    """
    console.doing("reading the log of roles")
    from lvm_batch.jobs.registry.promotion import Signature
    from lvm_batch.jobs.registry.promotion import rollback as roll_back

    outcome = roll_back(_known_role(role), _models_dir(resolved), signature=Signature.now())
    console.result(outcome.values(), outcome.text())


def _request(resolved: ResolvedSettings[RunSettings], options: VerificationOptions) -> VerificationRequest:
    """Return what the options request; raises ``UsageError``."""
    tolerance, data = options.tolerance, options.data
    if not 0 <= tolerance <= _MAX_TOLERANCE:  # NaN is refused too
        raise UsageError(f"--tolerance cannot be {tolerance:g}", "it can be a number from 0 to 2")
    role = None if options.role is None else _known_role(options.role)
    from lvm_batch.jobs.registry.candidate import VerificationRequest

    return VerificationRequest(
        models_dir=_models_dir(resolved),
        role=role,
        dim=options.dim,
        data=_data_settings(resolved.settings, data) if data else None,
        sample_rows=options.sample_rows,
        tolerance=tolerance,
    )


def _data_settings(settings: RunSettings, data: list[str]) -> EvaluateSettings:
    """Return how to read --data: as ``evaluate`` reads a dataset with the same options."""
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

    return EvaluateSettings(
        dataset=tuple(data), **{name: getattr(settings, name) for name in (*_PLACE, *_DATASET)}
    )


def _models_dir(resolved: ResolvedSettings[RunSettings]) -> Path:
    text = resolved.settings.models_dir
    if "://" in text:
        raise UsageError(
            f"a registry is a folder of this machine, not {text}",
            "give --models-dir a folder that is mounted",
        )
    return Path(text)


def _known_role(role: str) -> str:
    if role not in ROLES:
        raise UsageError(f"--role cannot be {role!r}", f"it can be {' or '.join(ROLES)}")
    return role
