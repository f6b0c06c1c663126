"""The setting that registers an output in tables.

The rule: a table changes no value of the output, and its name is checked without looking at it.
"""

from __future__ import annotations

import warnings
from typing import Annotated

from pydantic import AfterValidator, Field

from lvm_batch.io.tables.names import check_register
from lvm_batch.jobs.settings.fields import NO_EFFECT, HelpMark, Settings
from lvm_batch.jobs.settings.paths import Text

TableText = Annotated[Text, AfterValidator(check_register)]

with warnings.catch_warnings():
    # Every class has a method `register` by its metaclass, which no instance has; pydantic warns of it all the same.
    warnings.filterwarnings("ignore", 'Field name "register"', UserWarning)

    class TableSettings(Settings):
        """Tables that get the files of an output."""

        register: Annotated[tuple[TableText, ...], HelpMark("Files", "TABLE"), NO_EFFECT] = Field(
            default=(),
            description="Table that gets the files once the job is a success, in one commit: `delta` makes OUT itself a"
            " Delta Lake table, iceberg:CATALOG.NAMESPACE.TABLE is one of a catalog that pyiceberg's configuration"
            " knows; repeatable.",
            examples=["delta", "iceberg:prod.nightly.predictions"],
        )
