"""Who has a role, and giving it to another.

    <models_dir>/../production_model -> models/<name>      or a text file of that line, without symlinks
    <models_dir>/../fallback_model   -> models/<name>

The one rule: a role passes from one model to another in one step. Whoever looks meanwhile finds the old one or the
new one, and nothing but a link is ever replaced. Does not judge whether a model deserves the role, and writes no
log (``role_log``).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import CHECKPOINT_FILE, ROLES, checkpoint_in, role_path, role_target


@dataclass(frozen=True, slots=True)
class Held:
    """A model that has a role or had it: its name in the registry, or its absolute path where it lies elsewhere.

    ``sha256`` is the hex digest of its checkpoint, None where that cannot be read (any more).
    """

    name: str
    sha256: str | None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is no model of the registry."""
        return Path(self.name).is_absolute()


def holder(role: str, models_dir: Path) -> Held | None:
    """Return who has the role, also where the link leads nowhere any more; None where nobody has it.

    Raises ModelError where what stands in the link's place is no link.
    """
    target = role_target(role, models_dir)
    if target is None:
        return None
    path = role_path(role, models_dir).parent / target
    return Held(name_of(path, models_dir), digest_of(path))


def name_of(path: Path, models_dir: Path) -> str:
    """Return the name in the registry of the model at ``path``, a folder or its checkpoint; the absolute path of one
    that lies elsewhere.
    """
    folder = path.parent if path.name == CHECKPOINT_FILE else path
    for place, registry in (
        (_absolute(folder), _absolute(models_dir)),
        (folder.resolve(), models_dir.resolve()),
    ):
        if place.parent == registry:
            return place.name
    return str(_absolute(path))


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a checkpoint, or of the one in a folder, as hex text; None where none can be read."""
    try:
        with checkpoint_in(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ModelError, OSError):
        return None


def folder_of(held: Held, models_dir: Path) -> Path:
    """Return the folder (or file, of a model that lies elsewhere) that a holder is in."""
    return Path(held.name) if held.is_elsewhere else models_dir / held.name


def roles_of(checkpoint: Path, models_dir: Path) -> tuple[str, ...]:
    """Return the roles that lead to this file; a role that cannot be followed is nobody's."""
    return tuple(role for role in ROLES if _leads_to(role, checkpoint, models_dir))


def check_replaceable(role: str, models_dir: Path) -> None:
    """Raise ModelError where what stands in the role's place is no link, so that replacing it would destroy it."""
    link = role_path(role, models_dir)
    if not link.is_symlink() and role_target(role, models_dir) == Path(link.name):
        what = "a folder" if link.is_dir() else "a file of its own"
        raise ModelError(
            f"{link} is {what}, where a link to a model is expected",
            f"move it to {models_dir}/NAME{'' if link.is_dir() else f'/{CHECKPOINT_FILE}'}, then try again",
        )


def give_role(role: str, held: Held | None, models_dir: Path) -> None:
    """Make the role lead to ``held``, or to nobody.

    A symlink, or a text file where there can be none. Raises ModelError where the folder cannot be written, or where
    what stands there is no link.
    """
    check_replaceable(role, models_dir)
    link = role_path(role, models_dir)
    try:
        if held is None:
            link.unlink(missing_ok=True)
        else:
            _replace(
                link, Path(held.name) if held.is_elsewhere else Path(_absolute(models_dir).name) / held.name
            )
    except OSError as error:
        raise ModelError(
            f"{link} cannot be written: {error.strerror or error}", "check access to its folder"
        ) from error


def _replace(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.tmp")
    fresh.unlink(missing_ok=True)  # of a process that was killed here
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
