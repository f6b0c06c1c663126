"""Buckets for tests, behind s3:// addresses: in memory, or over HTTP."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from lvm_batch.io.storage.bucket import Bucket


def need_the_extra() -> None:
    """Skip a test that needs object stores if their client is not installed."""
    pytest.importorskip("obstore", reason='needs pip install "lvm-batch[s3]"')


@contextmanager
def in_memory() -> Iterator[None]:
    """Keep every bucket in memory, empty at first."""
    need_the_extra()
    from obstore.store import MemoryStore

    from lvm_batch.io.storage import locations
    from lvm_batch.io.storage.bucket import Bucket

    def opened(_scheme: str, _name: str) -> Bucket:
        return Bucket(MemoryStore())

    forget()
    with patch.object(locations, "open_bucket", opened):
        yield
    forget()


@contextmanager
def serving(around: Any = None) -> Iterator[Any]:  # noqa: ANN401 - of a module that may be missing
    """Serve S3 over HTTP on this machine, behind what ``around`` makes of it; yield a ``s3_server.Server``."""
    need_the_extra()
    for module in ("moto", "flask", "flask_cors"):
        pytest.importorskip(module, reason='needs pip install "lvm-batch[test]"')
    from support import s3_server

    with s3_server.serving(around) as server:
        yield server


@contextmanager
def environment(server: Any, **changes: str) -> Iterator[None]:  # noqa: ANN401 - of a module that may be missing
    """Point the AWS variables at ``server`` only."""
    from support import s3_server

    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ours = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": s3_server.KEY,
        "AWS_SECRET_ACCESS_KEY": s3_server.SECRET,
        "AWS_SESSION_TOKEN": s3_server.TOKEN,
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    wanted = {name: value for name, value in (ours | changes).items() if value}
    with (
        patch.dict(os.environ, kept | wanted, clear=True),
        patch("lvm_batch.io.storage.bucket_access._FIRST_PAUSE_S", 0.01),
        patch("lvm_batch.io.storage.bucket_access._LONGEST_PAUSE_S", 0.1),
    ):
        forget()
        yield
    server.faults.clear()
    forget()


_numbers = count()


def new_bucket(server: Any) -> str:  # noqa: ANN401 - of a module that may be missing
    """Make an empty bucket and return its name."""
    name = f"bucket-{next(_numbers)}"
    server.make_bucket(name)
    return name


def forget() -> None:
    """Close all buckets."""
    from lvm_batch.io.storage import bucket_access, locations

    locations._remote_filesystem.cache_clear()
    bucket_access.open_bucket.cache_clear()
