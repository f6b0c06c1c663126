"""The models and banks at hand, and which of them fit the vectors of a dataset.

The rule: facts are read without torch. A model whose facts cannot be read so is listed as unknown, and fits nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import locate
from lvm_batch.lvm.checkpoints.checkpoint_facts import CheckpointFacts, read_facts
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import ROLES, list_models, resolve_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lvm_batch.io.schema import Layout, WindowShape
    from lvm_batch.jobs.settings.run import RunSettings

_PRIMARY = ("amn", "amn-mixer")
_FALLBACK = ("gru",)
_ANY = 0
_BANK_FILE = "bank.json"
_BANK_FOLDERS = (".", "artifacts/lvm", "artifacts/lvm/banks", "banks")


@dataclass(frozen=True, slots=True)
class ModelAtHand:
    """A model by the ``name`` that options take; ``roles`` are those it has, ``problem`` why it cannot be used."""

    name: str
    path: str
    architecture: str | None
    dim: int | None
    length: int | None
    fits: bool
    roles: tuple[str, ...] = ()
    problem: str = ""

    @property
    def is_primary(self) -> bool:
        """Whether ``--model`` takes it."""
        return self.architecture in _PRIMARY

    @property
    def is_fallback(self) -> bool:
        """Whether ``--fallback`` takes it."""
        return self.architecture in _FALLBACK


@dataclass(frozen=True, slots=True)
class BankAtHand:
    """A bank: its path, the vectors in it and their width."""

    path: str
    vectors: int | None
    dim: int | None
    fits: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AtHand:
    """All models and banks."""

    models: tuple[ModelAtHand, ...]
    banks: tuple[BankAtHand, ...]

    def as_dict(self) -> Mapping[str, object]:
        """Return them as plain values."""
        return {key: [asdict(one) for one in getattr(self, key)] for key in ("models", "banks")}

    def model(self, *, role: str) -> ModelAtHand | None:
        """Return the model that fits for a role: one that has it, else the first."""
        wanted = "is_primary" if role == ROLES[0] else "is_fallback"
        able = [model for model in self.models if model.fits and getattr(model, wanted)]
        return next((model for model in able if role in model.roles), next(iter(able), None))

    def holder(self, role: str) -> ModelAtHand | None:
        """Return the model that has a role, whether or not it fits."""
        return next((model for model in self.models if role in model.roles), None)

    @property
    def bank(self) -> BankAtHand | None:
        """The first bank that fits."""
        return next((bank for bank in self.banks if bank.fits), None)


def at_hand(settings: RunSettings, shape: WindowShape | None, *, layout: Layout | None) -> AtHand:
    """Look at the models and banks of the settings, of the folder of models, and in the usual places.

    ``shape`` is what they must fit; ``None`` if the dataset has no vectors.
    """
    if shape is not None and layout == "sequences":
        shape = replace(shape, length=_ANY)  # windows of any length slide over sequences
    return AtHand(tuple(_models(settings, shape)), tuple(_banks(settings, shape)))


def _models(settings: RunSettings, shape: WindowShape | None) -> Iterator[ModelAtHand]:
    folder = Path(settings.models_dir)
    given = [name for name in (settings.model, settings.fallback) if name]
    roles = _role_holders(folder)
    names = dict.fromkeys([*given, *list_models(folder)])
    for name in names:
        yield _model(name, folder, shape, roles)
    for path, held in roles.items():
        if not any(_same(path, folder, name) for name in names):
            yield _facts(path, path, shape, held)


def _role_holders(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the checkpoints that have roles."""
    holders: dict[str, tuple[str, ...]] = {}
    for role in ROLES:
        try:
            path = resolve_model(None, role=role, models_dir=folder)
        except ModelError:  # `models list` and a run say what is wrong with the link
            continue
        if path is not None:
            holders[path] = (*holders.get(path, ()), role)
    return holders


def _model(
    name: str, folder: Path, shape: WindowShape | None, roles: Mapping[str, tuple[str, ...]]
) -> ModelAtHand:
    try:
        path = str(resolve_model(name, role="", models_dir=folder))
    except ModelError as error:
        return ModelAtHand(name, name, None, None, None, fits=False, problem=str(error.args[0]))
    held = next((held for other, held in roles.items() if _is_file(other, path)), ())
    return _facts(name, path, shape, held)


def _same(path: str, folder: Path, name: str) -> bool:
    try:
        return _is_file(path, str(resolve_model(name, role="", models_dir=folder)))
    except ModelError:
        return False


def _is_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return one == other


def _facts(name: str, path: str, shape: WindowShape | None, roles: tuple[str, ...]) -> ModelAtHand:
    facts, problem = CheckpointFacts(), ""
    if locate(path).is_local:
        try:
            facts = read_facts(path)
        except (ModelError, OSError) as error:
            problem = str(error.args[0])
    fits = shape is not None and facts.dim == shape.dim and shape.length in {_ANY, facts.length}
    return ModelAtHand(name, path, facts.architecture, facts.dim, facts.length, fits, roles, problem)


def _banks(settings: RunSettings, shape: WindowShape | None) -> Iterator[BankAtHand]:
    given = [settings.bank] if settings.bank else []
    for path in dict.fromkeys([*given, *_bank_folders()]):
        try:
            bank = open_bank(locate(path).text)
        except DataError as error:
            yield BankAtHand(path, None, None, fits=False, problem=str(error.args[0]))
        else:
            fits = shape is not None and bank.dim == shape.dim
            yield BankAtHand(path, len(bank.vectors), bank.dim, fits)


def _bank_folders() -> Iterable[str]:
    """Return the folders in the usual places that hold a bank: here, and beside the models."""
    found = (place for folder in _BANK_FOLDERS for place in sorted(Path(folder).glob(f"*/{_BANK_FILE}")))
    return [str(place.parent) for place in found if _is_bank(place)]


def _is_bank(place: Path) -> bool:
    try:
        return bool({"dim", "digest"} <= json.loads(place.read_bytes()).keys())
    except (OSError, ValueError, AttributeError):
        return False
