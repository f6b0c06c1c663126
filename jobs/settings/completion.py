"""The values that a shell completes.

The rule: a value is looked up without loading a model, and where nothing is known the shell completes names of files.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import JobError
from lvm_batch.jobs.settings.fields import Settings, choices
from lvm_batch.jobs.settings.paths import expanded_file
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import resolve_settings
from lvm_batch.lvm.registry.registry import ROLES, list_models

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Complete = Callable[..., list[str]]

_MODELS = ("model", "fallback")


def completion_of(kind: type[Settings], name: str) -> Complete | None:
    """Return what completes the value of the setting ``name``; ``None`` leaves it to the shell."""
    if name in _MODELS:
        return model_names
    values = choices(kind, name)
    return one_of(values) if values else None


def one_of(values: Sequence[str]) -> Complete:
    """Return what completes one of ``values``."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def model_names(ctx: Any, incomplete: str) -> list[str]:  # noqa: ANN401 - typer finds it by its name
    """Return the models of the registry that the command line, the environment or a file names."""
    return [name for name in list_models(_models_dir(ctx.params)) if name.startswith(incomplete)]


def model_names_and_roles(ctx: Any, incomplete: str) -> list[str]:  # noqa: ANN401 - as above
    """Return the models of the registry, and the roles that they may have."""
    return [*model_names(ctx, incomplete), *one_of(ROLES)(incomplete)]


def _models_dir(given: dict[str, Any]) -> Path:
    try:
        file = expanded_file(given.get("config"), option="--config")
        flags = {"models_dir": given.get("models_dir")}
        found = resolve_settings(RunSettings, flags, os.environ, file, required=(), names=("models_dir",))
    except JobError:  # the command itself will report it
        return Path(RunSettings().models_dir)
    return Path(found.settings.models_dir)
