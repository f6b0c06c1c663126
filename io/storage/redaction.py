"""Texts without credentials.

The rule: a URL is shown without user names, passwords and queries, which may carry keys and signatures; all of them
are removed, secret or not.
"""

from __future__ import annotations

import re

# A password may contain `/`, as AWS's do: after a `:`, everything up to the `@` is removed.
_USER = re.compile(r"(\w*):/+([^/\s@]*:[^\s@]*|[^/\s@]*)@")
_QUERY = re.compile(r"(:/+[^\s?]*)\?\S*")


def redact(text: str) -> str:
    """Return ``text`` with ``***`` for what URLs in it have before an ``@`` and after a ``?``.

    ``abfss://container@account.…`` names no user and stays.
    """
    return _QUERY.sub(r"\1?***", _USER.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    is_container = found[1].startswith("abfs") and ":" not in found[2]
    return found[0] if is_container else f"{found[1]}://***@"
