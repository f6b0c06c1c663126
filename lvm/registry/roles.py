"""The models that have roles, and the change of a role.

    <models_dir>/../production_model -> models/<name>      or <name>.pt; a text file with that line, without symlinks
    <models_dir>/../fallback_model   -> models/<name>

The rule: a role passes from one model to another in one step. A reader sees the old model or the new one, and nothing
but a link is ever replaced. ``role_log`` records the change.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import (
    CHECKPOINT_FILE,
    ROLES,
    checkpoint_in,
    folder_of_checkpoint,
    model_in,
    name_in,
    role_path,
    role_target,
)


@dataclass(frozen=True, slots=True)
class RoleHolder:
    """A model that has or had a role: its name in the registry, or its absolute path if it is elsewhere.

    ``sha256`` is the hex digest of its checkpoint, None if that cannot be read (any more).
    """

    name: str
    sha256: str | None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the model is not in the registry."""
        return Path(self.name).is_absolute()


def holder(role: str, models_dir: Path) -> RoleHolder | None:
    """Return the model that has the role, even if its link leads nowhere; None if no model has it.

    Raises ModelError if the link cannot be read, or a file in its place is no pointer.
    """
    target = role_target(role, models_dir)
    if target is None:
        return None
    path = role_path(role, models_dir).parent / target
    return RoleHolder(name_of(path, models_dir), digest_of(path))


def name_of(path: Path, models_dir: Path) -> str:
    """Return the name in the registry of the model at ``path``, a folder or its checkpoint.

    For a model elsewhere, return the absolute path.
    """
    folder = folder_of_checkpoint(path)
    for place, registry in (
        (_absolute(folder), _absolute(models_dir)),
        (folder.resolve(), models_dir.resolve()),
    ):
        if place.parent == registry:
            return name_in(place)
    return str(_absolute(path))


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a checkpoint, or of that in a folder, as hex text; None if it cannot be read."""
    try:
        with checkpoint_in(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ModelError, OSError):
        return None


def place_of(model: RoleHolder, models_dir: Path) -> Path:
    """Return the folder or the file of a model, or the path of one that is not in the registry."""
    return Path(model.name) if model.is_elsewhere else model_in(models_dir, model.name)


def roles_of(checkpoint: Path, models_dir: Path) -> tuple[str, ...]:
    """Return the roles that lead to this file, without roles that lead nowhere."""
    return tuple(role for role in ROLES if _leads_to(role, checkpoint, models_dir))


def check_replaceable(role: str, models_dir: Path) -> None:
    """Raise ModelError if the role's place holds something other than a link, which replacing would destroy."""
    link = role_path(role, models_dir)
    if not link.is_symlink() and role_target(role, models_dir) == Path(link.name):
        what = "a folder" if link.is_dir() else "a file of its own"
        raise ModelError(
            f"{link} is {what}, where a link to a model is expected",
            f"move it to {models_dir}/NAME{'' if link.is_dir() else f'/{CHECKPOINT_FILE}'}, then try again",
        )


def give_role(role: str, model: RoleHolder | None, models_dir: Path) -> None:
    """Make the role lead to ``model``, or remove the role's link for None.

    The link is a symlink, or a text file on a file system without them. Raises ModelError if the folder cannot be
    written, or if the link's place holds something else.
    """
    check_replaceable(role, models_dir)
    link = role_path(role, models_dir)
    try:
        if model is None:
            link.unlink(missing_ok=True)
        else:
            place = place_of(model, models_dir)
            _replace(link, place if model.is_elsewhere else Path(_absolute(models_dir).name) / place.name)
    except OSError as error:
        raise ModelError(
            f"{link} cannot be written: {error.strerror or error}", "check access to its folder"
        ) from error


def _replace(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.tmp")
    fresh.unlink(missing_ok=True)  # left by a process that was killed here
    try:
        _make_link(fresh, target)
        fresh.replace(link)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)


def _make_link(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target, target_is_directory=True)
    except (
        OSError,
        NotImplementedError,
    ):  # no symlinks here; where nothing can be written, the next line says so
        link.write_text(f"{target.as_posix()}\n", encoding="utf-8")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links and change names


def _leads_to(role: str, checkpoint: Path, models_dir: Path) -> bool:
    try:
        target = role_target(role, models_dir)
        return target is not None and checkpoint_in(role_path(role, models_dir).parent / target).samefile(
            checkpoint
        )
    except (ModelError, OSError):
        return False
