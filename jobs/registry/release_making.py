"""Makes a release of a model: its checkpoint and its fallback's, with all that a run needs to route by them.

The rule: everything is read and checked before anything is written, and the document that makes a folder a release is
written last.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvm_batch.io.bank.bank import open_bank
from lvm_batch.io.errors import OutputError
from lvm_batch.io.storage.locations import locate, read_file
from lvm_batch.jobs.checks import Checks
from lvm_batch.jobs.console.text import as_lines, format_number, plural
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.models.facts import FALLBACK_ARCHITECTURES, PRIMARY_ARCHITECTURES
from lvm_batch.jobs.models.fit import check_architecture, misfits
from lvm_batch.jobs.models.router import find_router
from lvm_batch.jobs.output_folder import as_json, check_output_folder, make_output_folder, write_files
from lvm_batch.jobs.releases.release import (
    DOCUMENT,
    FALLBACK,
    MODEL,
    ROUTER,
    SUFFIXES,
    Release,
    ReleasedBank,
    ReleasedModel,
    ReleasedRouter,
)
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint
from lvm_batch.lvm.checkpoints.file_kinds import is_safetensors
from lvm_batch.lvm.errors import RouterError
from lvm_batch.lvm.registry.registry import ROLES, named_model, resolve_model
from lvm_batch.lvm.registry.roles import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.bank.bank import Bank
    from lvm_batch.jobs.models.facts import RouterRef
    from lvm_batch.jobs.settings.run import RunSettings
    from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint

_FIGURES = ("cosine", "interval", "over_mean", "by_split", "direction", "retrieval", "recall", "seen")
"""What a release keeps of an evaluation's figures of a model."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A checkpoint as it was read, with its bytes."""

    checkpoint: Checkpoint
    content: bytes

    def released(self, stem: str) -> ReleasedModel:
        file = stem + SUFFIXES[is_safetensors(self.content)]
        return ReleasedModel(file, self.checkpoint.sha256, self.checkpoint.architecture)


def make_release(
    name: str, settings: RunSettings, *, output: str, models_dir: Path, evaluation: Path | None
) -> tuple[dict[str, Any], str]:
    """Write the release of the model ``name`` to the folder ``output``; return it as values and as text.

    The fallback, the bank, the router and the thresholds are those of the settings. ``evaluation`` is the file of an
    evaluation of the same model. Raises ``UsageError``, ``ModelError``, ``DataError`` or, for several problems,
    ``SettingsError``.
    """
    checks = Checks()
    checks.run(lambda: _check_output(output))
    model = checks.run(lambda: _read(named_model(name, models_dir), PRIMARY_ARCHITECTURES, "a release"))
    fallback = checks.run(lambda: _fallback(settings, models_dir))
    bank = checks.run(
        lambda: open_bank(locate(settings.bank).text, with_index=False) if settings.bank else None
    )
    if model is None:
        raise checks.all_errors()
    checks.errors.extend(misfits(model.checkpoint, fallback.checkpoint if fallback else None, bank))
    router = find_router(
        settings.router, model.checkpoint, fallback.checkpoint if fallback else None, checks=checks
    )
    metrics = checks.run(lambda: _metrics(evaluation, model, fallback, bank)) if evaluation else None
    checks.raise_all()
    release = Release(
        name=name_of(Path(model.checkpoint.name), models_dir),
        version=version("lvm-batch"),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model.released(MODEL),
        fallback=fallback.released(FALLBACK) if fallback else None,
        bank=ReleasedBank(bank.digest, len(bank.vectors), bank.dim) if bank else None,
        thresholds=settings.thresholds,
        metrics=metrics,
        own_context=settings.own_context,
        router=ReleasedRouter(ROUTER, router.sha256) if router else None,
    )
    files = {
        released.file: read.content
        for released, read in ((release.model, model), (release.fallback, fallback))
        if released and read
    }
    if router:
        files[ROUTER] = _router_content(router)
    folder = make_output_folder(output, what="a release")
    write_files(folder, {**files, DOCUMENT: as_json(release.values())})
    return release.values() | {"path": str(folder)}, _text(release, folder, settings)


def _check_output(output: str) -> None:
    """Raise ``OutputError`` if a release cannot be written there, or would be written over something."""
    check_output_folder(output, what="a release")
    files = [stem + suffix for stem in (MODEL, FALLBACK) for suffix in SUFFIXES]
    taken = [name for name in (DOCUMENT, ROUTER, *files) if Path(output, name).exists()]
    if taken:
        raise OutputError(f"{output} already holds {', '.join(taken)}", "give --output another folder")


def _read(path: str, allowed: tuple[str, ...], what: str) -> _Read:
    content = read_file(path)
    checkpoint = load_checkpoint(content, path)
    check_architecture(path, checkpoint.architecture, allowed, what)
    return _Read(checkpoint, content)


def _router_content(router: RouterRef) -> bytes:
    content = read_file(router.path)
    if hashlib.sha256(content).hexdigest() != router.sha256:
        raise RouterError(f"{router.path} was changed while the release was made", "make it again")
    return content


def _fallback(settings: RunSettings, models_dir: Path) -> _Read | None:
    path = resolve_model(settings.fallback, role=ROLES[1], models_dir=models_dir)
    return None if path is None else _read(path, FALLBACK_ARCHITECTURES, "--fallback")


def _metrics(path: Path, model: _Read, fallback: _Read | None, bank: Bank | None) -> dict[str, Any]:
    """Return the figures of the models; raises ``UsageError`` if the evaluation is not of this model or this bank."""
    hint = "lvm-batch evaluate DATASET --model NAME --output DIR writes DIR/evaluation.json"
    try:
        values = json.loads(read_file(str(path)))
        by_digest = {judged["sha256"]: judged for judged in values["models"]}
        of_bank = values["bank"] and values["bank"]["digest"]
        judged_on = {name: values[name] for name in ("version", "dataset", "rows")}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"--evaluation {path} is not an evaluation", hint) from error
    sha256 = model.checkpoint.sha256
    if sha256 not in by_digest:
        raise UsageError(
            f"--evaluation {path} did not evaluate {model.checkpoint.name} in its present state (sha256 "
            f"{sha256[:12]})",
            hint,
        )
    if bank and of_bank and of_bank != bank.digest:
        raise UsageError(
            f"--evaluation {path} used a bank with the digest {of_bank[:12]}, but the digest of {bank.path} is "
            f"{bank.digest[:12]}",
            "give that bank as --bank, or evaluate with this one",
        )
    of_fallback = by_digest.get(fallback.checkpoint.sha256) if fallback else None
    return {
        **judged_on,
        "model": _figures(by_digest[sha256]),
        "fallback": _figures(of_fallback) if of_fallback else None,
    }


def _figures(judged: Mapping[str, Any]) -> dict[str, Any]:
    return {name: judged.get(name) for name in _FIGURES}


def _text(release: Release, folder: Path, settings: RunSettings) -> str:
    bounds, metrics = release.thresholds, release.metrics
    cosine = metrics["model"]["cosine"] if metrics else None
    bank = f" --bank {settings.bank}" if release.bank else ""
    lines = {
        "release": str(folder),
        "model": f"{release.name}, {_shown(release.model)}",
        "fallback": _shown(release.fallback) if release.fallback else "none: every row keeps the route amn",
        "bank": f"{plural(release.bank.vectors, 'vector')}, digest {release.bank.digest[:12]}"
        if release.bank
        else "none",
        "thresholds": f"confidence {bounds.min_confidence:g}, margin {bounds.min_margin:g}, "
        f"{bounds.max_context_tokens:g} context tokens, {len(bounds.high_stakes_lanes)} lanes",
        "own context": "left out" if release.own_context == "drop" else "kept",
        "router": f"sha256 {release.router.sha256[:12]}" if release.router else "none",
        "metrics": f"cosine {format_number(cosine)}" if metrics else "none: --evaluation gives them",
        "use it": f"lvm-batch run DATASET --release {folder}{bank} --output OUT",
    }
    return as_lines(lines, width=12)


def _shown(model: ReleasedModel) -> str:
    return f"{model.architecture}, sha256 {model.sha256[:12]}"
