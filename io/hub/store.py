"""A hub's datasets as a store of obstore's: listed by the hub's API, read by ranges over HTTP.

The rule: keys name a commit (``OWNER/NAME@COMMIT/path``), so what is behind one never changes, and listings are kept.
Nothing is written.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from obstore import exceptions
from obstore.store import HTTPStore

from lvm_batch.io.hub.address import KIND, Repository, split_key
from lvm_batch.io.hub.api import HubRefusal, endpoint, headers, pages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obstore import GetOptions, GetResult, ObjectMeta
    from obstore.store import ClientConfig

_CHUNK = 1000


class HubStore:
    """The requests that a ``Bucket`` makes to read; ``patience`` are options of obstore's clients."""

    def __init__(self, patience: Mapping[str, Any]) -> None:
        self._patience = dict(patience)
        self._files = lru_cache(maxsize=32)(self._open)
        self._listed = lru_cache(maxsize=256)(self._list)

    def head(self, key: str) -> ObjectMeta:
        """Return what the hub says of a file; raises ``FileNotFoundError``."""
        repository, path = split_key(key)
        folder = path.rpartition("/")[0]
        found = next(
            (one for one in self._listed(repository, folder, recursive=False) if one["path"] == path), None
        )
        if found is None or found["type"] != "file":
            raise FileNotFoundError(f"{repository.text} has no file {path}")
        return _meta(repository, found)

    def list(
        self, prefix: str | None, *, offset: str | None = None, chunk_size: int = _CHUNK
    ) -> Iterator[list[ObjectMeta]]:
        """Yield the files at any depth below a folder, in order of their keys, after ``offset``."""
        repository, folder = split_key(prefix or "")
        entries = self._listed(repository, folder, recursive=True)
        metas = [_meta(repository, one) for one in entries if one["type"] == "file"]
        metas = sorted((meta for meta in metas if offset is None or meta["path"] > offset), key=_path)
        yield from (metas[at : at + chunk_size] for at in range(0, len(metas), chunk_size))

    def list_with_delimiter(self, prefix: str | None) -> dict[str, Any]:
        """Return the files and folders right below a folder."""
        repository, folder = split_key(prefix or "")
        entries = self._listed(repository, folder, recursive=False)
        return {
            "common_prefixes": [
                f"{repository.key}/{one['path']}" for one in entries if one["type"] == "directory"
            ],
            "objects": [_meta(repository, one) for one in entries if one["type"] == "file"],
        }

    def get(self, key: str, *, options: GetOptions | None = None) -> GetResult:
        """Read a file, or a range of it; the commit in the key is the only condition that is needed."""
        repository, path = split_key(key)
        wanted: GetOptions = {"range": options["range"]} if options and "range" in options else {}
        try:
            return self._files(repository).get(path, options=wanted)
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            status = 401 if isinstance(error, exceptions.UnauthenticatedError) else 403
            raise _refused(repository, HubRefusal(status, "")) from None

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise exceptions.NotSupportedError("datasets of the Hugging Face Hub are only read")

    put = delete = copy = rename = _refuse

    def _open(self, repository: Repository) -> HTTPStore:
        options = dict(self._patience)
        client: ClientConfig = options.pop("client_options", {})
        client = client | {"default_headers": headers(), "allow_http": endpoint().startswith("http://")}
        return HTTPStore(repository.files_url(endpoint()), client_options=client, **options)

    def _list(self, repository: Repository, folder: str, *, recursive: bool) -> tuple[dict[str, Any], ...]:
        path = f"api/{KIND}/{repository.name}/tree/{repository.commit}"
        path += f"/{quote(folder)}" if folder else ""
        try:
            listed = pages(f"{path}?recursive={str(recursive).lower()}")
            return tuple(one for page in listed for one in page)
        except HubRefusal as refusal:
            if refusal.is_missing and folder:
                return ()
            raise _refused(repository, refusal) from None


def _meta(repository: Repository, entry: Mapping[str, Any]) -> ObjectMeta:
    """Return a file of a listing; its version is the digest of its content, which git or its large storage has."""
    digest = (entry.get("lfs") or {}).get("oid") or entry["oid"]
    return {
        "path": f"{repository.key}/{entry['path']}",
        "last_modified": None,  # type: ignore[typeddict-item] # a commit is the only time that there is
        "size": entry["size"],
        "e_tag": digest,
        "version": None,
    }


def _path(meta: ObjectMeta) -> str:
    return meta["path"]


def _refused(repository: Repository, refusal: HubRefusal) -> Exception:
    text = f"{repository.text}: {refusal}; {refusal.hint}".rstrip("; ")
    return FileNotFoundError(text) if refusal.is_missing else exceptions.PermissionDeniedError(text)
