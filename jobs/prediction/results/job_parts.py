"""Which parts of a job have units to do.

The rule: it follows from the job and its commit records. A part has no state of its own that could be wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lvm_batch.io.schema import Part
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import UnitsFailed

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Sequence

    from lvm_batch.io.output.job_documents import JobDocument

_SHOWN = 20


def check_whole(job: JobDocument, done: Container[str], started: Collection[Part]) -> None:
    """Raise :class:`UnitsFailed` unless all units of ``job`` are among the outputs that are ``done``.

    ``started`` are the parts that have begun: the error names those that have units to do.
    """
    missing = [output for output in job.outputs if output not in done]
    if not missing:
        return
    parts = list(map(str, parts_to_do(job, done, started)))
    named = f"; parts to run again: {shortened(parts)}" if parts else f"; the first is {missing[0]}"
    units, have = plural(len(job.outputs), "unit"), "has" if len(missing) == 1 else "have"
    raise UnitsFailed(
        f"{len(missing):,} of {units} {have} no output{named}",
        "the same command with --part in place of --finish does what is missing of a part; the events of parts in "
        "_lvm_batch/parts say what has failed"
        if parts
        else "compute them: the same command without --finish, or in parts, such as --part 1/4",
    )


def parts_to_do(job: JobDocument, done: Container[str], started: Collection[Part]) -> list[Part]:
    """Return the parts that have units to do, of as many parts as most of those ``started`` are of."""
    counts = Counter(part.count for part in started)
    if not counts:
        return []
    count = max(counts, key=lambda count: (counts[count], count))
    parts = (Part(count, number) for number in range(1, count + 1))
    return [part for part in parts if any(output not in done for output in part.share(job.outputs))]


def shortened(names: Sequence[str]) -> str:
    """Name the parts, or the first of many."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
