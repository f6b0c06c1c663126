"""Finds the router that settings name, and checks that it was fitted on the models of the job.

The rule: a router is used with the very files that it was fitted on, and never with others; no torch is needed to tell.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from lvm_batch.io.storage.locations import locate, read_file
from lvm_batch.jobs.models.facts import RouterRef
from lvm_batch.lvm.errors import RouterError
from lvm_batch.lvm.inference.router_file import RouterFile, read_router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.checks import Checks
    from lvm_batch.lvm.inference.gain_router import GainRouter

_FIT_AGAIN = (
    "fit one for these models, on rows that they were not trained on: lvm-batch evaluate … --calibrate"
)


class DigestedModel(Protocol):
    """A model whose file is known; its sizes as far as they can be."""

    @property
    def name(self) -> str:
        """Its path, or the name by which messages call it."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of its file."""

    @property
    def dim(self) -> int | None:
        """The components of its vectors."""

    @property
    def length(self) -> int | None:
        """The vectors in its contexts."""


def find_router(
    path: str | None, primary: DigestedModel | None, fallback: DigestedModel | None, *, checks: Checks
) -> RouterRef | None:
    """Read the router at ``path`` and record everything that is wrong with it or does not fit; ``None`` without one.

    ``primary`` is ``None`` if something is wrong with it already: the router is then checked by itself.
    """
    content = checks.run(lambda: read_file(path)) if path else None
    if path is None or content is None:
        return None
    router = checks.run(lambda: read_router(content, path))
    if router is None:
        return None
    if primary is not None:
        checks.errors.extend(_misfits(router, path, primary, fallback))
    return RouterRef(locate(path).text, hashlib.sha256(content).hexdigest())


def load_router(ref: RouterRef | None) -> GainRouter | None:
    """Load the router of a job on a worker; raises ``RouterError`` if it has changed since the job was planned."""
    if ref is None:
        return None
    content = read_file(ref.path)
    if hashlib.sha256(content).hexdigest() != ref.sha256:
        raise RouterError(
            f"{ref.path} has changed since the job was planned",
            "do not change the router while a job runs",
        )
    return read_router(content, ref.path).router


def _misfits(
    file: RouterFile, path: str, primary: DigestedModel, fallback: DigestedModel | None
) -> Iterator[RouterError]:
    """Yield an error for each model that a router was not fitted on, or one for sizes that differ."""
    router = file.router
    for what, takes, has in (
        ("vectors of {} components", router.dim, primary.dim),
        ("contexts of {} vectors", router.length, primary.length),
    ):
        if has is not None and has != takes:
            yield RouterError(
                f"the router {path} takes {what.format(takes)}, but the model {primary.name} takes {what.format(has)}",
                _FIT_AGAIN,
            )
            return
    if fallback is None:
        yield RouterError(
            f"the router {path} chooses rows for a fallback, but neither --fallback nor a role names one",
            "give --fallback CKPT, the model that the router was fitted to, or leave out --router",
        )
    for what, fitted, model in (
        ("primary model", file.primary, primary),
        ("fallback", file.fallback, fallback),
    ):
        if model is not None and model.sha256 != fitted:
            yield RouterError(
                f"the router {path} was fitted to another {what}: {fitted[:12]}, but {model.name} is "
                f"{model.sha256[:12]}",
                _FIT_AGAIN,
            )
