"""Checks of an evaluation that need no torch: its places, its dataset, its models as far as their files tell.

The rule: all that is wrong is reported together, before torch is loaded.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.dataset.files import look_for_files
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.datasets.dataset_format import find_format
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.models.advice import data_misfit, no_judged_model
from lvm_batch.jobs.models.files import model_file
from lvm_batch.jobs.models.fit import bank_misfits
from lvm_batch.jobs.output_folder import check_output_folder
from lvm_batch.jobs.places import Place, check_places
from lvm_batch.lvm.errors import ArchitectureError
from lvm_batch.lvm.registry.registry import ROLES, resolve_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvm_batch.io.discovery.found_columns import FoundColumns
    from lvm_batch.jobs.models.fit import SizedModel
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

VALUES, BOARD = "evaluation.json", "leaderboard.md"


def check_evaluation(settings: EvaluateSettings, *, calibrates: bool) -> None:
    """Raise whatever the evaluation can be refused for without torch.

    Raises ``DataError``, ``ModelError``, ``UsageError`` or, for several problems, ``SettingsError``.
    """
    checks = Checks()
    checks.run(lambda: check_output(settings))
    listing = checks.run(lambda: look_for_files(settings.dataset))
    data = checks.run(lambda: find_format(settings, listing.files).columns) if listing else None
    if calibrates:
        checks.run(lambda: check_calibration(settings))
    paths = checks.run(lambda: model_paths(settings, data)) or []
    models = [model for path in paths if (model := checks.run(lambda path=path: model_file(path)))]  # type: ignore[misc]
    checks.run(lambda: refuse_different_shapes(models, settings))
    if models and data and (misfit := data_misfit(settings, data, models[0])):
        checks.errors.append(misfit)
    if settings.bank and locate(settings.bank).is_local:
        bank = checks.run(lambda: open_bank(locate(settings.bank or "").text, with_index=False))
        if bank and models:
            checks.errors.extend(bank_misfits(models[0], bank))
    checks.raise_all()


def check_output(settings: EvaluateSettings) -> None:
    """Raise ``OutputError`` or ``SettingsError`` if the results cannot be written where the settings say."""
    if settings.output:
        check_output_folder(settings.output, what="an evaluation")
        bank = [Place("the bank", "--bank", settings.bank, keeps_out="everything")] if settings.bank else []
        output = Place("the output", "--output", settings.output, (VALUES, BOARD))
        check_places([output], dataset=settings.dataset, kept=bank)


def check_calibration(settings: EvaluateSettings) -> None:
    """Raise ``UsageError`` without the bank and the fallback model that a calibration needs, and ``ModelError``."""
    if settings.bank is None:
        raise UsageError(
            "--calibrate needs a bank: confidence and margin are measured against one",
            "give --bank PATH; lvm-batch bank build VECTORS.parquet --output BANK makes one",
        )
    models_dir = Path(settings.models_dir)
    if resolve_model(settings.fallback, role=ROLES[1], models_dir=models_dir) is None:
        raise UsageError(
            f"--calibrate needs a fallback model, and there is neither --fallback nor {models_dir.parent / ROLES[1]}",
            "give --fallback CKPT: the model for escalated rows",
        )


def model_paths(settings: EvaluateSettings, data: FoundColumns | None = None) -> list[str]:
    """Return the paths of the models of ``--model``, or else of those with a role, each once.

    ``data`` is what is known of the dataset. Raises ``ModelError`` or ``UsageError``, or ``SettingsError`` for several
    models that are not there.
    """
    models_dir = Path(settings.models_dir)
    wanted: Sequence[tuple[str | None, str]] = [(spec, "") for spec in settings.model]
    checks = Checks()
    resolved = [
        checks.run(lambda spec=spec, role=role: resolve_model(spec, role=role, models_dir=models_dir))  # type: ignore[misc]
        for spec, role in wanted or [(None, role) for role in ROLES]
    ]
    checks.raise_all()
    paths = [path for path in resolved if path is not None]
    if not paths:
        raise no_judged_model(settings, data)
    if not settings.model:
        return list(dict.fromkeys(paths))  # one model may have both roles
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise UsageError(f"--model {twice[0]} is given twice", "give each model once")
    return paths


def refuse_different_shapes(models: Sequence[SizedModel], settings: EvaluateSettings) -> None:
    """Raise ``ArchitectureError`` unless all models read vectors of one width, in contexts of one length.

    ``--context-length`` decides the length for all of them.
    """
    known = [model for model in models if model.dim is not None]
    for other in known[1:]:
        first = known[0]
        if other.dim != first.dim:
            raise ArchitectureError(
                f"{other.name} reads vectors of {other.dim}, {first.name} of {first.dim}",
                "evaluate models of other vectors separately, on a dataset of such vectors",
            )
        if settings.context_length is None and other.length != first.length:
            raise ArchitectureError(
                f"{other.name} reads contexts of {other.length} vectors, {first.name} of {first.length}",
                "evaluate each separately, or all on contexts of one length: --context-length N",
            )
