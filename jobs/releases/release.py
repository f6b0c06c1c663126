"""A release: a folder with the models of a run, and a document of all that they need to give the same routes.

    DIR/model.pt, fallback.pt   the checkpoints, as they were; or model.safetensors, fallback.safetensors
    DIR/router.json             the fitted router, if there is one
    DIR/release.json            their digests, the bank's digest, thresholds, what becomes of own contexts, figures,
                                version; written last

The rule: a release is used as it was made or not at all. A file that is missing or differs is named, before any work.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from lvm_batch.io.errors import DataError
from lvm_batch.io.storage.locations import read_file
from lvm_batch.jobs.errors import UsageError
from lvm_batch.lvm.inference.thresholds import OwnContext, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT = 1
"""Version of the document; a reader refuses any other."""

DOCUMENT, MODEL, FALLBACK, ROUTER = "release.json", "model", "fallback", "router.json"
SUFFIXES = (".pt", ".safetensors")
"""The ends of a checkpoint's name, which say its form."""

_MAKE = "lvm-batch models release NAME --output DIR makes one"
_REMAKE = f"copy it again, or make another: {_MAKE}"


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """A checkpoint of a release: its file there, the SHA-256 of its bytes, and its architecture."""

    file: str
    sha256: str
    architecture: str


@dataclass(frozen=True, slots=True)
class ReleasedRouter:
    """The fitted router of a release: its file there, and the SHA-256 of its bytes."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ReleasedBank:
    """The bank that a release was judged with: its digest, its vectors and their width. It is not in the release."""

    digest: str
    vectors: int
    dim: int


@dataclass(frozen=True, slots=True)
class Release:
    """The document of a release. ``metrics`` are figures of an evaluation, None if none was given.

    ``version`` is that of lvm-batch, ``created`` the time in UTC (ISO 8601), ``name`` the model's name in its registry.
    """

    name: str
    version: str
    created: str
    model: ReleasedModel
    fallback: ReleasedModel | None
    bank: ReleasedBank | None
    thresholds: Thresholds
    metrics: Mapping[str, Any] | None = None
    own_context: OwnContext = "drop"
    router: ReleasedRouter | None = None

    @property
    def files(self) -> tuple[ReleasedModel | ReleasedRouter, ...]:
        """The models and the router that are in it."""
        return tuple(each for each in (self.model, self.fallback, self.router) if each is not None)

    def values(self) -> dict[str, Any]:
        """Return the document as plain values."""
        return {"format": FORMAT, **asdict(self)}


def place_in(path: str, name: str) -> str:
    """Return the path or URL of a file of the release at ``path``."""
    return f"{path.rstrip('/')}/{name}"


def read_release(path: str) -> Release:
    """Read the document of the release at ``path``, a folder or URL; raises ``UsageError``."""
    try:
        content = read_file(place_in(path, DOCUMENT))
    except DataError as error:
        raise UsageError(f"{path} is not a release: {error.args[0]}", _MAKE) from error
    try:
        values = json.loads(content)
        found = values.get("format")
        release = _parsed(values) if found == FORMAT else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{place_in(path, DOCUMENT)} is damaged: it is not the document of a release", _REMAKE
        ) from error
    if release is None:
        raise UsageError(
            f"{path} is a release of the format {found!r}, and this version of lvm-batch reads {FORMAT}",
            "use the version of lvm-batch that made it, or make it again with this one",
        )
    return release


def differing_files(release: Release, path: str) -> Iterator[UsageError]:
    """Yield an error for each file that is missing, or is not the one that was released."""
    for each in release.files:
        place = place_in(path, each.file)
        try:
            sha256 = hashlib.sha256(read_file(place)).hexdigest()
        except DataError as error:
            yield UsageError(f"the release {path} lacks a file: {error.args[0]}", _REMAKE)
            continue
        if sha256 != each.sha256:
            yield UsageError(
                f"{place} has changed since the release was made: its sha256 is {sha256[:12]}, not "
                f"{each.sha256[:12]}",
                _REMAKE,
            )


def _parsed(values: dict[str, Any]) -> Release:
    """Return the release of a document; raises one of several errors for another document."""
    bounds = values["thresholds"]
    lanes = tuple(map(_text, bounds["high_stakes_lanes"]))
    return Release(
        name=_text(values["name"]),
        version=_text(values["version"]),
        created=_text(values["created"]),
        model=_model(values["model"], MODEL),
        fallback=_model(values["fallback"], FALLBACK) if values["fallback"] is not None else None,
        bank=_bank(values["bank"]) if values["bank"] is not None else None,
        thresholds=Thresholds(
            min_confidence=float(bounds["min_confidence"]),
            min_margin=float(bounds["min_margin"]),
            max_context_tokens=int(bounds["max_context_tokens"]),
            high_stakes_lanes=lanes,
        ),
        metrics=values["metrics"],
        own_context=_own_context(values.get("own_context", "drop")),
        router=_router(values["router"]) if values.get("router") is not None else None,
    )


def _model(values: dict[str, Any], stem: str) -> ReleasedModel:
    file = values["file"]
    if file not in {stem + suffix for suffix in SUFFIXES}:  # a path could lead out of the release
        raise ValueError(file)
    return ReleasedModel(file, _text(values["sha256"]), _text(values["architecture"]))


def _router(values: dict[str, Any]) -> ReleasedRouter:
    if values["file"] != ROUTER:  # a path could lead out of the release
        raise ValueError(values["file"])
    return ReleasedRouter(ROUTER, _text(values["sha256"]))


def _own_context(value: object) -> OwnContext:
    if value not in get_args(OwnContext):
        raise ValueError(value)
    return "keep" if value == "keep" else "drop"


def _bank(values: dict[str, Any]) -> ReleasedBank:
    return ReleasedBank(_text(values["digest"]), int(values["vectors"]), int(values["dim"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
