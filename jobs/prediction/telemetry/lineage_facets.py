"""Facets of OpenLineage's events: who started a run, the columns that it reads and writes, and how good its rows are.

The rule: facets are those of the specification, with figures that ``summary.json`` has too; no rows are read for them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING
from uuid import UUID

from lvm_batch.jobs.console.exit_codes import error_as_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.generated.base import (
        DatasetFacet,
        InputDatasetFacet,
        OutputDatasetFacet,
        RunFacet,
    )

    from lvm_batch.jobs.prediction.planning.plan import Plan
    from lvm_batch.jobs.prediction.results.summary import Summary
    from lvm_batch.jobs.settings.run import RunSettings

PRODUCER = f"lvm-batch/{version('lvm-batch')}"

PARENT = "OPENLINEAGE_PARENT_ID"
"""The variable in which Airflow, Dagster and others name the run that started this one: ``NAMESPACE/JOB/RUN-ID``."""

_N_PARTS = 3


def is_parent(text: str) -> bool:
    """Return whether ``NAMESPACE/JOB/RUN-ID`` names a run; a namespace may have slashes, an id is a UUID."""
    parts = text.rsplit("/", 2)
    try:
        UUID(parts[-1])
    except ValueError:
        return False
    return len(parts) == _N_PARTS and all(parts)


def run_facets(parent: str | None, error: BaseException | None) -> dict[str, RunFacet]:
    """Return the run that started this one, and the error that ended it."""
    from openlineage.client.facet_v2 import error_message_run, parent_run

    facets: dict[str, RunFacet] = {}
    if parent is not None:
        namespace, job, run = parent.rsplit("/", 2)
        facets["parent"] = parent_run.ParentRunFacet(
            parent_run.Run(run), parent_run.Job(namespace, job), producer=PRODUCER
        )
    if error is not None:
        message = error_as_dict(error)["message"]
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message, "Python", producer=PRODUCER)
    return facets


def input_schema(plan: Plan) -> dict[str, DatasetFacet]:
    """Return the columns of the first file; the others of a job have the same parts."""
    return {"schema": _schema(plan.footers[0].schema)} if plan.footers else {}


def output_schema(plan: Plan, settings: RunSettings) -> dict[str, DatasetFacet]:
    """Return the columns of the first file of the output, from its footer; raises ``OSError`` if it is not there."""
    import pyarrow.parquet as pq

    from lvm_batch.io.storage.locations import locate

    if not plan.units:
        return {}
    place = locate(settings.output).child(plan.units[0].output)
    with place.filesystem.open_input_file(place.path) as file:
        return {"schema": _schema(pq.read_schema(file))}


def quality_facets(plan: Plan, settings: RunSettings, summary: Summary) -> dict[str, InputDatasetFacet]:
    """Return how many rows were judged, how many of them have a usable vector, and whether the gates hold."""
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as metrics

    totals, vectors = summary.totals, plan.footers[0].roles.vectors if plan.footers else ""
    usable = totals.rows_in - totals.rows_by_status.get("bad_input", 0)
    columns = {vectors: metrics.ColumnMetrics(count=usable)} if vectors else {}
    return {
        "dataQualityMetrics": metrics.DataQualityMetricsInputDatasetFacet(
            columns, rowCount=totals.rows_in, fileCount=summary.files, producer=PRODUCER
        ),
        "dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(
            list(_gates(settings, summary, vectors)), producer=PRODUCER
        ),
    }


def statistics(summary: Summary) -> dict[str, OutputDatasetFacet]:
    """Return how much was written."""
    from openlineage.client.facet_v2 import output_statistics_output_dataset as output

    facet = output.OutputStatisticsOutputDatasetFacet(
        rowCount=summary.totals.rows_out, fileCount=summary.units_done, producer=PRODUCER
    )
    return {"outputStatistics": facet}


def _gates(settings: RunSettings, summary: Summary, vectors: str) -> Iterator[assertions.Assertion]:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions

    totals = summary.totals
    yield assertions.Assertion(
        "bad_row_rate",
        success=totals.bad_row_rate <= settings.max_bad_rows,
        column=vectors or None,
        severity="error",
        expected=f"<= {settings.max_bad_rows:g}",
        actual=f"{totals.bad_row_rate:g}",
    )
    yield assertions.Assertion(
        "fallback_rate",
        success=totals.fallback_rate <= settings.max_fallback_rate,
        severity="error" if settings.fallback_policy == "fail" else "warn",
        expected=f"<= {settings.max_fallback_rate:g}",
        actual=f"{totals.fallback_rate:g}",
    )


def _schema(schema: pa.Schema) -> DatasetFacet:
    from openlineage.client.facet_v2 import schema_dataset

    fields = [
        schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type), ordinal_position=position)
        for position, field in enumerate(schema, start=1)
    ]
    return schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)
