"""Banks in object stores: downloaded to be mapped into memory, built locally and then uploaded.

The rule: a bank is downloaded once a machine, into a folder named by its digest, and the download has that digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lvm_batch.io.errors import OutputError, UnreadableFile
from lvm_batch.io.storage.locations import bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.io.storage.locations import Location

NAMES = META, VECTORS, IDS, INDEX = "bank.json", "vectors.npy", "ids.parquet", "faiss.index"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HASHED_BYTES = 64 * 2**20


def fetch_bank(place: Location) -> Path:
    """Return a local folder with the bank at ``place``, downloaded if need be; raises :class:`UnreadableFile`."""
    bucket, key = bucket_of(place)
    cache = _cache_folder() / "lvm-batch" / "banks"
    try:
        meta = bucket.read(f"{key}/{META}").content
        digest = _digest(meta, place.text)
        name = _cached_name(meta, digest)
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the other workers of this machine wait here, then find it
            if not (cache / name / META).exists():
                _fetch(place, meta, digest, cache / name)
    except FileNotFoundError as error:
        raise UnreadableFile(
            f"{place.text} is not a bank: it has no {META}, or lacks a file that it names",
            "build one: lvm-batch bank build",
        ) from error
    except OSError as error:
        raise UnreadableFile(
            f"the bank {place.text} cannot be fetched into {cache}: {error}",
            "check access to both; XDG_CACHE_HOME names another folder for it",
        ) from error
    return cache / name


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no HOME, and no entry for this user
        return Path(tempfile.gettempdir())


@contextmanager
def upload_bank(place: Location) -> Iterator[Path]:
    """Yield a local folder for a bank, and upload its files at the end of the block.

    Raises :class:`OutputError` if there is something at ``place`` already, or if the upload fails.
    """
    bucket, key = bucket_of(place)
    try:
        if bucket.look(key) is not None:
            raise OutputError(f"{place.text} is not empty", "choose another folder")
        with tempfile.TemporaryDirectory(prefix="lvm-batch-") as folder:
            yield Path(folder)
            # The description comes last: without it the folder is not a bank.
            for name in (VECTORS, IDS, INDEX, META):
                if (Path(folder) / name).exists():
                    bucket.put(f"{key}/{name}", Path(folder) / name)
    except OSError as error:
        raise OutputError(f"{place.text} cannot be uploaded: {error}", "check access to the store") from error


def _digest(meta: bytes, text: str) -> str:
    try:
        digest = str(json.loads(meta)["digest"])
    except (ValueError, TypeError, KeyError, RecursionError):
        digest = ""
    if not _DIGEST.fullmatch(digest):
        raise UnreadableFile(f"{text} is a damaged bank: its {META} has no digest", "build it again")
    return digest


def _cached_name(meta: bytes, digest: str) -> str:
    """Return the folder of a bank: its digest, and the beginning of its ids', which older banks do not say."""
    ids = json.loads(meta).get("ids_digest")
    return f"{digest}-{ids[:16]}" if isinstance(ids, str) and _DIGEST.fullmatch(ids) else digest


def _fetch(place: Location, meta: bytes, digest: str, cached: Path) -> None:
    bucket, key = bucket_of(place)
    folder = Path(tempfile.mkdtemp(prefix="fetching-", dir=cached.parent))
    try:
        if cached.name != digest:
            bucket.download(f"{key}/{IDS}", folder / IDS)
        bucket.download(f"{key}/{VECTORS}", folder / VECTORS)
        if json.loads(meta).get("index"):
            bucket.download(f"{key}/{INDEX}", folder / INDEX)
        if _measured(folder) != digest:
            raise UnreadableFile(
                f"{place.text} is a damaged bank: the digest of its vectors is not the one in its {META}",
                "build it again, or wait until its upload is complete",
            )
        (folder / META).write_bytes(meta)
        shutil.rmtree(cached, ignore_errors=True)
        folder.rename(cached)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(folder: Path) -> str:
    digest = hashlib.sha256()
    try:
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False).reshape(-1).view(np.uint8)
    except ValueError:
        return ""
    for start in range(0, len(vectors), _HASHED_BYTES):
        digest.update(vectors[start : start + _HASHED_BYTES])
    if (folder / INDEX).exists():
        digest.update((folder / INDEX).read_bytes())
    return digest.hexdigest()
