"""Lists the models of a registry with their roles, and shows one model in full.

The rule: everything is listed; a model that cannot be loaded and a role that cannot be used are listed with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.registry.registry_text import card_text, list_text
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import ROLES, list_names, named_model, resolve_model
from lvm_batch.lvm.registry.role_log import RoleChange, read_role_log
from lvm_batch.lvm.registry.roles import RoleHolder, holder, name_of, roles_of

if TYPE_CHECKING:
    from collections.abc import Sequence


CARD, HISTORY = "MODEL_CARD.md", "training_history.json"


@dataclass(frozen=True, slots=True)
class RoleState:
    """The model that has a role, None if there is none, and the change in the log ``since`` when it has the role.

    ``problem`` says why the model cannot be used, or that its file has changed since.
    """

    role: str
    model: RoleHolder | None
    since: RoleChange | None
    problem: str | None

    def values(self) -> dict[str, Any] | None:
        """Return the state as plain values; None if no model has the role and nothing is wrong."""
        if self.model is None and self.problem is None:
            return None
        return {
            "name": self.model.name if self.model else None,
            "sha256": self.model.sha256 if self.model else None,
            "since": self.since.at if self.since else None,
            "by": self.since.by if self.since else None,
            "problem": self.problem,
        }


def list_registry(models_dir: Path) -> tuple[dict[str, Any], str]:
    """Return every model and every role, as values and as text; raises ``ModelError`` if there is no registry."""
    models = [_model(name, models_dir) for name in list_names(models_dir)]
    changes, log_problem = _changes(models_dir)
    values = {
        "models_dir": str(models_dir),
        "models": models,
        "roles": {role: _state(role, models_dir, changes).values() for role in ROLES},
        "log_problem": log_problem,
    }
    return values, list_text(values)


def show_model(name: str, models_dir: Path) -> tuple[dict[str, Any], str]:
    """Return the facts about one model, as values and as text.

    ``name`` is a name in the registry, a role or a path. Raises ``ModelError`` if there is no such model or it cannot
    be loaded, and ``DataError`` if it cannot be read.
    """
    path = named_model(name, models_dir)
    changes, log_problem = _changes(models_dir)
    facts = _facts(path, models_dir)
    states = {role: _state(role, models_dir, changes).values() for role in facts["roles"]}
    card, history = (_file_beside(path, name, models_dir) for name in (CARD, HISTORY))
    values = {
        "name": path if "://" in path else name_of(Path(path), models_dir),
        **facts,
        "roles": states,
        "log_problem": log_problem,
        "card_path": str(card) if card else None,
        "card": card.read_text(encoding="utf-8", errors="replace") if card else None,
        "history_path": str(history) if history else None,
    }
    return values, card_text(values)


def _model(name: str, models_dir: Path) -> dict[str, Any]:
    """Describe a model of the registry; ``problem`` says why it cannot be loaded."""
    try:
        return {"name": name, **_facts(named_model(name, models_dir), models_dir), "problem": None}
    except (ModelError, DataError) as error:
        return {"name": name, "problem": str(error.args[0])}


def _facts(path: str, models_dir: Path) -> dict[str, Any]:
    data = read_file(path)
    checkpoint = load_checkpoint(data, path)
    return {
        "path": path,
        "sha256": checkpoint.sha256,
        "bytes": len(data),
        "architecture": checkpoint.architecture,
        "n_parameters": checkpoint.n_parameters,
        "dim": checkpoint.dim,
        "context_length": checkpoint.length,
        "input_norm": "unit" if checkpoint.model.unit_inputs else "as_is",
        "dimensions": dict(checkpoint.model.config),
        "epoch": checkpoint.epoch,
        "val_cosine": checkpoint.val_cosine,
        "trained_on": digest.n_vectors if (digest := checkpoint.training_vectors) else None,
        "roles": [] if "://" in path else list(roles_of(Path(path), models_dir)),
    }


def _changes(models_dir: Path) -> tuple[tuple[RoleChange, ...], str | None]:
    try:
        return read_role_log(models_dir), None
    except ModelError as error:
        return (), error.message


def _state(role: str, models_dir: Path, changes: Sequence[RoleChange]) -> RoleState:
    try:
        resolve_model(None, role=role, models_dir=models_dir)
        problem = None
    except ModelError as error:
        problem = error.message
    try:
        model = holder(role, models_dir)
    except ModelError:
        model = None
    last = next((change for change in reversed(changes) if change.role == role), None)
    since = last if model and last and last.after.name == model.name else None
    if problem is None and model and since and since.after.sha256 != model.sha256:
        problem = f"{model.name} has been rewritten since it got the role, and not been verified since"
    return RoleState(role, model, since, problem)


def _file_beside(path: str, name: str, models_dir: Path) -> Path | None:
    """Return the file of that name in a checkpoint's folder, if there is one and the folder is the model's own."""
    folder = Path(path).parent
    if "://" in path or folder.resolve() == models_dir.resolve():
        return None
    return folder / name if (folder / name).is_file() else None
