"""The settings that describe a dataset: its files, its layout, its column names.

The rule: every command that reads a dataset takes these settings, by these names.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal, Self

from pydantic import Field

from lvm_batch.io.schema import FILE_ARTICLE, ROW_POSITION, ColumnNames
from lvm_batch.jobs.settings.fields import (
    OUTPUT,
    OUTPUT_UNLESS_DEFAULT,
    RESOLVED,
    HelpMark,
    Settings,
)
from lvm_batch.jobs.settings.paths import PathText, Text

Column = Annotated[Text, HelpMark("Column names", "NAME"), OUTPUT]
"""The default is the usual name of a part; unless a name is given, another column may be found to play it."""

_FILES = HelpMark("Files")


class DatasetSettings(Settings):
    """How a dataset is read: the settings of every command that reads one."""

    dataset: Annotated[tuple[PathText, ...], HelpMark("Arguments", "DATASET", common=True), RESOLVED] = Field(
        default=(), description="Parquet files, folders, globs or URLs to read."
    )
    layout: Annotated[Literal["auto", "windows", "sequences"], _FILES, OUTPUT] = Field(
        default="auto", description="What a row is: a whole context, or one vector of an article."
    )

    context_column: Column = Field(default="context", description="Five vectors, in windows.")
    vector_column: Column = Field(default="vector", description="One vector, in sequences.")
    target_column: Column = Field(default="target", description="The true next vector.")
    lane_column: Column = Field(default="lane", description="The row's lane.")
    context_tokens_column: Column = Field(
        default="context_tokens", description="Number of tokens in the context."
    )
    tokens_column: Column = Field(default="tokens", description="Number of tokens in the row, in sequences.")
    split_column: Annotated[Text, HelpMark("Column names", "NAME"), OUTPUT_UNLESS_DEFAULT] = Field(
        default="split", description="in_dist or ood."
    )
    article_column: Column = Field(
        default="article_id",
        description=f"The row's article, in sequences; {FILE_ARTICLE}: each file is one article.",
    )
    position_column: Column = Field(
        default="position",
        description=f"Position in the article, in sequences; {ROW_POSITION}: rows are already in reading order.",
    )

    @property
    def given_columns(self) -> dict[str, str]:
        """The columns that the user has named, by the parts they play."""
        return {
            part.name: getattr(self, setting)
            for part in fields(ColumnNames)
            if (setting := _setting(part.name)) in self.model_fields_set
        }

    def with_columns(self, names: ColumnNames) -> Self:
        """Return these settings with the columns that were found, as if the user had named them."""
        found = {_setting(part.name): getattr(names, part.name) for part in fields(ColumnNames)}
        return self.model_copy(update=found)


def _setting(part: str) -> str:
    return f"{part}_column"
