"""Texts in which no credential may stand.

The rule: a URL is shown without user names, passwords and queries, in which keys and signatures travel. This module
does not know which of them are secret: it takes all of them away.
"""

from __future__ import annotations

import re

# A password may hold `/`, as AWS's do: with a `:` before it, all is taken up to the `@`.
_USER = re.compile(r"(\w*):/+([^/\s@]*:[^\s@]*|[^/\s@]*)@")
_QUERY = re.compile(r"(:/+[^\s?]*)\?\S*")


def redacted(text: str) -> str:
    """Return ``text`` with ``***`` for what URLs in it hold before an ``@`` and behind a ``?``.

    ``abfss://container@account.…`` names no user and stays.
    """
    return _QUERY.sub(r"\1?***", _USER.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    is_container = found[1].startswith("abfs") and ":" not in found[2]
    return found[0] if is_container else f"{found[1]}://***@"
