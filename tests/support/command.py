"""The command, called in the test's process: its exit code and its output."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple


class Values(dict[str, Any]):
    """The JSON object that a command printed; the error for a missing key shows the command's result."""

    def __init__(self, values: dict[str, Any], ended: str) -> None:
        super().__init__(values)
        self.ended = ended

    def __missing__(self, key: str) -> Any:  # noqa: ANN401 - of a dict
        raise AssertionError(f"the command printed no {key!r}. {self.ended}")


class Result(NamedTuple):
    """The result of a command: its exit code, its JSON object, and its stderr."""

    code: int
    values: Values
    stderr: str

    def done(self) -> Values:
        """The JSON object of a command that exited with 0; otherwise the test fails with the command's own output."""
        assert self.code == 0, self.values.ended
        return self.values


def called(*arguments: object) -> Result:
    """Call the command with --json."""
    from lvm_batch.jobs.cli import main

    with redirect_stdout(stream()) as out, redirect_stderr(stream()) as err:
        code = main([*map(str, arguments), "--json"])
    printed, stderr = (one.buffer.getvalue().decode() for one in (out, err))
    ended = f"It ended with {code} and said:\n{stderr}\n{printed[:2000]}"
    assert printed, ended
    return Result(code, Values(json.loads(printed), ended), stderr)


class _Stream(io.TextIOWrapper):
    buffer: io.BytesIO


def stream() -> _Stream:
    """Return what stands in for stdout or stderr of a command; its ``buffer`` keeps the bytes."""
    return _Stream(io.BytesIO(), encoding="utf-8", write_through=True)
