"""Fixtures shared by the tests of the io room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import buckets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """A local S3 server over HTTP, an ``s3_server.Server``."""
    with buckets.serving() as serving:
        yield serving


@pytest.fixture
def bucket(server: Any) -> Iterator[str]:  # noqa: ANN401 - of a module that may be missing
    """The name of an empty bucket on the server; AWS environment variables point to it."""
    with buckets.environment(server):
        yield buckets.new_bucket(server)


@pytest.fixture
def s3() -> Iterator[None]:
    """Make s3:// addresses open buckets in memory."""
    with buckets.in_memory():
        yield


@pytest.fixture(params=["local", "object store"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an output that does not exist yet."""
    if request.param == "local":
        return str(tmp_path / "out")
    request.getfixturevalue("s3")
    return "s3://bucket/out"
