"""Paths in settings.

The rule: `~` means the home folder in files and variables too, as it does on a command line. Variables such as `$HOME`
are left to the shell, and `./~` is a file named `~`. Nothing here checks whether a path exists.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from lvm_batch.io.tables.names import DELTA
from lvm_batch.jobs.errors import UsageError
from lvm_batch.jobs.settings.fields import CONTRADICTION

DEMO_FOLDER = "lvm-batch-demo"
"""The folder that the demo writes to unless told otherwise, and where its models are looked for."""

_FILE = "file"


class PathMark:
    """Marks a setting whose value is a path or a URL."""


def expand_home(text: str) -> str:
    """Replace a leading `~` or `~user` by the home folder, also in a ``file://`` URL and behind ``delta:``.

    As in a shell, an unknown user name stays as it is. Raises ValueError if HOME is not set.
    """
    kind, colon, place = text.partition(":")
    if colon and kind == DELTA and place.startswith("~"):
        return f"{kind}:{expand_home(place)}"
    scheme, slashes, path = text.partition("://")
    if slashes:
        is_home = scheme.lower() == _FILE and path.startswith("~")
        return f"{scheme}://{quote(expand_home(unquote(path)))}" if is_home else text
    found = os.path.expanduser(text)  # noqa: PTH111 - Path's own raises for names that no user has
    if found == text and text.partition("/")[0] == "~":
        context = {"hint": "write the full path, or ./~ for a file of that name"}
        raise PydanticCustomError(CONTRADICTION, "`~` has no meaning, because HOME is not set", context)
    return found


def expanded_file(text: str | None, *, option: str) -> Path | None:
    """Return the path given for ``option``, ``None`` if none is given; raises UsageError if it cannot be a path."""
    if text is None:
        return None
    try:
        return Path(on_this_machine(path_argument(text)))
    except ValueError as error:
        raise UsageError(f"{option} cannot be {text!r}: {error}", "write the full path") from error


def on_this_machine(text: str) -> str:
    """Return a local path, also from a ``file://`` URL; raises ValueError for other URLs."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        return text
    host, _, path = rest.partition("/")
    if scheme.lower() != _FILE or host.lower() not in {"", "localhost"}:
        context = {"text": text, "hint": "give a path on this machine, and copy the file from there"}
        raise PydanticCustomError(CONTRADICTION, "it must be a path on this machine, not a URL", context)
    return f"/{unquote(path)}"


def path_argument(text: str) -> str:
    """Return the path that an argument means; raises ValueError if it is blank."""
    return expand_home(_not_blank(text))


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing can be written there")
    return text


Text = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]
OutputText = Annotated[str, AfterValidator(lambda text: path_argument(text) if text else text), PathMark()]
"""Where to write; empty if not given, as in a file of defaults."""
PathText = Annotated[Text, AfterValidator(expand_home), PathMark()]
LocalPath = Annotated[PathText, AfterValidator(on_this_machine)]
