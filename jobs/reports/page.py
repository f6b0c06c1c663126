"""The page that reports one job.

The rule: the most important comes first: whether the job is done, and if not, why.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.results.verdict import verdict
from lvm_batch.jobs.reports.parts import Note, Page, Section, WarningBox, table
from lvm_batch.jobs.reports.sections import (
    cosine_section,
    gain_section,
    rows_section,
    signals_section,
)
from lvm_batch.jobs.reports.text import cosine, duration, moment, rate, setting
from lvm_batch.jobs.reports.work_sections import faults_section, speed_section
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.prediction.results.summary import Selection
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.documents import Documents


def page_of(data: ReportData) -> Page:
    """Return the report of a job."""
    documents = data.documents
    return Page(
        title=f"lvm-batch run {documents.job.job_id}",
        lead=(state_note(documents), *warning_boxes(documents), _facts(data)),
        sections=(
            rows_section(data),
            cosine_section(data),
            signals_section(data),
            gain_section(data),
            speed_section(data),
            faults_section(data),
            _settings_section(data),
        ),
    )


def state_note(documents: Documents) -> Note:
    """Return in a sentence how far the job is."""
    done = f"{len(documents.rows_by_output):,} of {plural(documents.n_units, 'unit')}"
    match documents.state:
        case "done":
            return Note(f"Done: all {plural(documents.n_units, 'unit')} are committed, and _SUCCESS stands.")
        case "running":
            return Note(f"Not finished: a run is at work on it, {done} are done.", grave=True)
        case "incomplete":
            failed = plural(len(documents.failed_units), "unit")
            why = f", {failed} failed" if documents.failed_units else ""
            return Note(
                f"Not finished: {done} are done{why}. The command that began the job does the rest.",
                grave=True,
            )
        case _:
            return Note(f"Not accepted, _SUCCESS does not stand: {_why_not_accepted(documents)}.", grave=True)


def warning_boxes(documents: Documents) -> Iterator[WarningBox]:
    """Yield the box of the job's warnings, if there are any."""
    if documents.warnings:
        yield WarningBox(tuple((warning.message, warning.hint) for warning in documents.warnings))


def differing_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that differ from their defaults."""
    defaults = RunSettings().model_dump(mode="json")
    return {
        name: value for name, value in settings.items() if name not in defaults or value != defaults[name]
    }


def _why_not_accepted(documents: Documents) -> str:
    """Return the reason that the run gave, computed again from the same figures."""
    summary = documents.summary
    if summary is None:
        return "no run has come to its end since"
    now = replace(summary, output=documents.text, failed_units=(), totals=documents.totals)
    error = verdict(now, documents.settings)
    return "no run has come to its end since" if error is None else error.args[0]


def _facts(data: ReportData) -> Any:  # noqa: ANN401 - a part
    documents, rates = data.documents, data.rates
    totals, sessions = documents.totals, rates.sessions
    selected = documents.summary.selected if documents.summary else None
    facts = {
        "output": documents.text,
        "job": documents.job.job_id,
        "version": f"lvm-batch {documents.job.version}",
        "rows": f"{totals.rows_out:,} of {documents.n_rows:,} from {plural(documents.n_units, 'unit')}",
        "fallback rate": f"{totals.fallback_rate:.1%}",
        "mean cosine": f"{cosine(totals.cosine.mean)} over {plural(totals.cosine.n, 'row')}",
        "first run": moment(sessions[0].started) if sessions else "no unit was done by a run that told of it",
        "last end": moment(sessions[-1].ended) if sessions else "-",
        "time at work": f"{duration(rates.wall_s)} in {plural(len(sessions), 'run')}, {rate(rates.rate)}",
    } | ({"last run read": _selection(selected)} if selected else {})
    return table("What ran", ("", ""), facts.items(), n_texts=2, empty="")


def _selection(selected: Selection) -> str:
    bounds = (("since", selected.since), ("until", selected.until))
    span = " ".join(f"{word} {moment(time)}" for word, time in bounds if time)
    return f"{plural(selected.rows_out, 'row')} from {plural(selected.files, 'file')}, {span}"


def _settings_section(data: ReportData) -> Section:
    documents = data.documents
    changed = differing_settings(documents.settings.model_dump())
    heads = ("role", "architecture", "path", "SHA-256")
    return Section(
        "Settings, models, version",
        (
            table(
                "Settings that differ from the defaults",
                ("setting", "value"),
                ((name, setting(value)) for name, value in changed.items()),
                n_texts=2,
                empty="Every setting has its default.",
            ),
            table("Models and bank", heads, data.models, n_texts=4, empty="The job names no models."),
            Note(f"Written by lvm-batch {documents.job.version}; fingerprint {documents.job.fingerprint}."),
        ),
    )
