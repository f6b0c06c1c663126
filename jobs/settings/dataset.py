"""The settings that describe a dataset: its files, its layout, its column names.

The rule: every command that reads a dataset takes these settings, by these names.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvm_batch.jobs.settings.fields import (
    OUTPUT,
    OUTPUT_UNLESS_DEFAULT,
    RESOLVED,
    HelpMark,
    Settings,
)
from lvm_batch.jobs.settings.paths import PathText, Text

Column = Annotated[Text, HelpMark("Column names", "NAME"), OUTPUT]

_FILES = HelpMark("Files")


class DatasetSettings(Settings):
    """How a dataset is read: the settings of every command that reads one."""

    dataset: Annotated[tuple[PathText, ...], HelpMark("Arguments", "DATASET"), RESOLVED] = Field(
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
        default="context_tokens", description="Tokens of the whole context."
    )
    tokens_column: Column = Field(default="tokens", description="Tokens of one row, in sequences.")
    split_column: Annotated[Text, HelpMark("Column names", "NAME"), OUTPUT_UNLESS_DEFAULT] = Field(
        default="split", description="in_dist or ood."
    )
    article_column: Column = Field(
        default="article_id", description="Which article a row is of, in sequences."
    )
    position_column: Column = Field(default="position", description="Place in the article, in sequences.")
