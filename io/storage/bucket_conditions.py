"""What is put into a bucket on the condition that nothing else has been put there in between.

The rule: a request may reach the store long after it was made, and be made twice; with a condition, what came in
between stays. Stores that know no conditions are asked once; from then on they are looked at and written to, which is
the best that can be done. This module does not know what the objects are.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from obstore import exceptions

from lvm_batch.io.storage.bucket_errors import TRIES, told
from lvm_batch.io.storage.bucket_objects import StoredObject, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from obstore import UpdateVersion
    from obstore.store import ObjectStore

    from lvm_batch.io.storage.bucket_objects import ObjectInfo

WHOLE_BYTES = 32 * 2**20
"""A file up to here goes up in one request, which takes a condition; an upload in parts holds as much at once."""

COPY_BYTES = 5 * 2**30
"""The largest object that S3 copies in one request."""

_NOT_IMPLEMENTED = "status code: 501"
_IN_THE_WAY = (exceptions.AlreadyExistsError, exceptions.PreconditionError)


class Objects(Protocol):
    """A bucket, as far as conditional writes need one that knows no conditions."""

    def look(self, key: str) -> ObjectInfo | None:
        """Return what is at ``key``."""

    def standing(self, key: str) -> StoredObject | None:
        """Return what the object holds, ``None`` where it is not there."""

    def put(self, key: str, content: bytes | Path) -> None:
        """Upload bytes, or a file of this machine, in place of what may be there."""

    def remove(self, key: str) -> None:
        """Delete the object, if it is there."""


class Conditions:
    """Conditional writes to ``bucket``, whose client is ``store``."""

    def __init__(self, bucket: Objects, store: ObjectStore) -> None:
        self._bucket = bucket
        self._store = store
        self._are_known = True

    def swap(self, key: str, content: bytes, standing: StoredObject | None) -> StoredObject | None:
        """Put ``content`` in place of ``standing``, or of nothing, as one step; ``None`` if anything else is there."""
        failure = OSError("it was not tried")
        for _ in range(TRIES):
            try:
                return (self._put_if if self._are_known else self._look_and_put)(key, content, standing)
            except _IN_THE_WAY:
                # After an answer that got lost it may be our own content that is in the way.
                return self._standing_as(key, content)
            except exceptions.NotSupportedError:
                self._are_known = False
            except OSError as error:  # whether it reached the store is not known
                failure = error
                if now := self._standing_as(key, content):
                    return now
        raise failure

    def put_new(self, key: str, file: Path, *, aside: str) -> bool:
        """Upload a file of this machine unless the key is taken, as one step; say whether it was uploaded.

        A large one goes to the key ``aside`` first. Where an answer got lost, it may be this file that is in the way.
        """
        failure = OSError("it was not tried")
        for _ in range(TRIES):
            try:
                if self._are_known and file.stat().st_size <= COPY_BYTES:
                    return self._put_if_new(key, file, aside)
                return self._look_and_put_new(key, file)
            except exceptions.NotSupportedError:
                return self._look_and_put_new(key, file)
            except ConnectionError as error:  # the client does not make every such request again
                failure = error
        raise failure

    def _put_if(self, key: str, content: bytes, standing: StoredObject | None) -> StoredObject:
        mode: UpdateVersion | Literal["create"] = "create" if standing is None else standing.version
        with _telling_refusals():
            put = self._store.put(key, content, mode=mode, use_multipart=False)
        return StoredObject(content, version_of(put))

    def _look_and_put(self, key: str, content: bytes, standing: StoredObject | None) -> StoredObject | None:
        now = self._bucket.standing(key)
        if (now and now.content) != (standing and standing.content):
            return None
        self._bucket.put(key, content)
        return self._bucket.standing(key)

    def _standing_as(self, key: str, content: bytes) -> StoredObject | None:
        now = self._bucket.standing(key)
        return now if now is not None and now.content == content else None

    def _put_if_new(self, key: str, file: Path, aside: str) -> bool:
        try:
            if file.stat().st_size <= WHOLE_BYTES:
                with _telling_refusals():
                    self._store.put(key, file, mode="create", use_multipart=False)
            else:
                self._put_aside_and_copy(key, file, aside)
        except _IN_THE_WAY:
            return False
        return True

    def _put_aside_and_copy(self, key: str, file: Path, aside: str) -> None:
        self._bucket.put(aside, file)
        try:
            with _telling_refusals():
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
def _telling_refusals() -> Iterator[None]:
    """Let a condition that does not hold, and a store that knows none, be seen as what they are."""
    with told(*_IN_THE_WAY, exceptions.NotSupportedError):
        try:
            yield
        except exceptions.GenericError as error:
            if _NOT_IMPLEMENTED in str(error):
                raise exceptions.NotSupportedError(_NOT_IMPLEMENTED) from None
            raise
