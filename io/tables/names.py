"""Names of tables on the command line.

    delta                              the output itself, as a table that files are registered in
    delta:PATH[@VERSION]               a folder or URL with a ``_delta_log``, as a dataset
    iceberg:CATALOG.NAMESPACE.TABLE    a table of a catalog that pyiceberg's own configuration knows
    iceberg:…[@SNAPSHOT]               the same at one snapshot, as a dataset

The rule: a name is understood without looking at any table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

DELTA: Final = "delta"
ICEBERG: Final = "iceberg"

LOG = "_delta_log"
"""The folder that makes the one that holds it a Delta table."""

_METADATA = re.compile(r"(.*/)?metadata/[^/]+\.metadata\.json(\.gz)?")

_MOST_PARTS = 3
_VERSION = re.compile(r"(?P<table>.+)@(?P<version>[0-9]+)", re.DOTALL)
_TABLE = re.compile(r"[^.@]+(\.[^.@]+){2,}")


@dataclass(frozen=True, slots=True)
class TableName:
    """A table: a ``place`` with a Delta log, or the dotted name of an Iceberg table; ``version`` is ``None`` for the
    latest.
    """

    kind: Literal["delta", "iceberg"]
    place: str
    version: int | None = None

    @property
    def text(self) -> str:
        """The name without its version."""
        return f"{self.kind}:{self.place}"

    @property
    def catalog(self) -> str:
        """The catalog of an Iceberg table, as pyiceberg's configuration names it."""
        return self.place.partition(".")[0]

    @property
    def identifier(self) -> tuple[str, ...]:
        """The namespaces and the name of an Iceberg table within its catalog."""
        return tuple(self.place.split(".")[1:])


def dataset_table(argument: str) -> TableName | None:
    """Return the table that an argument of a command names; ``None`` if it is a path or a URL."""
    kind, colon, rest = argument.partition(":")
    if not colon or kind not in {DELTA, ICEBERG} or not rest:
        return None
    found = _VERSION.fullmatch(rest)
    place, version = (found["table"], int(found["version"])) if found else (rest, None)
    return TableName(DELTA if kind == DELTA else ICEBERG, place, version)


def place_of(argument: str) -> str | None:
    """Return the path or URL below which the files of an argument lie; ``None`` if only a catalog knows it."""
    table = dataset_table(argument)
    if table is None:
        return argument
    return table.place if table.kind == DELTA else None


def check_register(text: str) -> str:
    """Return ``text`` if files can be registered in a table of this name; raises ``ValueError``."""
    kind, _, table = text.partition(":")
    if text == DELTA or (kind == ICEBERG and _TABLE.fullmatch(table)):
        return text
    raise ValueError("not a table")


def is_whole_name(table: TableName) -> bool:
    """Whether an Iceberg table's name has a catalog, a namespace and a table."""
    return table.place.count(".") >= _MOST_PARTS - 1 and _TABLE.fullmatch(table.place) is not None


def is_iceberg_metadata(name: str) -> bool:
    """Whether a file of this name describes an Iceberg table."""
    return _METADATA.fullmatch(name) is not None
