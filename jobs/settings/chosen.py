"""The settings that choose what a run writes: columns, predictions, how many rows, and the tables that get them.

The rule: what is chosen changes what is written, and no value of it. A choice is part of the job's identity, whatever
the order in which its columns are named; a table is not, and its name is checked without looking at it.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lvm_batch.io.tables.names import check_register
from lvm_batch.jobs.settings.fields import CONTRADICTION, NO_EFFECT, OUTPUT_UNLESS_DEFAULT, HelpMark, Settings
from lvm_batch.jobs.settings.paths import Text

_NAME = HelpMark("Files", "NAME")


class ChoiceSettings(Settings):
    """What a run writes of what it reads and computes."""

    columns: Annotated[tuple[Text, ...], _NAME, OUTPUT_UNLESS_DEFAULT] = Field(
        default=(),
        description="Carry only this column of the input to the output; repeatable. Unless given, all but the "
        "vectors are carried. Columns that a job adds are always written.",
    )
    drop: Annotated[tuple[Text, ...], _NAME, OUTPUT_UNLESS_DEFAULT] = Field(
        default=(), description="Column of the input to leave out of the output; repeatable."
    )
    no_prediction: Annotated[bool, HelpMark("Files"), OUTPUT_UNLESS_DEFAULT] = Field(
        default=False,
        description="Leave out the column prediction: cosine, route and the other columns make much smaller files.",
    )
    limit: Annotated[Annotated[int, Field(ge=1)] | None, HelpMark("Files", "N"), OUTPUT_UNLESS_DEFAULT] = (
        Field(
            default=None,
            description="Read only the first rows of the dataset, files in order, for a first look. Their predictions"
            " are those of a whole run.",
        )
    )

    register: Annotated[
        tuple[Annotated[Text, AfterValidator(check_register)], ...], HelpMark("Files", "TABLE"), NO_EFFECT
    ] = Field(
        default=(),
        description="Table that gets the files in one commit once the job is a success: `delta` makes OUT a Delta Lake"
        " table, iceberg:CATALOG.NAMESPACE.TABLE is in a catalog that pyiceberg's configuration knows; repeatable.",
        examples=["delta", "iceberg:prod.nightly.predictions"],
    )

    @field_validator("columns", "drop")
    @classmethod
    def _in_one_order(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(names)))

    @field_validator("drop")
    @classmethod
    def _refuse_both(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        both = [name for name in names if name in info.data.get("columns", ())]
        if both:
            raise PydanticCustomError(
                CONTRADICTION,
                "`{name}` is also in --columns",
                {"name": both[0], "hint": "keep one of the two"},
            )
        return names
