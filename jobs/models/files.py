"""Finds the files of the models and the bank that settings name, and what can be known of them without torch.

The rule: whatever a model can be refused for before it is loaded is found here, all together. A file that only torch
can read has no sizes and passes: loading decides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.schema import WindowShape
from lvm_batch.io.storage.locations import locate, read_file
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.models.advice import data_misfit, no_primary_model
from lvm_batch.jobs.models.facts import FALLBACK_ARCHITECTURES, PRIMARY_ARCHITECTURES, NamedModels
from lvm_batch.jobs.models.fit import check_architecture, misfits
from lvm_batch.jobs.models.router import find_router
from lvm_batch.lvm.checkpoints.checkpoint_facts import facts_of
from lvm_batch.lvm.registry.registry import resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.bank.bank import Bank
    from lvm_batch.io.discovery.found_columns import FoundColumns
    from lvm_batch.jobs.checks import CheckError
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.checkpoints.checkpoint_facts import CheckpointFacts


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checkpoint that has not been loaded: its path or URL, its facts, and the SHA-256 of its bytes."""

    name: str
    facts: CheckpointFacts
    sha256: str

    @property
    def dim(self) -> int | None:
        """The components of its vectors."""
        return self.facts.dim

    @property
    def length(self) -> int | None:
        """The vectors in its contexts."""
        return self.facts.length

    @property
    def shape(self) -> WindowShape | None:
        """The shape of its contexts, ``None`` if only torch can tell."""
        if self.dim is None or self.length is None:
            return None
        return WindowShape(self.length, self.dim)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The models and the bank that settings name, and all problems with them.

    ``lacks_model`` says that no setting and no role names a primary model.
    """

    primary: ModelFile | None
    fallback: ModelFile | None
    bank: Bank | None
    problems: tuple[CheckError, ...]
    lacks_model: bool

    @property
    def shape(self) -> WindowShape | None:
        """The shape of the contexts that the primary model takes, ``None`` if only torch can tell."""
        return self.primary.shape if self.primary else None


def find_model_files(settings: RunSettings) -> ModelFiles:
    """Find the models, the bank and the router of the settings, and check what can be checked without torch."""
    checks = Checks()
    path = checks.run(lambda: _named_path(settings))
    lacks_model = path is None and not checks.errors
    primary = checks.run(lambda: _checked(path, PRIMARY_ARCHITECTURES, "--model")) if path else None
    fallback = checks.run(lambda: _fallback(settings))
    bank = checks.run(lambda: _local_bank(settings.bank))
    if primary is not None:
        checks.errors.extend(misfits(primary, fallback, bank))
    find_router(settings.router, primary, fallback, checks=checks)
    return ModelFiles(primary, fallback, bank, tuple(checks.errors), lacks_model)


def fit_problems(files: ModelFiles, settings: RunSettings, data: FoundColumns | None) -> Iterator[CheckError]:
    """Yield all problems with the models: those of ``files``, and how the primary model fits the ``data``."""
    yield from files.problems
    if files.lacks_model:
        yield no_primary_model(settings, data)
    if files.primary and data and (misfit := data_misfit(settings, data, files.primary)):
        yield misfit


def check_model_files(settings: RunSettings) -> None:
    """Raise all problems with the models alone: one as it is, several as a ``SettingsError``."""
    checks = Checks()
    checks.errors.extend(fit_problems(find_model_files(settings), settings, None))
    checks.raise_all()


def name_models(settings: RunSettings) -> NamedModels:
    """Return the models and the bank that the settings name, or else the roles ``production_model`` and so on.

    Raises ``ModelError`` if there is no primary model; the hint says how to come by one.
    """
    path = _named_path(settings)
    if path is None:
        raise no_primary_model(settings)
    return NamedModels(
        primary=path,
        fallback=fallback_path(settings),
        bank=settings.bank,
        device=settings.device,
        fallback_device=settings.fallback_device,
        precision=settings.precision,
        runs_elsewhere=settings.runs_elsewhere,
        n_neighbours=settings.neighbours,
        router=settings.router,
    )


def _named_path(settings: RunSettings) -> str | None:
    return resolve_model(settings.model, role="production_model", models_dir=Path(settings.models_dir))


def fallback_path(settings: RunSettings) -> str | None:
    """Return the path of the checkpoint that ``--fallback`` names, or else of the role ``fallback_model``."""
    return resolve_model(settings.fallback, role="fallback_model", models_dir=Path(settings.models_dir))


def model_file(path: str) -> ModelFile:
    """Read the facts of a checkpoint at a path or a URL; raises ``CheckpointError`` or ``DataError``."""
    content = read_file(path)
    return ModelFile(path, facts_of(content, path), hashlib.sha256(content).hexdigest())


def _fallback(settings: RunSettings) -> ModelFile | None:
    path = fallback_path(settings)
    return None if path is None else _checked(path, FALLBACK_ARCHITECTURES, "--fallback")


def _checked(path: str, allowed: tuple[str, ...], option: str) -> ModelFile:
    found = model_file(path)
    check_architecture(path, found.facts.architecture, allowed, option)
    return found


def _local_bank(path: str | None) -> Bank | None:
    """Open the bank; one at a URL is fetched later, where it is searched."""
    return open_bank(locate(path).text, with_index=False) if path and locate(path).is_local else None
