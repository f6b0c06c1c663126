"""Conditional writes to a bucket: they succeed only if nothing else was written in between.

The rule: a request may reach the store long after it was made, and may be made twice; the condition keeps what was
written in between. A store without conditional requests is detected once; from then on each write looks first, which
is the best that can be done.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from obstore import exceptions

from lvm_batch.io.storage.bucket_errors import TRIES, as_os_errors
from lvm_batch.io.storage.bucket_objects import StoredObject, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore import UpdateVersion
    from obstore.store import ObjectStore

    from lvm_batch.io.storage.bucket_objects import ObjectInfo

WHOLE_BYTES = 32 * 2**20
"""Larger files are uploaded in parts. One request can have a condition, and holds no more memory than the parts."""

COPY_BYTES = 5 * 2**30
"""The largest object that S3 copies in one request."""

_NOT_IMPLEMENTED = "status code: 501"
_IN_THE_WAY = (exceptions.AlreadyExistsError, exceptions.PreconditionError)


class Objects(Protocol):
    """The unconditional requests that conditional writes are built on."""

    def look(self, key: str) -> ObjectInfo | None:
        """Return what is at ``key``, if anything is."""

    def read_if_there(self, key: str) -> StoredObject | None:
        """Return the object's content, or ``None`` if there is no such object."""

    def put(self, key: str, content: bytes | Path) -> None:
        """Upload bytes, or a file of this machine, replacing what may be there."""

    def remove(self, key: str) -> None:
        """Delete the object, if it is there."""


class Conditions:
    """Conditional writes to ``bucket``, whose client is ``store``."""

    def __init__(self, bucket: Objects, store: ObjectStore) -> None:
        self._bucket = bucket
        self._store = store
        self._are_known = True

    def swap(self, key: str, content: bytes, current: StoredObject | None) -> StoredObject | None:
        """Replace ``current``, or nothing, by ``content`` in one step; return ``None`` if anything else is there."""
        failure = OSError("it was not tried")
        for _ in range(TRIES):
            try:
                return (self._put_if if self._are_known else self._look_and_put)(key, content, current)
            except _IN_THE_WAY:
                # If an answer was lost, the content in the way may be our own.
                return self._written_as(key, content)
            except exceptions.NotSupportedError:
                self._are_known = False
            except OSError as error:  # the request may have reached the store
                failure = error
                if now := self._written_as(key, content):
                    return now
        raise failure

    def put_new(self, key: str, file: Path, *, aside: str) -> bool:
        """Upload a local file in one step unless the key is taken; return whether it was uploaded.

        A large file goes to the key ``aside`` first. If an answer was lost, the object in the way may be this file.
        """
        failure = OSError("it was not tried")
        for _ in range(TRIES):
            try:
                if self._are_known and file.stat().st_size <= COPY_BYTES:
                    return self._put_if_new(key, file, aside)
                return self._look_and_put_new(key, file)
            except exceptions.NotSupportedError:
                return self._look_and_put_new(key, file)
            except ConnectionError as error:  # the client does not retry every such request
                failure = error
        raise failure

    def _put_if(self, key: str, content: bytes, current: StoredObject | None) -> StoredObject:
        mode: UpdateVersion | Literal["create"] = "create" if current is None else current.version
        with _raising_refusals():
            put = self._store.put(key, content, mode=mode, use_multipart=False)
        return StoredObject(content, version_of(put))

    def _look_and_put(self, key: str, content: bytes, current: StoredObject | None) -> StoredObject | None:
        now = self._bucket.read_if_there(key)
        if (now and now.content) != (current and current.content):
            return None
        self._bucket.put(key, content)
        return self._bucket.read_if_there(key)

    def _written_as(self, key: str, content: bytes) -> StoredObject | None:
        now = self._bucket.read_if_there(key)
        return now if now is not None and now.content == content else None

    def _put_if_new(self, key: str, file: Path, aside: str) -> bool:
        try:
            if file.stat().st_size <= WHOLE_BYTES:
                with _raising_refusals():
                    self._store.put(key, file, mode="create", use_multipart=False)
            else:
                self._put_aside_and_copy(key, file, aside)
        except _IN_THE_WAY:
            return False
        return True

    def _put_aside_and_copy(self, key: str, file: Path, aside: str) -> None:
        self._bucket.put(aside, file)
        try:
            with _raising_refusals():
                self._store.copy(aside, key, overwrite=False)
        finally:
            self._bucket.remove(aside)

    def _look_and_put_new(self, key: str, file: Path) -> bool:
        found = self._bucket.look(key)
        if found is not None and not found.is_folder:
            return False
        self._bucket.put(key, file)
        return True


@contextmanager
def _raising_refusals() -> Iterator[None]:
    """Pass on the errors of a condition that fails and of a store without conditions."""
    with as_os_errors(*_IN_THE_WAY, exceptions.NotSupportedError):
        try:
            yield
        except exceptions.GenericError as error:
            if _NOT_IMPLEMENTED in str(error):
                raise exceptions.NotSupportedError(_NOT_IMPLEMENTED) from None
            raise
