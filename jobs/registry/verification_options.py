"""The options of ``models verify`` and ``models promote``, checked.

The rule: what contradicts itself, or asks for a gate without the figures that it judges, is refused before torch is
loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.models.seen_rows import MAX_SEEN
from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import names_of
from lvm_batch.jobs.settings.options import choice
from lvm_batch.jobs.settings.paths import path_argument
from lvm_batch.jobs.settings.sources import flag_of
from lvm_batch.lvm.registry.registry import ROLES

if TYPE_CHECKING:
    from lvm_batch.jobs.registry.candidate import VerificationRequest
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.jobs.settings.sources import ResolvedSettings

DATASET = tuple(name for name in names_of(DatasetSettings) if name != "dataset")

_MAX_TOLERANCE = 2.0  # the largest difference of two cosines
_GATES = ("min_recall_at_5", "min_mrr", "min_contain_at_50")

Role = Annotated[
    str | None,
    choice(*ROLES, help="Role to check for. Default: the one that takes the architecture."),
]
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
    typer.Option(
        help="How far the mean cosine may be below that of the model that has the role.", metavar="NUMBER"
    ),
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
MaxSeen = Annotated[
    float,
    typer.Option(
        help="Share of the windows of --data that the model may have been trained on.", metavar="NUMBER"
    ),
]
BankPath = Annotated[
    str | None,
    typer.Option(help="Bank to check retrieval gates with.", metavar="PATH", parser=path_argument),
]
MinRecall = Annotated[
    float | None,
    typer.Option(
        "--min-recall-at-5",
        help="Share of windows whose target must be among the 5 vectors of --bank nearest to the prediction.",
        metavar="NUMBER",
    ),
]
MinMrr = Annotated[
    float | None,
    typer.Option("--min-mrr", help="Mean of 1 / rank that targets must reach in --bank.", metavar="NUMBER"),
]
MinContain = Annotated[
    float | None,
    typer.Option(
        "--min-contain-at-50",
        help="Share of windows whose target must be among the 50 nearest vectors of --bank.",
        metavar="NUMBER",
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
    max_seen: MaxSeen = MAX_SEEN
    bank: BankPath = None
    min_recall_at_5: MinRecall = None
    min_mrr: MinMrr = None
    min_contain_at_50: MinContain = None


def request_of(resolved: ResolvedSettings[RunSettings], options: VerificationOptions) -> VerificationRequest:
    """Return what the options request; raises ``UsageError``, or ``SettingsError`` for several problems."""
    checks = Checks()
    checks.errors.extend(_problems(options))
    role = None if options.role is None else checks.run(lambda: known_role(options.role or ""))
    folder = checks.run(lambda: models_folder(resolved))
    checks.raise_all()
    from lvm_batch.jobs.registry.candidate import RetrievalGates, VerificationRequest

    gates = RetrievalGates(**{name: getattr(options, name) for name in _GATES})
    return VerificationRequest(
        models_dir=folder or Path(),
        role=role,
        dim=options.dim,
        data=_data_settings(resolved.settings, options.data) if options.data else None,
        sample_rows=options.sample_rows,
        tolerance=options.tolerance,
        max_seen=options.max_seen,
        bank=options.bank,
        gates=gates,
    )


def models_folder(resolved: ResolvedSettings[RunSettings]) -> Path:
    """Return the folder of named models; raises ``UsageError`` for a URL."""
    text = resolved.settings.models_dir
    if "://" in text:
        raise UsageError(
            f"a registry must be a folder on this machine, not {text}",
            "give --models-dir a local or mounted folder",
        )
    return Path(text)


def known_role(role: str) -> str:
    """Return the role; raises ``UsageError`` if there is no such role."""
    if role not in ROLES:
        raise UsageError(f"--role cannot be {role!r}", f"it can be {' or '.join(ROLES)}")
    return role


def _problems(options: VerificationOptions) -> list[UsageError]:
    """Return what is wrong with numbers, and with gates that lack rows or a bank; NaN is wrong too."""
    limits = {"tolerance": _MAX_TOLERANCE, "max_seen": 1.0, **dict.fromkeys(_GATES, 1.0)}
    given = {name: value for name in limits if (value := getattr(options, name)) is not None}
    problems = [
        UsageError(f"{flag_of(name)} cannot be {value:g}", f"it can be a number from 0 to {limits[name]:g}")
        for name, value in given.items()
        if not 0 <= value <= limits[name]
    ]
    gates = ", ".join(flag_of(name) for name in _GATES if name in given)
    if gates and not options.data:
        problems.append(UsageError(f"{gates}: there are no rows to check it on", "give --data DATASET"))
    if gates and options.bank is None:
        hint = "give --bank PATH; lvm-batch bank build VECTORS --output BANK makes one"
        problems.append(UsageError(f"{gates}: there is no bank to search", hint))
    if options.bank is not None and not gates:
        hint = "add --min-recall-at-5, --min-mrr or --min-contain-at-50"
        problems.append(UsageError("--bank needs a gate that uses it", hint))
    return problems


def _data_settings(settings: RunSettings, data: list[str]) -> EvaluateSettings:
    """Return how to read --data: as ``evaluate`` reads a dataset with the same options."""
    from lvm_batch.jobs.settings.evaluate import EvaluateSettings

    names = ("models_dir", *DATASET)
    return EvaluateSettings(dataset=tuple(data), **{name: getattr(settings, name) for name in names})
