"""A cluster's table in the job's file, such as ``[slurm]``: which keys it takes, and what their values may be.

The rule: everything that can be known without contacting anything is checked at once, before work begins. The signature
of the class that takes a table says which keys there are; what a value may be is declared beside each kind of cluster,
as those classes mostly do not say.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lvm_batch.jobs.console.text import nearest
from lvm_batch.jobs.errors import Problem
from lvm_batch.jobs.extras import import_extra, require
from lvm_batch.jobs.settings.fields import brief, table_without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TEXT = (str, "a text")
WHOLE = (int, "a whole number")
NUMBER = (float, "a number of seconds")
FLAG = (bool, "true or false")
TEXTS = (list[str], "a list of strings")
TEXT_OR_TEXTS = (str | list[str], "a string or a list of strings")
TABLE = (dict[str, Any], "a table")
TABLES = (dict[str, Any] | list[dict[str, Any]], "a table or a list of tables")
"""Types of values, each with what people call it."""

USE_WORKERS = "use --workers or --adapt"
LEAVE_OUT = "leave it out: the run sets it"
"""What to do instead of a key that is refused."""

_STRICT = ConfigDict(strict=True)
_HIDDEN = ("loop", "asynchronous", "silence_logs", "security", "quiet", "kwargs", "self")


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The table called ``name``: ``class_name`` in ``module`` takes its keys, ``more`` are classes that add some.

    ``types`` says what a value may be. ``refused`` are parameters that a run sets by itself, or that are not for a
    table, each with what to do instead. ``package`` must be installed, which the extra ``name`` does.
    """

    name: str
    package: str
    module: str
    class_name: str
    types: Mapping[str, tuple[Any, str]]
    more: tuple[tuple[str, str], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def check(self, table: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with keys and values; raises :class:`MissingExtra` if the package is not installed."""
        require(self.package, option=f"--cluster {self.name}", extra=self.name)
        known = self.parameters() - self.refused.keys()
        for key, value in table.items():
            if key in self.refused:
                yield Problem(f"{key} in [{self.name}] cannot be set in a table", self.refused[key])
            elif key not in known:
                yield self._unknown(key, known)
            elif key in self.types and not _fits(value, self.types[key][0]):
                shown = brief(table_without_credentials({key: value})[key])
                yield Problem(f"{key} in [{self.name}] cannot be {shown}", f"it can be {self.types[key][1]}")

    def parameters(self) -> set[str]:
        """Return the names of all parameters of the classes, which need not be for a table."""
        classes = ((self.module, self.class_name), *self.more)
        signatures = (inspect.signature(getattr(import_extra(module), name)) for module, name in classes)
        named = {
            each.name
            for signature in signatures
            for each in signature.parameters.values()
            if each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}
        }
        return named.difference(_HIDDEN)

    def _unknown(self, key: str, known: set[str]) -> Problem:
        near = nearest(key, sorted(known))
        hint = f"did you mean {near}?" if near else f"it takes {', '.join(sorted(known))}"
        return Problem(f"{key} in [{self.name}] is not an argument of {self.class_name}", hint)


def _fits(value: object, wanted: Any) -> bool:  # noqa: ANN401 - any type
    try:
        TypeAdapter(wanted, config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    return True
