"""The log of roles: which model had which role, and which model had it before.

    <models_dir>/../roles.jsonl      a line for each change, the newest last

The rule: lines are only added, by one process at a time. The links decide who has a role, even links changed by hand;
the log only records what came before.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lvm_batch.lvm.errors import ModelError
from lvm_batch.lvm.registry.registry import read_error, role_path
from lvm_batch.lvm.registry.roles import RoleHolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

LOG_FILE = "roles.jsonl"
PROMOTE, ROLLBACK = "promote", "rollback"


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One change: ``role`` passed from ``before`` (None: no previous model) to ``after``.

    ``at`` is the time in UTC (ISO 8601), ``by`` the user (user@host), ``version`` that of lvm-batch. ``cosine`` holds
    the figures by which the two models were compared, None if they were not compared; ``seen`` how many of the rows the
    new one was trained on, ``retrieval`` the figures of the gates of a release, both None if they were not judged.
    """

    at: str
    by: str
    action: str
    role: str
    before: RoleHolder | None
    after: RoleHolder
    cosine: Mapping[str, Any] | None
    version: str
    seen: Mapping[str, Any] | None = None
    retrieval: Mapping[str, Any] | None = None

    def as_line(self) -> str:
        """Return the change as one line of JSON."""
        values = {
            "at": self.at,
            "by": self.by,
            "action": self.action,
            "role": self.role,
            "from": _as_dict(self.before),
            "to": _as_dict(self.after),
            "cosine": None if self.cosine is None else dict(self.cosine),
            "seen": None if self.seen is None else dict(self.seen),
            "retrieval": None if self.retrieval is None else dict(self.retrieval),
            "version": self.version,
        }
        return json.dumps(values, allow_nan=False) + "\n"


class RoleLog:
    """An open log, locked against changes by other processes."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self._file = file
        self._path = path

    def changes(self) -> tuple[RoleChange, ...]:
        """Return all changes, the oldest first. Raises ModelError for a line that is no change."""
        self._file.seek(0)
        return _parse(self._file.read(), self._path)[0]

    def add(self, change: RoleChange) -> None:
        """Add a line durably, in place of an unfinished one that a crash left. Raises OSError."""
        self._file.seek(0)
        content = self._file.read()
        n_whole = _parse(content, self._path)[1]
        self._file.truncate(n_whole)
        missing_end = b"\n" if n_whole and content[n_whole - 1 : n_whole] != b"\n" else b""
        rest = missing_end + change.as_line().encode()
        try:
            while rest:  # a disk that fills up accepts a part, and refuses the next
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(n_whole)
            raise


@contextmanager
def open_role_log(models_dir: Path) -> Iterator[RoleLog]:
    """Open the log of a registry's roles for changes, and lock it against other processes.

    Raises BlockingIOError if another process has it open, ModelError if it cannot be written or locked.
    """
    path = log_path(models_dir)
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written: {error.strerror}", "check access to it and to its folder"
        ) from error
    with file:
        _lock(file, path)
        yield RoleLog(file, path)


def _lock(file: FileIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise ModelError(
            f"{path} cannot be locked: {error.strerror}",
            "its file system has no locks: mount it with them, or keep the registry on another one",
        ) from error


def read_role_log(models_dir: Path) -> tuple[RoleChange, ...]:
    """Return all changes of a registry's roles, the oldest first; none if there is no log.

    Raises ModelError if the log cannot be read, or for a line that is no change.
    """
    path = log_path(models_dir)
    try:
        return _parse(path.read_bytes(), path)[0]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise read_error(path, error) from error


def log_path(models_dir: Path) -> Path:
    """Return the path of the log of a registry's roles."""
    return role_path(LOG_FILE, models_dir)


def past_holders(changes: Sequence[RoleChange], role: str) -> list[RoleHolder]:
    """Return the models that a rollback can restore: those that had the role and were not rolled back, newest last.

    Each model counts once, at the last time it had the role, so that repeated rollbacks never return to a model that
    was rolled back. A model that was overwritten in its own folder counts as the new one: the old one is gone.
    """
    past: list[RoleHolder] = []
    for change in changes:
        if change.role == role:
            if change.action == ROLLBACK:
                _drop_above(past, change.after.name)
            elif change.before is not None:
                _put_on_top(past, change.before)
            _put_on_top(past, change.after)
    return past


def previous_holder(changes: Sequence[RoleChange], role: str, *, now: RoleHolder | None) -> RoleHolder | None:
    """Return the model that a rollback from ``now`` restores, None if the log has no previous model.

    It is the model before ``now``, or the last one in the log if ``now`` is not there, as after a change by hand.
    """
    past = past_holders(changes, role)
    names = [model.name for model in past]
    if now is not None and now.name in names:
        past = past[: names.index(now.name)]
    return past[-1] if past else None


def _drop_above(past: list[RoleHolder], name: str) -> None:
    while past and past[-1].name != name:
        past.pop()


def _put_on_top(past: list[RoleHolder], model: RoleHolder) -> None:
    known = next((each for each in past if each.name == model.name), None)
    if known is not None:
        past.remove(known)
    # Keep the old digest of a file that no longer exists.
    past.append(known if known is not None and model.sha256 is None else model)


def _parse(content: bytes, path: Path) -> tuple[tuple[RoleChange, ...], int]:
    """Return the changes and their size in bytes, without a last line that a crash cut short."""
    changes = []
    n_whole = 0
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            changes.append(_parse_change(json.loads(line)))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            if number == len(lines) and not line.endswith(b"\n"):
                break
            raise ModelError(
                f"{path}, line {number} is not a change of a role",
                "fix the line, or move the file away: then no earlier role can be restored",
            ) from error
        n_whole += len(line)
    return tuple(changes), n_whole


def _parse_change(values: dict[str, Any]) -> RoleChange:
    after = _holder(values["to"])
    if after is None:
        raise ValueError(values)
    return RoleChange(
        at=str(values["at"]),
        by=str(values["by"]),
        action=str(values["action"]),
        role=str(values["role"]),
        before=_holder(values["from"]),
        after=after,
        cosine=values.get("cosine"),
        version=str(values.get("version")),
        seen=values.get("seen"),
        retrieval=values.get("retrieval"),
    )


def _holder(values: dict[str, Any] | None) -> RoleHolder | None:
    return None if values is None else RoleHolder(str(values["name"]), values["sha256"])


def _as_dict(model: RoleHolder | None) -> dict[str, str | None] | None:
    return None if model is None else {"name": model.name, "sha256": model.sha256}
