"""Where models lie by name and by role.

    <models_dir>/<name>/best_model.pt
    <models_dir>/../production_model -> models/<name>      the roles, as symlinks
    <models_dir>/../fallback_model   -> models/<name>

The one rule: a model that was asked for is found or refused, never replaced by another. Does not open a
checkpoint, and does not reach the network: a URL is passed on.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from lvm_batch.lvm.errors import ModelError

DEFAULT_MODELS_DIR = Path("artifacts/lvm/models")
ROLES = ("production_model", "fallback_model")
_FILE = "best_model.pt"


def list_models(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the models in a registry, sorted; none where there is no such folder."""
    return tuple(sorted(found.parent.name for found in models_dir.glob(f"*/{_FILE}")))


def resolve_model(spec: str | None, *, role: str, models_dir: Path = DEFAULT_MODELS_DIR) -> str | None:
    """Find the checkpoint that ``spec`` means, and return its path or URL.

    ``spec`` is a path (a file, or a folder holding ``best_model.pt``), a URL, or a name in the registry,
    looked for in this order. None means the model that has the ``role``: the result is None where no model
    has it. Raises ModelError naming the nearest names, or the link that leads nowhere.
    """
    if spec is None:
        return _with_role(models_dir.parent / role)
    if "://" in spec:
        return spec
    path = Path(spec)
    if path.exists():
        return str(_in(path))
    named = models_dir / spec / _FILE
    if named.is_file():
        return str(named)
    raise ModelError(
        f"no model {spec!r}: neither a file nor a name in {models_dir}", _nearest(spec, models_dir)
    )


def _with_role(link: Path) -> str | None:
    if link.exists():
        return str(_in(link))
    if link.is_symlink():
        message = f"{link} leads to {link.readlink()}, which is not there"
        raise ModelError(message, "point the link at a folder of the registry, or name a model")
    return None


def _in(path: Path) -> Path:
    """Return a file itself, and a folder's checkpoint."""
    found = path / _FILE if path.is_dir() else path
    if not found.is_file():
        raise ModelError(
            f"no {_FILE} in {path}", f"name the checkpoint itself, or a folder that holds a {_FILE}"
        )
    return found


def _nearest(spec: str, models_dir: Path) -> str:
    names = list_models(models_dir)
    near = difflib.get_close_matches(spec, names, n=3, cutoff=0.4)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"models there: {', '.join(names) or 'none'}; a path or a URL does as well"
