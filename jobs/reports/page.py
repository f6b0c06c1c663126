"""The page that reports one job.

The rule: the page answers in this order: is the job done, how good is it, did escalation pay, is anything wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lvm_batch.jobs.console.text import plural
from lvm_batch.jobs.prediction.results.verdict import verdict
from lvm_batch.jobs.reports.headline import badges_of, routes_bar, subtitle_of, tiles_of, title_of
from lvm_batch.jobs.reports.parts import Note, Page, Section, WarningBox, table
from lvm_batch.jobs.reports.sections import (
    cosine_section,
    gain_section,
    rows_section,
    signals_section,
)
from lvm_batch.jobs.reports.text import DASH, moment, setting
from lvm_batch.jobs.reports.work_sections import faults_section, speed_section
from lvm_batch.jobs.settings.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lvm_batch.jobs.prediction.results.summary import Selection
    from lvm_batch.jobs.reports.data import ReportData
    from lvm_batch.jobs.reports.documents import Documents
    from lvm_batch.jobs.reports.parts import Part


def page_of(data: ReportData) -> Page:
    """Return the report of a job."""
    documents = data.documents
    return Page(
        title=title_of(documents),
        badges=tuple(badges_of(documents)),
        subtitle=subtitle_of(data),
        lead=tuple(_lead(data)),
        sections=(
            gain_section(data),
            faults_section(data),
            cosine_section(data),
            signals_section(data),
            rows_section(data),
            speed_section(data),
            _settings_section(data),
        ),
    )


def _lead(data: ReportData) -> Iterator[Part]:
    documents = data.documents
    if documents.state != "done":
        yield state_note(documents)
    yield from warning_boxes(documents)
    yield tiles_of(data)
    if documents.totals.rows_out:
        yield routes_bar(documents.totals)


def state_note(documents: Documents) -> Note:
    """Return in a sentence how far the job is."""
    done = f"{len(documents.rows_by_output):,} of {plural(documents.n_units, 'unit')}"
    match documents.state:
        case "done":
            return Note(
                f"Done: all {plural(documents.n_units, 'unit')} are committed, and _SUCCESS is written."
            )
        case "running":
            return Note(f"Not finished: a run is at work, {done} are done.", grave=True)
        case "incomplete":
            failed = plural(len(documents.failed_units), "unit")
            why = f", {failed} failed" if documents.failed_units else ""
            return Note(
                f"Not finished: {done} are done{why}. Run the command that started the job to finish it.",
                grave=True,
            )
        case "not finished":
            return Note(
                f"Not finished: {done} are done. The command that started the job ends it; of parts, with --finish.",
                grave=True,
            )
        case _:
            return Note(f"Not accepted, so there is no _SUCCESS: {_why_not_accepted(documents)}.", grave=True)


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
        return "no run has ended since"
    now = replace(summary, output=documents.text, failed_units=(), totals=documents.totals)
    error = verdict(now, documents.settings)
    return "no run has ended since" if error is None else error.args[0]


def _facts(data: ReportData) -> Part:
    documents, sessions = data.documents, data.rates.sessions
    selected = documents.summary.selected if documents.summary else None
    facts = {
        "dataset": setting(documents.job.settings.get("dataset")),
        "output": documents.text,
        "job": documents.job.job_id,
        "fingerprint": documents.job.fingerprint,
        "written by": f"lvm-batch {documents.job.version}",
        "first run": moment(sessions[0].started) if sessions else DASH,
    } | ({"last run read": _selection(selected)} if selected else {})
    return table("The job", ("", ""), facts.items(), n_texts=2, empty="")


def _selection(selected: Selection) -> str:
    bounds = (("since", selected.since), ("until", selected.until))
    span = " ".join(f"{word} {moment(time)}" for word, time in bounds if time)
    return f"{plural(selected.rows_out, 'row')} from {plural(selected.files, 'file')}, {span}"


def _settings_section(data: ReportData) -> Section:
    changed = differing_settings(data.documents.settings.model_dump())
    heads = ("role", "architecture", "path", "SHA-256")
    return Section(
        "Job, settings, models",
        (
            _facts(data),
            table(
                "Settings that differ from the defaults",
                ("setting", "value"),
                ((name, setting(value)) for name, value in changed.items()),
                n_texts=2,
                empty="Every setting has its default.",
            ),
            table("Models and bank", heads, data.models, n_texts=4, empty="The job names no models."),
        ),
    )
