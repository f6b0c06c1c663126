"""Compares two outputs: their settings, their models and their results.

The rule: the page is written beside the report of the first output, and neither output changes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from lvm_batch.io.output.commit import OutputFolder
from lvm_batch.io.output.unit_files import PRIVATE
from lvm_batch.io.storage.locations import locate
from lvm_batch.jobs.reports.comparison.page import comparison_page
from lvm_batch.jobs.reports.comparison.values import differing, means_of_both, models_of, settings_of
from lvm_batch.jobs.reports.data import gather
from lvm_batch.jobs.reports.parts import render
from lvm_batch.jobs.reports.report import check_page, write_page


def compare(first: str, second: str, *, file: str | None = None) -> tuple[dict[str, Any], str]:
    """Write what differs between the jobs in two outputs; return values and text.

    Without ``file`` the page lies beside the report of the first output, by the id of the second job. Raises as
    :func:`lvm_batch.jobs.reports.report.report` does.
    """
    check_page(file, first, second)
    pair = gather(OutputFolder(locate(first).text)), gather(OutputFolder(locate(second).text))
    place = write_page(
        render(comparison_page(pair)), file or _beside_report(first, pair[1].documents.job.job_id)
    )
    settings, models = differing(*map(settings_of, pair)), differing(*map(models_of, pair))
    values = {
        "outputs": [first, second],
        "states": [data.documents.state for data in pair],
        "settings_differ": sorted(settings),
        "models_differ": sorted(models),
        "means": {name: list(means) for name, means in means_of_both(pair)},
        "fallback_rates": [data.documents.totals.fallback_rate for data in pair],
        "rows_per_s": [data.rates.rate for data in pair],
        "comparison": place,
    }
    return values, f"compared  {place}"


def _beside_report(output: str, other_id: str) -> str:
    return locate(output).child(f"{PRIVATE}/comparison-{quote(other_id, safe='')}.html").text
