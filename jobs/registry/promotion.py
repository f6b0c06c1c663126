"""Gives a role to another model, and gives it back.

The rule: a model gets a role only if it is verified, and gets one back only if its file is unchanged. Every change of
a role is in the log.
"""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.errors import JobError, TryAgain
from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import check_models_dir, list_models
from lvm_batch.lvm.registry.role_log import (
    PROMOTE,
    ROLLBACK,
    RoleChange,
    log_path,
    open_role_log,
    previous_holder,
)
from lvm_batch.lvm.registry.roles import (
    RoleHolder,
    check_replaceable,
    digest_of,
    give_role,
    holder,
    place_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lvm_batch.jobs.registry.candidate import VerificationRequest
    from lvm_batch.jobs.registry.verification_result import VerificationResult
    from lvm_batch.lvm.registry.role_log import RoleLog

_JUDGED = ("cosine", "seen", "retrieval")
"""The figures of a verification that the log keeps."""


@dataclass(frozen=True, slots=True)
class Signature:
    """When a role was changed (UTC, ISO 8601), by whom, and with which version; the log keeps it with the change."""

    at: str
    by: str
    version: str

    @classmethod
    def now(cls) -> Signature:
        """Return the current user and time; called once, at the edge."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(at, f"{_user()}@{socket.gethostname()}", version("lvm-batch"))

    def change(
        self,
        action: str,
        role: str,
        before: RoleHolder | None,
        after: RoleHolder,
        figures: Mapping[str, Any] | None = None,
    ) -> RoleChange:
        """Return a signed change; ``figures`` are those of its verification."""
        return RoleChange(
            at=self.at,
            by=self.by,
            version=self.version,
            action=action,
            role=role,
            before=before,
            after=after,
            **{name: (figures or {}).get(name) for name in _JUDGED},
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a promotion or a rollback: the model that has the role now, and the one that had it before.

    ``verified`` is the result of the checks, if they ran. ``error`` says why the role could not be changed. ``role`` is
    None if it is unknown which role was meant.
    """

    role: str | None
    before: RoleHolder | None
    now: RoleHolder | None
    verified: VerificationResult | None = None
    error: JobError | None = None

    @property
    def changed(self) -> bool:
        """Whether another model has the role now."""
        return self.before != self.now

    def values(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            **(self.verified.values() if self.verified else {}),
            "role": self.role,
            "from": _values(self.before),
            "to": _values(self.now),
            "changed": self.changed,
        }

    def text(self) -> str:
        """Return the outcome as lines of text."""
        lines = [self.verified.text()] if self.verified else []
        return "\n".join([*lines, self._last_line()])

    def _last_line(self) -> str:
        if self.role is None:
            return "no role was changed"
        if not self.changed:
            return f"{self.role} is {_name(self.now) if self.now else 'no model'}, as before"
        was = f"it was {_name(self.before)}" if self.before else "there was no previous model"
        return f"{self.role} is now {_name(self.now) if self.now else 'no model'}; {was}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user in a container may have no name
        return str(os.getuid())


def promote(name: str, request: VerificationRequest, *, signature: Signature) -> Outcome:
    """Verify the model ``name`` and, if it passes, give it the role; by default the one that accepts its architecture.

    Nothing changes if the model has the role already, when it is verified only for gates, or if it fails; then the
    outcome holds the error. Raises ``TryAgain`` if another process is changing roles, ``UsageError`` if the model is
    not in the registry or no role accepts it, ``DataError`` if something cannot be read, and ``ModelError`` if the role
    or the log cannot be used or written.
    """
    from lvm_batch.jobs.registry.candidate import check_promotable, find_candidate
    from lvm_batch.jobs.registry.verify_model import verify_candidate

    models_dir = request.models_dir
    with _locked_log(models_dir) as log:
        candidate = find_candidate(name, request)
        check_promotable(candidate, models_dir)
        role, after = candidate.role, RoleHolder(candidate.name, candidate.sha256)
        before = _current_holder(after, role, models_dir, log) if role else None
        if before == after and not request.gates.are_set:
            return Outcome(role, before, after)
        verified = verify_candidate(candidate, request)
        if verified.error or role is None or before == after:
            return Outcome(role, before, before, verified, verified.error)
        _change_role(log, models_dir, signature.change(PROMOTE, role, before, after, verified.values()))
        return Outcome(role, before, after, verified)


def rollback(role: str, models_dir: Path, *, signature: Signature) -> Outcome:
    """Give the role back to the previous model.

    Raises ``TryAgain`` if another process is changing roles, ``JobError`` if the log has no previous model or its file
    is missing or changed, and ``ModelError`` if the role or the log cannot be used or written.
    """
    with _locked_log(models_dir) as log:
        check_replaceable(role, models_dir)
        now = holder(role, models_dir)
        before = previous_holder(log.changes(), role, now=now)
        if before is None:
            raise JobError(
                f"no earlier model of {role} is known" + (f" before {now.name}" if now else ""),
                f"choose a model for it: lvm-batch models promote NAME --role {role}",
            )
        _check_unchanged(before, role, models_dir)
        _change_role(log, models_dir, signature.change(ROLLBACK, role, now, before))
        return Outcome(role, now, before)


@contextmanager
def _locked_log(models_dir: Path) -> Iterator[RoleLog]:
    """Open and lock the log of roles, so that no other process changes roles meanwhile."""
    check_models_dir(models_dir)
    with ExitStack() as stack:
        try:
            log = stack.enter_context(open_role_log(models_dir))
        except BlockingIOError as error:
            raise TryAgain(
                f"another process is changing the roles beside {models_dir}",
                "wait until it ends, then try again",
            ) from error
        yield log


def _current_holder(after: RoleHolder, role: str, models_dir: Path, log: RoleLog) -> RoleHolder | None:
    """Return the model that has the role; if it is ``after``, then with its digest in the log: it may be rewritten."""
    check_replaceable(role, models_dir)
    now = holder(role, models_dir)
    changes = [change for change in log.changes() if change.role == role]
    if now == after and changes and changes[-1].after.name == after.name:
        return changes[-1].after
    return now


def _check_unchanged(model: RoleHolder, role: str, models_dir: Path) -> None:
    sha256 = digest_of(place_of(model, models_dir))
    if sha256 is None or sha256 != model.sha256:
        was = f"sha256 {(model.sha256 or 'unknown')[:12]}"
        state = "no longer exists" if sha256 is None else f"has been changed: its sha256 is {sha256[:12]} now"
        raise JobError(
            f"{model.name}, which had {role} before ({was}), {state}",
            f"restore the file, or promote one of: {', '.join(list_models(models_dir)) or 'none there'}",
        )


def _change_role(log: RoleLog, models_dir: Path, change: RoleChange) -> None:
    """Set the link, then write the log; if the log cannot be written, set the link back."""
    give_role(change.role, change.after, models_dir)
    try:
        log.add(change)
    except OSError as error:
        give_role(change.role, change.before, models_dir)
        raise ModelError(
            f"{log_path(models_dir)} cannot be written: {error.strerror}; {change.role} is unchanged",
            "check the disk, then try again",
        ) from error


def _values(model: RoleHolder | None) -> dict[str, str | None] | None:
    return None if model is None else {"name": model.name, "sha256": model.sha256}


def _name(model: RoleHolder) -> str:
    return f"{model.name} (sha256 {model.sha256[:12]})" if model.sha256 else model.name
