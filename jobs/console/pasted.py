"""Command lines to paste: the one that was given, with a flag more.

The rule: a line does what was asked for, and shows no secret.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

PROGRAM = "lvm-batch"

_HIDDEN = "***"


def with_flag(arguments: Sequence[str], flag: str) -> str:
    """Return the command line ``arguments`` with ``flag`` (an option and its value, as a shell takes them)."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parts = (shlex.join(arguments[:end]), flag, shlex.join(arguments[end:]))
    return " ".join((PROGRAM, *filter(None, parts)))


def instead_of(arguments: Sequence[str], option: str, flag: str) -> str:
    """Return the command line ``arguments`` with ``flag`` in place of an ``option`` that has a value."""
    kept, is_value = [], False
    for argument in arguments:
        if not is_value and argument != option and not argument.startswith(f"{option}="):
            kept.append(argument)
        is_value = argument == option
    return with_flag(kept, flag)


def without_secrets(arguments: Sequence[str], options: Collection[str]) -> list[str]:
    """Return the arguments with the values of the secret ``options`` hidden."""
    shown = []
    is_secret = False
    for argument in arguments:
        option, sign, _ = argument.partition("=")
        is_joined = bool(sign) and option in options
        shown.append(_HIDDEN if is_secret else f"{option}={_HIDDEN}" if is_joined else argument)
        is_secret = argument in options
    return shown
