"""The places of models, by name and by role.

    <models_dir>/<name>/best_model.pt                      or model.safetensors, if there is no best_model.pt
    <models_dir>/<name>.pt                                 or <name>.safetensors: a checkpoint without a folder, if no
                                                           folder has the name
    <models_dir>/../production_model -> models/<name>      the roles, as symlinks; on a file system without them,
    <models_dir>/../fallback_model   -> models/<name>      text files that hold models/<name> in one line

The rule: a model is found under the given name or refused, never replaced by another. A file that is put beside a
folder of its name does not take the name over, which runs and roles use already: it is found as <name>.pt. Checkpoints
are not opened, roles not changed (``roles`` does that), and URLs passed on unchanged.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lvm_batch.lvm.errors import ModelError, did_you_mean

DEFAULT_MODELS_DIR = Path("artifacts/lvm/models")
ROLES = ("production_model", "fallback_model")
CHECKPOINT_FILES = ("best_model.pt", "model.safetensors")
"""The names of a folder's checkpoint; the first that is there counts: earlier runs and roles know its digest."""

CHECKPOINT_FILE = CHECKPOINT_FILES[0]
FLAT_SUFFIXES = (".pt", ".safetensors")
"""The ends of the name of a checkpoint that is in the registry itself, likewise."""

_MAX_POINTER_BYTES = 4096  # the longest path of most systems; every checkpoint is larger
_SHOWN_BYTES = 40


def list_models(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the models in a registry, sorted; none if there is no such folder."""
    folders = (found.parent.name for file in CHECKPOINT_FILES for found in models_dir.glob(f"*/{file}"))
    files = (path for suffix in FLAT_SUFFIXES for path in models_dir.glob(f"*{suffix}"))
    flat = (name_in(path) for path in files if _is_flat(path))
    return _shown(*folders, *flat)


def list_names(models_dir: Path) -> tuple[str, ...]:
    """Return the names of all models and folders in a registry, sorted, also of folders without a checkpoint.

    Raises ModelError if the registry does not exist or cannot be read.
    """
    check_models_dir(models_dir)
    try:
        paths = [path for path in models_dir.iterdir() if path.is_dir() or _is_flat(path)]
    except OSError as error:
        raise read_error(models_dir, error) from error
    return _shown(*map(name_in, paths))


def _shown(*names: str) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if not _is_hidden(name)}))


def model_in(models_dir: Path, name: str) -> Path:
    """Return the folder or the file that a name means in a registry; the folder's path if there is neither.

    The file is <name>.pt, or else <name>.safetensors, or ``name`` itself. A folder without a checkpoint does not hide a
    file.
    """
    folder = models_dir / name
    if not is_plain(name) or has_checkpoint(folder):
        return folder
    files = (models_dir / f"{name}{suffix}" for suffix in FLAT_SUFFIXES)
    return next((file for file in files if _is_flat(file)), folder)


def name_in(path: Path) -> str:
    """Return the name of a folder or a file in a registry: that by which :func:`model_in` finds it."""
    if path.suffix not in FLAT_SUFFIXES or os.path.isdir(path):  # noqa: PTH112
        return path.name
    meant = model_in(path.parent, path.stem)
    is_another = meant != path and (has_checkpoint(meant) or _is_flat(meant))
    return path.name if is_another else path.stem


def _is_flat(path: Path) -> bool:
    """Return whether a path in a registry is a checkpoint without a folder."""
    is_named = path.name.endswith(FLAT_SUFFIXES) and path.name not in CHECKPOINT_FILES
    return is_named and os.path.isfile(path)  # noqa: PTH113 - Path's own raises for a text that can be no path


def check_models_dir(models_dir: Path) -> None:
    """Raise ModelError unless the folder of models exists."""
    if not os.path.isdir(models_dir):  # noqa: PTH112 - Path's own raises for a text that can be no path
        raise ModelError(
            f"there is no folder of models {models_dir}",
            f"give --models-dir, or train a model: lvm-batch train DATASET --arch amn --output {models_dir}/NAME",
        )


def resolve_model(spec: str | None, *, role: str, models_dir: Path = DEFAULT_MODELS_DIR) -> str | None:
    """Return the path or URL of the checkpoint that ``spec`` names.

    ``spec`` is a path (a file, or a folder with a checkpoint), a URL, or a name in the registry
    (:func:`model_in`), tried in this order. None means the model that has the ``role``: the result is then the path
    that the role's link leads to, so that a job keeps its model when the role passes to another, or None if no model
    has the role. Raises ModelError naming the nearest names, or the link that leads nowhere.
    """
    if spec is None:
        return _find_by_role(role, models_dir)
    if "://" in spec:
        return spec
    path = Path(spec)
    if _exists(path):
        return str(checkpoint_in(path))
    named = model_in(models_dir, spec)
    if not _is_hidden(spec) and (_is_flat(named) or has_checkpoint(named)):
        return str(checkpoint_in(named))
    raise ModelError(
        f"no model {spec!r}: neither a file nor a name in {models_dir}", _suggest(spec, models_dir)
    )


def named_model(name: str, models_dir: Path) -> str:
    """Return the path or URL of the checkpoint for a command about the registry itself.

    ``name`` is a role, a name in the registry, a path or a URL, tried in this order: unlike in :func:`resolve_model`, a
    folder of the same name in the working directory does not come first. Raises ModelError.
    """
    if name in ROLES:
        path = _find_by_role(name, models_dir)
        if path is None:
            raise ModelError(f"no model has the role {name}", f"lvm-batch models promote NAME --role {name}")
        return path
    if is_plain(name) and _exists(named := model_in(models_dir, name)):
        return str(checkpoint_in(named))
    if "://" not in name and not _exists(Path(name)):
        check_models_dir(models_dir)
    return str(resolve_model(name, role="", models_dir=models_dir))


def is_plain(name: str) -> bool:
    """Return whether a text can be a name in a registry: one part of a path, and not hidden."""
    return Path(name).name == name and not _is_hidden(name)


def role_path(role: str, models_dir: Path) -> Path:
    """Return the path of the role's link, beside the folder of models."""
    if models_dir.name in {"", ".."}:  # the text of `.` and `..` does not show the parent
        models_dir = Path(os.path.abspath(models_dir))  # noqa: PTH100 - resolve() would follow links
    return models_dir.parent / role


def role_target(role: str, models_dir: Path) -> Path | None:
    """Return the target of the role's link, relative to the link's folder; None if there is no link.

    A folder or a checkpoint in the link's place is its own target. Raises ModelError for a text file without a path.
    """
    link = role_path(role, models_dir)
    try:
        found = link.lstat()  # exists() and the like hide every error from Python 3.14 on
        if stat.S_ISLNK(found.st_mode):
            return link.readlink()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_POINTER_BYTES:
            return Path(link.name)
        return _read_pointer(link.read_bytes(), link)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise read_error(link, error) from error


def checkpoint_in(path: Path) -> Path:
    """Return a folder's checkpoint, or a file itself. Raises ModelError if there is none."""
    places = [path / file for file in CHECKPOINT_FILES] if path.is_dir() else [path]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        names = " or ".join(CHECKPOINT_FILES)
        raise ModelError(
            f"no {names} in {path}", f"name the checkpoint itself, or a folder that holds a {names}"
        )
    return found


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a folder with a checkpoint at a path."""
    return any(_exists(folder / file) for file in CHECKPOINT_FILES)


def folder_of_checkpoint(path: Path) -> Path:
    """Return the folder whose checkpoint a file is; the path itself if it is none's, or another file there counts."""
    if path.name not in CHECKPOINT_FILES:
        return path
    before = CHECKPOINT_FILES[: CHECKPOINT_FILES.index(path.name)]
    return path if any(_exists(path.parent / file) for file in before) else path.parent


def read_error(path: Path, error: OSError) -> ModelError:
    """Return the error for something of a registry that cannot be read."""
    return ModelError(f"{path} cannot be read: {error.strerror}", "check access to it")


def _find_by_role(role: str, models_dir: Path) -> str | None:
    target = role_target(role, models_dir)
    if target is None:
        return None
    link = role_path(role, models_dir)
    path = link.parent / target
    if not _exists(path):
        raise ModelError(
            f"{link} leads to {target}, which does not exist",
            f"give the role to an existing model (lvm-batch models promote NAME --role {role}), or name a model",
        )
    return str(checkpoint_in(path))


def _read_pointer(content: bytes, link: Path) -> Path:
    """Return the path in a pointer file of one line. Raises ModelError for any other content."""
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


def _suggest(spec: str, models_dir: Path) -> str:
    names = list_models(models_dir)
    others = f"models there: {', '.join(names) or 'none'}; a path or a URL works too"
    return did_you_mean(spec, names, most=3) or others
