"""``lvm-batch models``: the registry of models, and which of them have a role."""

from __future__ import annotations

from typing import Annotated

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.help import HelpCommand, HelpGroup
from lvm_batch.jobs.registry.export_options import ExportOptions
from lvm_batch.jobs.registry.verification_options import (
    DATASET,
    VerificationOptions,
    known_role,
    models_folder,
    request_of,
)
from lvm_batch.jobs.settings.completion import model_names_and_roles
from lvm_batch.jobs.settings.options import choice, takes_console, takes_options, takes_settings
from lvm_batch.jobs.settings.paths import expanded_file, path_argument
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings
from lvm_batch.lvm.registry.registry import ROLES

app = typer.Typer(
    name="models", cls=HelpGroup, help="List, verify, promote, release, convert and export models."
)

_PLACE = ("models_dir",)
_VERIFIED = (*_PLACE, *DATASET)
_RELEASED = (
    *("fallback", "bank", *_PLACE),
    *("own_context", "min_confidence", "min_margin", "max_context_tokens", "high_stakes_lane", "router"),
)
_RELEASE = typer.Option("--output", metavar="DIR", help="Folder to make.", parser=path_argument)
_EVALUATION = typer.Option(
    metavar="FILE",
    help="The evaluation.json of an evaluation of this model; the release keeps its figures.",
)

Name = Annotated[
    str,
    typer.Argument(
        help="A name under the models folder, a role, or a path.",
        metavar="NAME",
        autocompletion=model_names_and_roles,
    ),
]
Source = Annotated[
    str,
    typer.Argument(
        help="A name under the models folder, a role, a path or a URL.",
        metavar="SRC",
        autocompletion=model_names_and_roles,
    ),
]
Target = Annotated[
    str,
    typer.Argument(help="File to write, .safetensors or .pt.", metavar="DST", parser=path_argument),
]
RoleGiven = Annotated[str, choice(*ROLES, help="Role to give back.")]


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

    console.result(*list_registry(models_folder(resolved)))


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

    console.result(*show_model(name, models_folder(resolved)))


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_VERIFIED)
@takes_console
@takes_options(VerificationOptions)
def verify(
    name: Name, resolved: ResolvedSettings[RunSettings], *, console: Console, options: VerificationOptions
) -> int:
    """Check that a model loads and predicts as it should.

    It must have the right dimensions, give finite unit vectors, the same ones packed as published,
    and, with --data, a mean cosine not below that of the model that has the role, on rows that it was
    not trained on. The command exits with 3 if a check fails.

    Examples:
        lvm-batch models verify amn
        lvm-batch models verify amn --data held-out/ --tolerance 0.01
    """
    console.doing("loading torch and the models")
    request = request_of(resolved, options)
    from lvm_batch.jobs.registry.candidate import find_candidate
    from lvm_batch.jobs.registry.verify_model import verify_candidate

    result = verify_candidate(find_candidate(name, request), request)
    console.result(result.values(), result.text(), error=result.error)
    return result.error.exit_code if result.error else 0


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_VERIFIED)
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
        lvm-batch models promote amn --data held-out/ --bank bank/ --min-mrr 0.2
    """
    console.doing("loading torch and the models")
    request = request_of(resolved, options)
    from lvm_batch.jobs.registry.promotion import Signature
    from lvm_batch.jobs.registry.promotion import promote as promote_model

    outcome = promote_model(name, request, signature=Signature.now())
    console.result(outcome.values(), outcome.text(), error=outcome.error)
    return outcome.error.exit_code if outcome.error else 0


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_RELEASED)
@takes_console
def release(
    name: Name,
    resolved: ResolvedSettings[RunSettings],
    *,
    console: Console,
    output: Annotated[str, _RELEASE],
    evaluation: Annotated[str | None, _EVALUATION] = None,
) -> None:
    """Write a model, its fallback, bank's digest, router and thresholds.

    They are one folder. `run --release` takes it and refuses it if anything in it differs. Without --fallback the
    model with the role fallback_model is in it, if there is one.

    Examples:
        lvm-batch models release amn --bank bank/ --min-margin 0.01 --output released/
        lvm-batch models release amn --evaluation evaluation.json --output released/
    """
    console.doing("loading torch and the models")
    file, folder = expanded_file(evaluation, option="--evaluation"), models_folder(resolved)
    from lvm_batch.jobs.registry.release_making import make_release

    made = make_release(name, resolved.settings, output=output, models_dir=folder, evaluation=file)
    console.result(*made)


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_PLACE)
@takes_console
def convert(
    name: Source, target: Target, resolved: ResolvedSettings[RunSettings], *, console: Console
) -> None:
    """Write a model as safetensors, or a safetensors file as a checkpoint of torch.

    The new file has equal weights and says the same of the model; optimizers stay behind. It is loaded
    and must answer as the first one does before it is kept. No file is written over.

    Examples:
        lvm-batch models convert amn amn.safetensors
        lvm-batch models convert lightning.ckpt amn/best_model.pt
    """
    console.doing("loading torch and the model")
    folder = models_folder(resolved)
    from lvm_batch.jobs.registry.conversion import convert_model

    console.result(*convert_model(name, target, models_dir=folder))


@app.command(cls=HelpCommand)
@takes_settings(required=(), names=_PLACE)
@takes_console
@takes_options(ExportOptions)
def export(
    name: Source, resolved: ResolvedSettings[RunSettings], *, console: Console, options: ExportOptions
) -> None:
    """Write a model as ONNX, for programs without torch: services, mobile devices.

    The file reads `context` (rows, length, width) and gives `prediction` (rows, width) of unit norm,
    both float32. onnxruntime must answer the sample's rows as torch does, to 1e-5, before the file
    is kept. No file is written over.

    Examples:
        lvm-batch models export amn --output amn.onnx
        lvm-batch models export production_model --format onnx --output model.onnx
    """
    console.doing("loading torch and the model")
    options.check()
    from lvm_batch.jobs.registry.onnx_export import export_onnx

    console.result(*export_onnx(name, options, models_dir=models_folder(resolved)))


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

    outcome = roll_back(known_role(role), models_folder(resolved), signature=Signature.now())
    console.result(outcome.values(), outcome.text())
