"""How the settings of a command are declared: a class of fields, and what each declaration says.

The rule: the name of a setting, its allowed values, its help and its effect on the output follow from one declaration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from lvm_batch.io.storage.redaction import redact
from lvm_batch.jobs.settings.types import SettingsType

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTRADICTION = (
    "contradiction"  # the type of a problem whose message names two values that contradict each other
)

_SECRET = re.compile("pass|secret|token|credential|_key$", re.IGNORECASE)
"""Names in a table whose values are never shown."""

_ASSIGNED = re.compile(
    r"""(\b\w*(?:pass|secret|token|credential|_key)\w*\s*=\s*)("[^"]*"|'[^']*'|[^\s;]+)""", re.IGNORECASE
)
"""An assignment to a shell variable of such a name."""

_SHOWN_CHARACTERS = 200

_PANELS = (
    "Arguments",
    "Files",
    "Selection by time",
    "Models",
    "Training",
    "Judging",
    "Routing",
    "Running",
    "Workers",
    "Monitoring",
    "Column names",
)
"""The headings of a command's help, in order."""


@dataclass(frozen=True, slots=True)
class HelpMark:
    """The place of a setting in a command's help: its heading, and the name of its value.

    A ``common`` setting stands before all headings, among the options that most users need.
    """

    panel: str
    metavar: str | None = None
    common: bool = False

    @property
    def heading(self) -> str | None:
        """The heading that the setting stands under; ``None`` for a common one."""
        return None if self.common else self.panel


class Effect(Enum):
    """Whether a setting changes what a command writes. The fingerprint of a job is made from this mark."""

    OUTPUT = "Its value changes the output, and is part of the fingerprint."
    OUTPUT_UNLESS_DEFAULT = (
        "As OUTPUT, but for its default: it is younger than fingerprints that must stay valid."
    )
    RESOLVED = "It leads to what is in the fingerprint by itself: input files, digests of models, a recipe."
    NO_EFFECT = "It changes no value in the output."


OUTPUT, OUTPUT_UNLESS_DEFAULT, RESOLVED, NO_EFFECT = Effect


class Settings(BaseModel, metaclass=SettingsType):
    """The base of all settings: frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: object, info: ValidationInfo) -> object:
        """Refuse TOML's true and false, which pydantic would take for 1 and 0, but in a switch."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true and false are values of switches alone")
        return value

    def as_dict(self) -> dict[str, Any]:
        """Return the values as plain JSON values, without credentials in URLs and tables."""
        return {name: without_credentials(value) for name, value in self.model_dump(mode="json").items()}

    def output_values(self) -> dict[str, Any]:
        """Return the settings that change the output, for its fingerprint, as plain JSON values."""
        values = self.model_dump(mode="json")
        defaults = type(self)().model_dump(mode="json")
        effects = {name: effect_of(type(self), name) for name in values}
        return {
            name: value
            for name, value in values.items()
            if effects[name] is OUTPUT or (effects[name] is OUTPUT_UNLESS_DEFAULT and value != defaults[name])
        }


Kind = type[Settings]


def names_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of all settings of a kind, in the order of the help."""
    return tuple(sorted(kind.model_fields, key=lambda name: _place_in_help(help_mark(kind, name))))


@cache
def schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of a configuration file."""
    return kind.model_json_schema()


def is_list(kind: Kind, name: str) -> bool:
    """Return whether the setting ``name`` takes several values."""
    return bool(schema(kind)["properties"][name].get("type") == "array")


def is_switch(kind: Kind, name: str) -> bool:
    """Return whether the setting ``name`` is on or off; its option takes no value."""
    return kind.model_fields[name].annotation is bool


def allowed(kind: Kind, name: str) -> str:
    """Return the allowed values of the setting ``name`` in words: "a number from 0 to 1"."""
    examples = schema(kind)["properties"][name].get("examples")
    if examples:
        return "something like " + " or ".join(examples)
    return " or ".join(map(_in_words, _parts(kind, name)))


def is_table(kind: Kind, name: str) -> bool:
    """Return whether the setting ``name`` is a table of a TOML file; tables have no option and no variable."""
    return bool(schema(kind)["properties"][name].get("type") == "object")


def is_secret(kind: Kind, name: str) -> bool:
    """Return whether the value of the setting ``name`` is secret."""
    return any(part.get("writeOnly") for part in _parts(kind, name))


def choices(kind: Kind, name: str) -> tuple[str, ...]:
    """Return the values to choose from for the setting ``name``; empty if it is not a choice."""
    return tuple(value for part in _parts(kind, name) for value in _values(part))


def metavar(kind: Kind, name: str) -> str:
    """Return the name of the value of the setting ``name`` in help."""
    shown = help_mark(kind, name).metavar or "|".join(choices(kind, name))
    return shown or {"number": "NUMBER", "integer": "N"}.get(_parts(kind, name)[0]["type"], "TEXT")


def help_mark(kind: Kind, name: str) -> HelpMark:
    """Return the place of the setting ``name`` in a command's help."""
    return next(mark for mark in kind.model_fields[name].metadata if isinstance(mark, HelpMark))


def effect_of(kind: Kind, name: str) -> Effect:
    """Return whether the setting ``name`` changes what the command writes."""
    return next(mark for mark in kind.model_fields[name].metadata if isinstance(mark, Effect))


def without_credentials(value: object) -> object:
    """Return JSON values without credentials in URLs and without values of secret names in tables."""
    if isinstance(value, list):
        return [without_credentials(part) for part in value]
    if isinstance(value, dict):
        return table_without_credentials(value)
    return redact(value) if isinstance(value, str) else value


def table_without_credentials(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table without the values of secret names, be they keys or variables that a text sets."""
    # Kubernetes writes a variable as {name = "TOKEN", value = "..."}.
    named = {"value"} if _SECRET.search(str(table.get("name"))) else set()
    return {
        key: "***" if key in named or _SECRET.search(key) else without_assigned(without_credentials(part))
        for key, part in table.items()
    }


def without_assigned(value: object) -> object:
    """Remove what texts assign to secret variables, such as ``export AWS_SECRET_ACCESS_KEY=...`` in a job script."""
    if isinstance(value, list):
        return [without_assigned(part) for part in value]
    return _ASSIGNED.sub(r"\1***", value) if isinstance(value, str) else value


def brief(value: object) -> str:
    """Return a value as it was written, without credentials, cut if it is long."""
    try:
        text = repr(without_credentials(value))
    except ValueError:  # Python does not print whole numbers of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _place_in_help(mark: HelpMark) -> tuple[bool, int]:
    return not mark.common, _PANELS.index(mark.panel)


def _parts(kind: Kind, name: str) -> list[dict[str, Any]]:
    """Return the schemas that a value may follow, without that of "no value"."""
    declared = schema(kind)["properties"][name]
    return [part for part in declared.get("anyOf", [declared]) if part.get("type") != "null"]


def _values(part: dict[str, Any]) -> list[str]:
    return [part["const"]] if "const" in part else list(part.get("enum", ()))


def _in_words(part: dict[str, Any]) -> str:
    if values := _values(part):
        return ", ".join(values)
    if part["type"] == "array":
        return "a list of strings"
    noun = {
        "number": "a number",
        "integer": "a whole number",
        "string": "a non-empty string",
        "boolean": "true or false",
        "object": "a table of strings, numbers, booleans, lists and tables",
    }[part["type"]]
    if "exclusiveMinimum" in part:
        return f"{noun} above {part['exclusiveMinimum']:g}"
    lower, upper = part.get("minimum"), part.get("maximum")
    if upper is not None:
        return f"{noun} from {lower} to {upper}"
    return noun if lower is None else f"{noun} of at least {lower}"
