"""The committed units that a run predicts again.

The rule: a committed unit is predicted again only if ``--reprocess`` says so, and only if the run reads its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lvm_batch.io.output.commit import OutputFolder
    from lvm_batch.jobs.prediction.planning.plan import Prepared

Reprocess = Literal["missing", "failed", "all"]


def units_again(folder: OutputFolder, prepared: Prepared, how: Reprocess) -> frozenset[str]:
    """Return the outputs of the committed units to predict again, as ``how`` says.

    ``missing`` selects none, ``failed`` the units of files that have changed since and units with bad rows, ``all`` the
    units of every file that the run reads.
    """
    job = None if how == "missing" else folder.job()
    if job is None:
        return frozenset()
    before = {file.path: file for file in job.identity.inputs.values()}
    unreadable = {error.path for error in prepared.unreadable}
    now = {file.path: file for file in prepared.identity.inputs.values() if file.path not in unreadable}
    return frozenset(
        output
        for output, record in folder.recorded().items()
        if (file := now.get(record.place.input))
        and (how == "all" or file != before.get(file.path) or record.tally.rows_by_status.get("bad_input"))
    )
