"""Where models lie by name and by role.

    <models_dir>/<name>/best_model.pt
    <models_dir>/../production_model -> models/<name>      the roles, as symlinks; where a file system has none,
    <models_dir>/../fallback_model   -> models/<name>      text files that hold models/<name> in one line

The one rule: a model that was asked for is found or refused, never replaced by another. Does not open a
checkpoint, does not give a role to anybody (``roles``), and does not reach the network: a URL is passed on.
"""

from __future__ import annotations

import os
from pathlib import Path

from lvm_batch.lvm.errors import ModelError, did_you_mean

DEFAULT_MODELS_DIR = Path("artifacts/lvm/models")
ROLES = ("production_model", "fallback_model")
CHECKPOINT_FILE = "best_model.pt"

_MAX_POINTER_BYTES = 4096  # the longest path of most systems; no checkpoint is that small
_SHOWN_BYTES = 40


def list_models(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the models in a registry, sorted; none where there is no such folder."""
    names = (found.parent.name for found in models_dir.glob(f"*/{CHECKPOINT_FILE}"))
    return tuple(sorted(name for name in names if not _is_hidden(name)))


def list_folders(models_dir: Path) -> tuple[str, ...]:
    """Return the names of all folders in a registry, sorted, also of those that hold no checkpoint (yet).

    Raises ModelError where there is no such registry, or none that may be read.
    """
    check_models_dir(models_dir)
    try:
        folders = [path.name for path in models_dir.iterdir() if path.is_dir()]
    except OSError as error:
        raise unreadable(models_dir, error) from error
    return tuple(sorted(name for name in folders if not _is_hidden(name)))


def check_models_dir(models_dir: Path) -> None:
    """Raise ModelError unless there is a folder of models."""
    if not os.path.isdir(models_dir):  # noqa: PTH112 - Path's own raises for a text that can be no path
        raise ModelError(
            f"there is no folder of models {models_dir}",
            f"give --models-dir, or train a model: lvm-batch train DATASET --arch amn --output {models_dir}/NAME",
        )


def resolve_model(spec: str | None, *, role: str, models_dir: Path = DEFAULT_MODELS_DIR) -> str | None:
    """Find the checkpoint that ``spec`` means, and return its path or URL.

    ``spec`` is a path (a file, or a folder holding ``best_model.pt``), a URL, or a name in the registry,
    looked for in this order. None means the model that has the ``role``: the result is None where no model
    has it, else the path that the role's link leads to, so that a job keeps its model when the role passes to
    another. Raises ModelError naming the nearest names, or the link that leads nowhere.
    """
    if spec is None:
        return _with_role(role, models_dir)
    if "://" in spec:
        return spec
    path = Path(spec)
    if _exists(path):
        return str(checkpoint_in(path))
    named = models_dir / spec / CHECKPOINT_FILE
    if not _is_hidden(spec) and _exists(named):
        return str(named)
    raise ModelError(
        f"no model {spec!r}: neither a file nor a name in {models_dir}", _nearest(spec, models_dir)
    )


def named_model(name: str, models_dir: Path) -> str:
    """Find the checkpoint of a command about the registry itself, and return its path or URL.

    ``name`` is a name in the registry, a role, a path or a URL, looked for in this order: unlike in
    :func:`resolve_model`, a folder of the same name where the command is called does not stand in the way.
    Raises ModelError.
    """
    if name in ROLES:
        held = _with_role(name, models_dir)
        if held is None:
            raise ModelError(f"no model has the role {name}", f"lvm-batch models promote NAME --role {name}")
        return held
    if is_plain(name) and _exists(models_dir / name):
        return str(checkpoint_in(models_dir / name))
    if "://" not in name and not _exists(Path(name)):
        check_models_dir(models_dir)
    return str(resolve_model(name, role="", models_dir=models_dir))


def is_plain(name: str) -> bool:
    """Tell whether a text can be a name in a registry: one part of a path, and not a hidden one."""
    return Path(name).name == name and not _is_hidden(name)


def role_path(role: str, models_dir: Path) -> Path:
    """Return where the role's link stands, beside the folder of models."""
    if models_dir.name in {"", ".."}:  # `.` and `..` have no parent that could be read off the text
        models_dir = Path(os.path.abspath(models_dir))  # noqa: PTH100 - resolve() would follow links
    return models_dir.parent / role


def role_target(role: str, models_dir: Path) -> Path | None:
    """Return what the role's link says, relative to the link's folder; None where there is none.

    A folder or a checkpoint that stands in the link's place is its own target. Raises ModelError for a text
    file that is no pointer.
    """
    link = role_path(role, models_dir)
    try:
        if link.is_symlink():
            return link.readlink()
        if not link.is_file() or link.stat().st_size > _MAX_POINTER_BYTES:
            return Path(link.name) if link.exists() else None
        return _pointed_at(link.read_bytes(), link)
    except OSError as error:
        raise unreadable(link, error) from error


def checkpoint_in(path: Path) -> Path:
    """Return a file itself, and a folder's checkpoint; raises ModelError where it has none."""
    found = path / CHECKPOINT_FILE if path.is_dir() else path
    if not found.is_file():
        raise ModelError(
            f"no {CHECKPOINT_FILE} in {path}",
            f"name the checkpoint itself, or a folder that holds a {CHECKPOINT_FILE}",
        )
    return found


def unreadable(path: Path, error: OSError) -> ModelError:
    """Return the error for something of a registry that cannot be read."""
    return ModelError(f"{path} cannot be read: {error.strerror}", "check access to it")


def _with_role(role: str, models_dir: Path) -> str | None:
    target = role_target(role, models_dir)
    if target is None:
        return None
    link = role_path(role, models_dir)
    path = link.parent / target
    if not _exists(path):
        raise ModelError(
            f"{link} leads to {target}, which is not there",
            f"give the role to a model that is (lvm-batch models promote NAME --role {role}), or name a model",
        )
    return str(checkpoint_in(path))


def _pointed_at(content: bytes, link: Path) -> Path:
    """Read the one line of a pointer file; raises ModelError where it is anything else."""
    line = content.decode("utf-8", "replace").strip()
    if not line or not line.isprintable() or "\ufffd" in line:
        start = content[:_SHOWN_BYTES]
        raise ModelError(
            f"{link} is neither a link nor a line that points to a model: it begins with {start!r}",
            "it can hold a line such as models/NAME; or remove it, then: lvm-batch models promote NAME",
        )
    return Path(line)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _exists(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path's own raises for a text that can be no path


def _nearest(spec: str, models_dir: Path) -> str:
    names = list_models(models_dir)
    others = f"models there: {', '.join(names) or 'none'}; a path or a URL does as well"
    return did_you_mean(spec, names, most=3) or others
