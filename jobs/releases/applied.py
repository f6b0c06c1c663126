"""The settings of a run, or a service, with a release: what the release sets, and what may not be said beside it.

The rule: a run with a release is the same job as one with its models, its bank, its router and its thresholds given one
by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.releases.release import Release
    from lvm_batch.jobs.settings.sources import ResolvedSettings

Kind = TypeVar("Kind", bound=RunSettings)

_FILES = ("model", "fallback", "router")
_ITS_REGISTRY = "models"


def with_release(resolved: ResolvedSettings[Kind]) -> Kind:
    """Return the settings with what ``--release`` sets, or as they are without one.

    Raises ``UsageError``, ``DataError`` for a bank that cannot be read or, for several problems, ``SettingsError``.
    """
    settings = resolved.settings
    if settings.release is None:
        return settings
    from lvm_batch.jobs.releases.release import differing_files, read_release

    release = read_release(settings.release)
    checks = Checks()
    checks.errors.extend(_contradictions(resolved, release))
    checks.errors.extend(differing_files(release, settings.release))
    checks.run(lambda: _check_bank(settings, release))
    checks.raise_all()
    return settings.model_copy(update={**_places(settings.release, release), **_values(release)})


def _values(release: Release) -> dict[str, Any]:
    """Return the thresholds, and what becomes of own contexts, by the names of their settings."""
    bounds = release.thresholds
    return {
        "min_confidence": bounds.min_confidence,
        "min_margin": bounds.min_margin,
        "max_context_tokens": int(bounds.max_context_tokens),
        "high_stakes_lane": bounds.high_stakes_lanes,
        "own_context": release.own_context,
    }


def _places(path: str, release: Release) -> dict[str, str | None]:
    """Return where its files are; without a fallback no role may bring one in, so the release is its own registry."""
    from lvm_batch.jobs.releases.release import place_in

    return {
        "model": place_in(path, release.model.file),
        "fallback": place_in(path, release.fallback.file) if release.fallback else None,
        "router": place_in(path, release.router.file) if release.router else None,
        "models_dir": place_in(path, _ITS_REGISTRY),
    }


def _contradictions(resolved: ResolvedSettings[Kind], release: Release) -> Iterator[UsageError]:
    """Yield an error for each setting that is given beside the release and says something else."""
    settings, path = resolved.settings, resolved.settings.release
    for name, value in {**dict.fromkeys(_FILES), **_values(release)}.items():
        if resolved.origins[name] == "default" or (name not in _FILES and getattr(settings, name) == value):
            continue
        sets = _brings(release) if name in _FILES else f"sets {name} to {_spelled(value)}"
        yield UsageError(
            f"{resolved.places[name]} contradicts the release {path}, which {sets}",
            f"leave out {resolved.places[name]}, or leave out --release",
        )


def _brings(release: Release) -> str:
    return "brings its models and its router" if release.router else "brings its models, and no router"


def _check_bank(settings: RunSettings, release: Release) -> None:
    """Raise ``UsageError`` unless the bank is the one that the release was made with."""
    from lvm_batch.io.bank.bank import open_bank
    from lvm_batch.io.storage.locations import locate

    path, wanted = settings.release, release.bank
    if wanted is None:
        if settings.bank is not None:
            raise UsageError(
                f"the release {path} was made without a bank, but {settings.bank} would change its routes",
                "leave out --bank, or make the release with it: lvm-batch models release NAME --bank BANK",
            )
        return
    which = f"the bank of {plural(wanted.vectors, 'vector')} with the digest {wanted.digest[:12]}"
    if settings.bank is None:
        raise UsageError(f"the release {path} needs {which}", "give --bank PATH")
    found = open_bank(locate(settings.bank).text, with_index=False)
    if found.digest != wanted.digest:
        raise UsageError(
            f"{settings.bank} is not {which}, with which the release {path} was made: its digest is "
            f"{found.digest[:12]}",
            "give that bank as --bank, or make a release with this one: lvm-batch models release NAME --bank BANK",
        )


def _spelled(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
