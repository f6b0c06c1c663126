"""Tests of folder locks on a file system that supports no locks."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from lvm_batch.io.errors import OutputError
from lvm_batch.io.output.lock import is_held, lock_output

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Without locks a second run could not be kept out, so the file system is named and another one requested."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(
            OutputError, match=f"{tmp_path}/out does not support locks: {os.strerror(code)}"
        ) as error,
        lock_output(str(tmp_path / "out")),
    ):
        pass
    assert "another file system" in error.value.args[1]
    assert not is_held(str(tmp_path / "out"))
