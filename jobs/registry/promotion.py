"""A role passes to another model, and back.

The rule: no model gets a role unverified, and none gets one back that is not the file it was; who had a role before is
in the log as soon as the role has passed.
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
from lvm_batch.lvm.registry.roles import Held, check_replaceable, digest_of, folder_of, give_role, holder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from lvm_batch.jobs.registry.candidate import Asked
    from lvm_batch.jobs.registry.verify_model import Verified
    from lvm_batch.lvm.registry.role_log import RoleLog


@dataclass(frozen=True, slots=True)
class Signature:
    """What stands in the log beside a change: when it was (UTC, ISO 8601), who did it, with which version."""

    at: str
    by: str
    version: str

    @classmethod
    def now(cls) -> Signature:
        """Who acts, and when: called once, at the edge."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(at, f"{_user()}@{socket.gethostname()}", version("lvm-batch"))

    def change(
        self,
        action: str,
        role: str,
        before: Held | None,
        after: Held,
        cosine: Mapping[str, Any] | None,
    ) -> RoleChange:
        """Return a change, signed."""
        return RoleChange(
            at=self.at,
            by=self.by,
            version=self.version,
            action=action,
            role=role,
            before=before,
            after=after,
            cosine=cosine,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a role: who has it, who had it before, and what was found of the new one, if it was verified.

    ``error`` is why nothing was changed though it should have been; ``role`` is None where it is not known for which.
    """

    role: str | None
    before: Held | None
    now: Held | None
    verified: Verified | None = None
    error: JobError | None = None

    @property
    def changed(self) -> bool:
        """Whether the role has passed on."""
        return self.before != self.now

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        found = self.verified.values() if self.verified else {}
        return {
            **found,
            "role": self.role,
            "from": _values(self.before),
            "to": _values(self.now),
            "changed": self.changed,
        }

    def text(self) -> str:
        """Return it in lines."""
        lines = [self.verified.text()] if self.verified else []
        return "\n".join([*lines, self._ending()])

    def _ending(self) -> str:
        if self.role is None:
            return "no role was changed"
        if not self.changed:
            return f"{self.role} is {_named(self.now) if self.now else 'nobody'}, as before"
        was = f"it was {_named(self.before)}" if self.before else "nobody had it"
        return f"{self.role} is now {_named(self.now) if self.now else 'nobody'}; {was}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have a number alone
        return str(os.getuid())


def promote(name: str, asked: Asked, *, signature: Signature) -> Outcome:
    """Verify the model ``name``, and give it the role, the one that takes its architecture by default, if it passes.

    Nothing is changed where it has the role already, or fails: then the outcome holds the error. Raises ``TryAgain``
    where another process is changing roles, ``UsageError`` where the model is not in the registry or no role takes it,
    ``DataError`` where something cannot be read, and ``ModelError`` where role or log cannot be used or written.
    """
    from lvm_batch.jobs.registry.candidate import check_promotable, find_candidate
    from lvm_batch.jobs.registry.verify_model import verify_candidate

    models_dir = asked.models_dir
    with _alone(models_dir) as log:
        candidate = find_candidate(name, asked)
        check_promotable(candidate, models_dir)
        role, after = candidate.role, Held(candidate.name, candidate.sha256)
        before = _before(after, role, models_dir, log) if role else None
        if before == after:
            return Outcome(role, before, after)
        verified = verify_candidate(candidate, asked)
        if verified.error or role is None:
            return Outcome(role, before, before, verified, verified.error)
        cosine = verified.cosines.values() if verified.cosines else None
        _pass_on(log, models_dir, signature.change(PROMOTE, role, before, after, cosine))
        return Outcome(role, before, after, verified)


def rollback(role: str, models_dir: Path, *, signature: Signature) -> Outcome:
    """Give the role back to the model that had it before who has it now.

    Raises ``TryAgain`` where another process is changing roles, ``JobError`` where the log knows nobody before, or that
    model is not there as it was, and ``ModelError`` where role or log cannot be used or written.
    """
    with _alone(models_dir) as log:
        check_replaceable(role, models_dir)
        now = holder(role, models_dir)
        before = previous_holder(log.changes(), role, now=now)
        if before is None:
            raise JobError(
                f"nobody is known to have had {role}" + (f" before {now.name}" if now else ""),
                f"give it to a model by name: lvm-batch models promote NAME --role {role}",
            )
        _check_unchanged(before, role, models_dir)
        _pass_on(log, models_dir, signature.change(ROLLBACK, role, now, before, None))
        return Outcome(role, now, before)


@contextmanager
def _alone(models_dir: Path) -> Iterator[RoleLog]:
    """Open the log of roles, so that this process alone changes roles meanwhile."""
    check_models_dir(models_dir)
    with ExitStack() as held:
        try:
            log = held.enter_context(open_role_log(models_dir))
        except BlockingIOError as error:
            raise TryAgain(
                f"another process is changing the roles beside {models_dir}", "try again when it has ended"
            ) from error
        yield log


def _before(after: Held, role: str, models_dir: Path, log: RoleLog) -> Held | None:
    """Return who has the role now; this model itself, written anew since it got the role, as what it was then."""
    check_replaceable(role, models_dir)
    now = holder(role, models_dir)
    changes = [change for change in log.changes() if change.role == role]
    if now == after and changes and changes[-1].after.name == after.name:
        return changes[-1].after
    return now


def _check_unchanged(held: Held, role: str, models_dir: Path) -> None:
    found = digest_of(folder_of(held, models_dir))
    if found is None or found != held.sha256:
        was = f"sha256 {(held.sha256 or 'unknown')[:12]}"
        state = (
            "is not there any more" if found is None else f"has been changed: its sha256 is {found[:12]} now"
        )
        raise JobError(
            f"{held.name}, which had {role} before ({was}), {state}",
            f"put it back as it was, or promote one of: {', '.join(list_models(models_dir)) or 'none there'}",
        )


def _pass_on(log: RoleLog, models_dir: Path, change: RoleChange) -> None:
    """Set the link, then write the log; without the log, the link goes back to where it was."""
    give_role(change.role, change.after, models_dir)
    try:
        log.add(change)
    except OSError as error:
        give_role(change.role, change.before, models_dir)
        raise ModelError(
            f"{log_path(models_dir)} cannot be written: {error.strerror}; {change.role} is as it was",
            "check the disk, then try again",
        ) from error


def _values(held: Held | None) -> dict[str, str | None] | None:
    return None if held is None else {"name": held.name, "sha256": held.sha256}


def _named(held: Held) -> str:
    return f"{held.name} (sha256 {held.sha256[:12]})" if held.sha256 else held.name
