"""The data of a report, gathered from an output folder.

The rule: everything is read from the folder alone, and the same folder gives the same values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lvm_batch.jobs.reports.columns import Columns, read_columns
from lvm_batch.jobs.reports.documents import Documents, read_documents
from lvm_batch.jobs.reports.rates import Rates, rates_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.io.output.commit_record import CommitRecord
    from lvm_batch.jobs.prediction.results.summary import Summary


@dataclass(frozen=True, slots=True)
class ReportData:
    """The data of a job in its output folder."""

    documents: Documents
    columns: Columns
    rates: Rates

    @property
    def models(self) -> list[tuple[str, str, str, str]]:
        """Role, architecture, path and digest of each model, and of the bank."""
        found = []
        for role, known in self.documents.job.models.items():
            if isinstance(known, dict) and "path" in known:
                digest = known.get("sha256") or known.get("digest")
                found.append(
                    (role, str(known.get("architecture") or "-"), str(known["path"]), str(digest or "-"))
                )
        return found


def gather(
    folder: OutputFolder,
    *,
    summary: Summary | None = None,
    records: Mapping[str, CommitRecord] | None = None,
) -> ReportData:
    """Read everything; raises as :func:`read_documents` does."""
    documents = read_documents(folder, summary=summary, records=records)
    settings = documents.settings
    columns = read_columns(
        folder,
        documents.rows_by_output,
        lane=settings.name_in_output(settings.lane_column),
        split=settings.name_in_output(settings.split_column),
    )
    return ReportData(documents, columns, rates_of(documents.events, documents.part_events))
