"""Addresses of datasets on the Hugging Face Hub: ``hf://datasets/OWNER/NAME[@REVISION]/path``.

The rule: what travels in plans and records names a commit, so that all workers, and a rerun, read the same bytes. A
revision is a branch, a tag or a commit; one with a slash is written with ``%2F``, as ``@refs%2Fconvert%2Fparquet``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from lvm_batch.io.errors import DataError, InputNotFound
from lvm_batch.io.hub.api import HubRefusal, ask

SCHEME, KIND = "hf", "datasets"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = r"[\w.-]+"
_ADDRESS = re.compile(rf"{KIND}/({_NAME}/{_NAME})(?:@([^/@]+))?(?:/(.*))?", re.ASCII)
_BRANCH = "main"


@dataclass(frozen=True, slots=True)
class Repository:
    """A dataset, ``owner/name``, at a commit."""

    name: str
    commit: str

    @property
    def text(self) -> str:
        """The dataset's address without the commit, as messages name it."""
        return f"{SCHEME}://{KIND}/{self.name}"

    @property
    def key(self) -> str:
        """What the keys of its files begin with."""
        return f"{self.name}@{self.commit}"

    def files_url(self, endpoint: str) -> str:
        """Return the address below which its files are."""
        return f"{endpoint}/{KIND}/{self.name}/resolve/{self.commit}"


def pinned(path: str) -> str:
    """Return ``datasets/OWNER/NAME[@REVISION]/path`` with the commit of its revision.

    Raises :class:`DataError` for an address that is none, :class:`InputNotFound` for a dataset or a revision that does
    not exist or may not be read.
    """
    found = _ADDRESS.fullmatch(path)
    if found is None:
        raise DataError(
            f"{SCHEME}://{path} names no dataset of the Hugging Face Hub",
            f"write {SCHEME}://{KIND}/OWNER/NAME/path, or with a branch, tag or commit OWNER/NAME@REVISION; "
            "a revision with a slash is written with %2F",
        )
    name, revision, rest = found.groups()
    commit = _commit(name, unquote(revision or _BRANCH))
    return f"{KIND}/{name}@{commit}" + (f"/{rest}" if rest else "")


def split_key(key: str) -> tuple[Repository, str]:
    """Return the dataset of a pinned key, ``OWNER/NAME@COMMIT/path``, and the path in it."""
    owner, _, rest = key.partition("/")
    pinned_name, _, path = rest.partition("/")
    name, _, commit = pinned_name.partition("@")
    return Repository(f"{owner}/{name}", commit), path


@lru_cache(maxsize=256)
def _commit(name: str, revision: str) -> str:
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        answer, _ = ask(f"api/{KIND}/{name}/revision/{quote(revision, safe='')}")
        return str(answer["sha"])
    except HubRefusal as refusal:
        raise InputNotFound(
            f"{SCHEME}://{KIND}/{name}@{revision} cannot be read: {refusal}", refusal.hint
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "an answer without a commit" if isinstance(error, (KeyError, TypeError)) else str(error)
        raise InputNotFound(
            f"{SCHEME}://{KIND}/{name}@{revision} cannot be read: {reason}",
            "check the connection to the hub, and HF_ENDPOINT if it is set",
        ) from None
