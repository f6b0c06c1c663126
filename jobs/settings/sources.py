"""Where settings come from: a flag, else the environment, else a TOML file, else the default.

The rule: all problems are reported at once, each with the place where the value was written. The environment is an
argument; nothing here reads ``os.environ``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from pydantic import ValidationError

from lvm_batch.jobs.console.log_format import LOG_FORMAT_VARIABLE
from lvm_batch.jobs.console.text import nearest
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.settings.evaluate import EvaluateSettings
from lvm_batch.jobs.settings.fields import (
    CONTRADICTION,
    Settings,
    allowed,
    brief,
    is_list,
    is_secret,
    is_table,
    names_of,
)
from lvm_batch.jobs.settings.paths import expanded_file
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.serve import ServeSettings
from lvm_batch.jobs.settings.times import UnknownPlaceholder, as_time, filled
from lvm_batch.jobs.settings.toml_files import read_toml
from lvm_batch.jobs.settings.train import TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pydantic_core import ErrorDetails

Kind = TypeVar("Kind", bound=Settings)
Origin = Literal["flag", "environment", "config", "default"]

PREFIX = "LVM_BATCH_"
CONFIG_VARIABLE = "LVM_BATCH_CONFIG"
VARIABLES = {
    PREFIX + name.upper(): name
    for kind in (RunSettings, TrainSettings, EvaluateSettings, ServeSettings)
    for name in names_of(kind)
    if not is_table(kind, name)
} | {"LVM_BATCH_MODELS": "models_dir"}
"""The settings of all commands by variable: a variable of another command is not an error."""

_NO_SETTINGS = (CONFIG_VARIABLE, LOG_FORMAT_VARIABLE)

REQUIRED = ("dataset", "output")
_NEAR = 0.72  # difflib's 0.6 takes `batch_size` for `unit_size`


@dataclass(frozen=True, slots=True)
class ResolvedSettings(Generic[Kind]):
    """Valid settings, and where the value of each came from.

    ``places`` name the flag, the variable, or the key and the file, of each that is not a default.
    """

    settings: Kind
    origins: Mapping[str, Origin]
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _GivenValue:
    """A value as the user wrote it, and where."""

    value: object
    origin: Origin
    place: str


def resolve_settings(
    kind: type[Kind],
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    config: Path | None = None,
    *,
    required: Iterable[str] = REQUIRED,
    names: Iterable[str] | None = None,
    now: datetime | None = None,
    spelled: Callable[[str], str] | None = None,
) -> ResolvedSettings[Kind]:
    """Return the settings that apply: flag over ``LVM_BATCH_*`` variable over TOML file over default.

    ``flags`` maps names of settings to values, None for a flag that is not given. In ``environ`` an empty variable
    counts as not set, line ends after a value are ignored (files of secrets have one), and a list is split at commas.
    Without ``config``, the file that ``LVM_BATCH_CONFIG`` names is read. Each name in ``required`` must have a value.
    If ``names`` are given, other settings are neither checked nor used, since one file serves many commands. If
    ``as_of`` is given, placeholders are filled in; ``now`` is the time that ``as_of = "now"`` means. ``spelled`` says
    how errors name a flag, by default as on the command line. Raises SettingsError with all problems.
    """
    spelled = spelled or flag_of
    problems: list[Problem] = []
    every = names_of(kind)
    taken = {*names, "as_of"} if names else set(every)
    file = config or expanded_file(environ.get(CONFIG_VARIABLE, "").strip() or None, option=CONFIG_VARIABLE)
    in_file = _from_file(kind, file, problems) if file else {}
    is_understood = not problems  # else a setting may be missing because the file could not be read
    given = {
        **in_file,
        **_from_environment(kind, environ, problems),
        **_from_flags(kind, flags, spelled, problems),
    }
    given = {name: found for name, found in given.items() if name in taken}
    settings = _validated(kind, _filled_in(given, now, problems), problems)
    if is_understood:
        problems += [
            _missing(name, spelled(name)) for name in required if name not in given or not given[name].value
        ]
    if problems:
        raise SettingsError(*problems)
    return ResolvedSettings(
        settings,
        {name: given[name].origin if name in given else "default" for name in every},
        {name: given[name].place for name in every if name in given},
    )


def flag_of(name: str) -> str:
    """Return how the setting ``name`` is written on the command line."""
    return "DATASET" if name == "dataset" else "--" + name.replace("_", "-")


def _from_flags(
    kind: type[Settings],
    flags: Mapping[str, object],
    spelled: Callable[[str], str],
    problems: list[Problem],
) -> dict[str, _GivenValue]:
    unknown = [name for name in flags if name not in kind.model_fields]
    problems.extend(_unknown(name, kind.model_fields) for name in unknown)
    return {
        name: _GivenValue(value, "flag", spelled(name))
        for name, value in flags.items()
        if value is not None and name not in unknown
    }


def _from_environment(
    kind: type[Settings], environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, _GivenValue]:
    """Read variables in sorted order: LVM_BATCH_MODELS_DIR comes after its short form LVM_BATCH_MODELS and wins."""
    given = {}
    for variable in sorted(name for name in environ if name.startswith(PREFIX) and name not in _NO_SETTINGS):
        if variable not in VARIABLES:
            problems.append(_unknown(variable, VARIABLES))
        elif (value := environ[variable].rstrip("\r\n")) and (
            name := VARIABLES[variable]
        ) in kind.model_fields:
            given[name] = _GivenValue(
                _parts(value) if is_list(kind, name) else value, "environment", variable
            )
    return given


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",")]


def _from_file(kind: type[Settings], path: Path, problems: list[Problem]) -> dict[str, _GivenValue]:
    given: dict[str, _GivenValue] = {}
    for key, value in _toml(path, problems).items():
        name, place = key.replace("-", "_"), f"{key} in {path}"
        if name not in kind.model_fields:
            problems.append(_unknown(key, kind.model_fields, place))
        elif name in given:
            problems.append(Problem(f"{place} is given twice", "keep one of the two spellings"))
        else:
            given[name] = _GivenValue(value, "config", place)
    return given


def _toml(path: Path, problems: list[Problem]) -> dict[str, object]:
    try:
        return read_toml(path, option="--config", hint='write `name = value` lines, strings in "quotes"')
    except SettingsError as error:
        problems.extend(error.problems)
    return {}


def _filled_in(
    given: dict[str, _GivenValue], now: datetime | None, problems: list[Problem]
) -> dict[str, _GivenValue]:
    """Fill in the placeholders of every text if ``as_of`` is given.

    A text that cannot be filled in is reported here and left out. If ``as_of`` is not a time, all texts with
    placeholders are left out; validation reports the time.
    """
    if "as_of" not in given:
        return given
    written = given["as_of"]
    try:
        time = now if now is not None and written.value == "now" else as_time(written.value)
    except ValueError:
        return {name: found for name, found in given.items() if "{" not in str(found.value)}
    filling = {}
    for name, found in given.items():
        try:
            filling[name] = replace(found, value=filled(found.value, time))
        except UnknownPlaceholder as error:
            problems.append(_unfilled(found.place, *error.args))
    return filling | {"as_of": replace(written, value=time)}


def _unfilled(place: str, text: str, near: str) -> Problem:
    return Problem(
        f"{place}: {text} cannot be filled in", f"did you mean {{{near}}}? To write a brace itself, double it"
    )


def _validated(kind: type[Kind], given: Mapping[str, _GivenValue], problems: list[Problem]) -> Kind:
    try:
        return kind.model_validate({name: found.value for name, found in given.items()})
    except ValidationError as error:
        problems += [_wrong(kind, detail, given) for detail in error.errors(include_url=False)]
        return kind()


def _wrong(kind: type[Settings], detail: ErrorDetails, given: Mapping[str, _GivenValue]) -> Problem:
    name = str(detail["loc"][0])
    if detail["type"] == CONTRADICTION:
        hint = detail.get("ctx", {}).get("hint", "keep one of the two")
        return Problem(f"{given[name].place}: {detail['msg']}", hint)
    found = "the given value (a secret, not shown)" if is_secret(kind, name) else brief(detail["input"])
    return Problem(f"{given[name].place} cannot be {found}", f"it can be {allowed(kind, name)}")


def _unknown(name: str, known: Iterable[str], place: str | None = None) -> Problem:
    bare = {
        each.removeprefix(PREFIX): each for each in known
    }  # a prefix that all names share must not make them similar
    near = nearest(name.removeprefix(PREFIX), bare, cutoff=_NEAR)
    hint = f"did you mean {bare[near]}?" if near else "`lvm-batch config schema` lists every setting"
    return Problem(f"{place or name} is not a setting", hint)


def _missing(name: str, flag: str) -> Problem:
    where = f"give {flag}, set {PREFIX}{name.upper()}, or write {name} in a --config file"
    return Problem(f"no {name} is given", where)
