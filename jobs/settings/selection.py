"""The settings that select files of a dataset, by time and by the result of earlier runs.

The rule: a time without an offset is UTC, and a span includes its beginning but not its end.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.jobs.settings.dataset import DatasetSettings
from lvm_batch.jobs.settings.fields import CONTRADICTION, NO_EFFECT, RESOLVED, HelpMark
from lvm_batch.jobs.settings.paths import Text
from lvm_batch.jobs.settings.times import SPAN, as_time, before

Time = Annotated[datetime, BeforeValidator(as_time)]

_REPROCESS = HelpMark("Selection by time")
_TIME = HelpMark("Selection by time", "TIME")

_BEGINS = ("since", "until", "as_of")
"""``lookback`` counts back from the first of these that is given."""


class SelectionSettings(DatasetSettings):
    """Which files of a dataset a run reads, and what it predicts of them."""

    as_of: Annotated[Time | None, _TIME, RESOLVED] = Field(
        default=None,
        description="Time that the run is for. It fills in {date}, {date_nodash}, {year}, {month}, {day} and {hour} in"
        " every text setting, also as {date-1d} or {hour+2h}; `now` is the present.",
        examples=["2026-11-22", "2026-11-22T06:00Z", "now"],
    )
    since: Annotated[Time | None, _TIME, RESOLVED] = Field(
        default=None,
        description="Read input files from this time on. A file's time is that of its folder, such as date=2026-11-22,"
        " or else when it was written. A time without an offset is UTC.",
        examples=["2026-11-22", "2026-11-22T06:00Z"],
    )
    until: Annotated[Time | None, _TIME, RESOLVED] = Field(
        default=None,
        description="Read input files from before this time.",
        examples=["2026-11-23", "2026-11-23T06:00Z"],
    )
    lookback: Annotated[
        Annotated[str, Field(pattern=SPAN)] | None, HelpMark("Selection by time", "SPAN"), RESOLVED
    ] = Field(
        default=None,
        description="Also read files from this long before --since, for those that came late; without --since, it"
        " counts back from --until or --as-of.",
        examples=["3d", "12h"],
    )
    time_column: Annotated[Text | None, HelpMark("Selection by time", "NAME"), RESOLVED] = Field(
        default=None,
        description="Folder column that tells a file's time, or `modified`. Unless given: date, dt, ds or datetime, or"
        " year, month and day, with hour; else when the file was written.",
    )
    reprocess: Annotated[Literal["missing", "failed", "all"], _REPROCESS, NO_EFFECT] = Field(
        default="missing",
        description="What is predicted of the files that are read: what is missing; besides, files that have changed"
        " and units that had bad rows; or all.",
    )

    @field_validator("lookback")
    @classmethod
    def _refuse_spans_before_nothing(cls, lookback: str | None, info: ValidationInfo) -> str | None:
        if lookback is None or not info.data.keys() >= set(_BEGINS):  # one of those is wrong, and reported
            return lookback
        begin = next((info.data[name] for name in _BEGINS if info.data[name]), None)
        if begin is None:
            raise PydanticCustomError(
                CONTRADICTION,
                "it needs since, until or as_of, and none is given",
                {"hint": "give one of --since, --until and --as-of"},
            )
        before(begin, lookback)
        return lookback

    @field_validator("until")
    @classmethod
    def _refuse_empty_spans(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if until is not None and since is not None and until <= since:
            raise PydanticCustomError(
                CONTRADICTION,
                "it is not after since, {since}",
                {"since": since.isoformat(), "hint": "give a later --until, or an earlier --since"},
            )
        return until

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """The span of time whose input files are read, from its beginning to before its end; ``None`` is no bound."""
        if self.lookback is None:
            return self.since, self.until
        begin = next((time for name in _BEGINS if (time := getattr(self, name))), None)
        return (before(begin, self.lookback) if begin else None), self.until
