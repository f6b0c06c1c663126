"""Registers a successful output in the tables of ``--register``.

The rule: the output is complete before, and stays so: a table that does not take it is an error of its own, and the
same command tries again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lvm_batch.io.errors import CommitFailed, DataError
from lvm_batch.io.output.registering import register
from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.errors import NotRegistered, TryAgain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.io.output.job_documents import JobDocument
    from lvm_batch.io.output.registering import Registered
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings


def registered(
    summary: Summary,
    settings: RunSettings,
    folder: OutputFolder,
    job: JobDocument,
    records: Mapping[str, CommitRecord],
) -> tuple[Summary, NotRegistered | TryAgain | None]:
    """Register the committed files in every table; return the summary that says so, and the error of one that failed.

    A table that fails keeps none of the others from being tried.
    """
    if not settings.register:
        return summary, None
    done: list[Registered] = []
    failed: list[NotRegistered | TryAgain] = []
    for name in settings.register:
        try:
            done.append(register(name, folder, job, records))
        except DataError as error:
            failed.append(_not_registered(name, folder.text, error))
    summary = replace(summary, registered=tuple(done))
    folder.write_summary(summary.to_json())
    return summary, failed[0] if failed else None


def _not_registered(name: str, output: str, error: DataError) -> NotRegistered | TryAgain:
    """Return the error of a run: one that may pass by itself says so by its exit code."""
    kind = TryAgain if isinstance(error, CommitFailed) else NotRegistered
    return kind(
        f"{output} is complete and has _SUCCESS, but --register {name} failed: {error.args[0]}",
        f"{error.args[1] if len(error.args) > 1 else 'see what it says'}; the same command registers it, and predicts "
        "nothing again",
    )


def registered_text(tables: Sequence[Registered]) -> str:
    """Return what tables hold now, in words."""
    return "; ".join(_text(each) for each in tables)


def _text(table: Registered) -> str:
    changes = {"added": table.added, "removed": table.removed}
    changed = ", ".join(f"{number:,} {what}" for what, number in changes.items() if number) or "as before"
    holds = f"{plural(table.files, 'file')}, {plural(table.rows, 'row')}"
    return f"{table.table} at version {table.version}: {holds}; {changed}"
