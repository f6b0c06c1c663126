"""A call of a function: its arguments become settings, and its errors those of the command.

The rule: a call leaves the caller's process as it was. It prints nothing to stdout, never exits, and leaves the signals
to the caller.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, Signature, cleandoc, signature
from numbers import Number
from typing import TYPE_CHECKING, TypeVar

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.exit_codes import reported_error
from lvm_batch.jobs.console.signals import interrupt_on_ctrl_c
from lvm_batch.jobs.python.signatures import COMMON, documented, parameters
from lvm_batch.jobs.settings.fields import Settings, is_list
from lvm_batch.jobs.settings.paths import expanded_file
from lvm_batch.jobs.settings.sources import REQUIRED, resolve_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

R = TypeVar("R")

_ONE_AT_A_TIME = threading.RLock()


def takes_settings(
    kind: type[Settings],
    *,
    required: Iterable[str] = REQUIRED,
    names: Sequence[str] | None = None,
    own: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Turn a function of ``resolved`` and ``console`` into one that takes each setting of ``kind``, or of ``names``.

    The environment and a file give those settings too, as with the command. ``own`` says what the function's other
    parameters mean. Raises ``LvmBatchError``, for arguments ``SettingsError`` with all that is wrong with them.
    """

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        kept = _own_parameters(function)

        @wraps(function)
        def call(
            dataset: object = None,
            *,
            config: str | os.PathLike[str] | None = None,
            progress: bool = True,
            **given: object,
        ) -> R:
            options = {each.name: given.pop(each.name, each.default) for each in kept}
            flags = _flags(kind, {"dataset": dataset, **given})
            with raising_errors():
                resolved = resolve_settings(
                    kind,
                    flags,
                    os.environ,
                    _file(config),
                    required=required,
                    names=names,
                    now=_now(),
                    spelled=str,
                )
                return function(resolved, console=Console(quiet=not progress), **options)

        every = [*parameters(kind, names), *kept, *COMMON]
        result = function.__annotations__["return"]
        call.__signature__ = Signature(every, return_annotation=result)  # type: ignore[attr-defined]
        call.__doc__ = documented(cleandoc(function.__doc__ or ""), kind, names, own=(own or {}).items())
        return call

    return decorate


@contextmanager
def at_work() -> Iterator[None]:
    """In the block, work as the only call of this process; Ctrl-C raises ``KeyboardInterrupt``.

    Work changes the process while it goes on (environment, Dask's settings), and takes the whole machine.
    """
    with _ONE_AT_A_TIME, interrupt_on_ctrl_c():
        yield


@contextmanager
def raising_errors() -> Iterator[None]:
    """In the block, raise errors of the system as the command reports them."""
    try:
        yield
    except Exception as error:
        reported = reported_error(error)
        if reported is error:
            raise
        raise reported from error


def plain(value: object) -> object:
    """Return an argument as a file of settings would have it: paths as text, numbers of numpy as Python's, lists."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Number) and hasattr(value, "item"):
        return value.item()
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _flags(kind: type[Settings], given: Mapping[str, object]) -> dict[str, object]:
    """Return arguments as flags; a single value for a list is a list of one."""
    flags = {name: plain(value) for name, value in given.items()}
    return {
        name: [value]
        if isinstance(value, str) and name in kind.model_fields and is_list(kind, name)
        else value
        for name, value in flags.items()
    }


def _file(config: str | os.PathLike[str] | None) -> Path | None:
    return None if config is None else expanded_file(os.fspath(config), option="config")


def _own_parameters(function: Callable[..., object]) -> list[Parameter]:
    given = {"resolved", "console"}
    return [each for name, each in signature(function).parameters.items() if name not in given]


def _now() -> datetime:
    return datetime.now(UTC)
