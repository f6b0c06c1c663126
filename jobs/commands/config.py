"""``lvm-batch config``: which settings hold, where each comes from, and what a file of them may say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from lvm_batch.jobs.console.console import Console
from lvm_batch.jobs.console.help import HelpCommand, HelpGroup
from lvm_batch.jobs.settings.fields import help_mark, is_secret, is_table, names_of, schema
from lvm_batch.jobs.settings.options import takes_console, takes_settings
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import ResolvedSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

app = typer.Typer(
    name="config", cls=HelpGroup, help="Show the settings in force, and the values they may have."
)


@app.command(cls=HelpCommand)
@takes_settings(required=())
@takes_console
def show(resolved: ResolvedSettings[RunSettings], *, console: Console) -> None:
    """Print the settings of a run, and where each value comes from.

    The output is a TOML file that --config takes. URLs are printed as they were given, with the
    credentials that they hold; in tables, values whose names sound secret are not printed.

    Examples:
        lvm-batch config show --config job.toml
        lvm-batch config show --config job.toml --as-of now > filled-in.toml
    """
    settings = resolved.settings
    tables = {name: value for name, value in settings.as_dict().items() if is_table(RunSettings, name)}
    values = settings.model_dump(mode="json") | tables
    console.result(
        {"settings": values, "origins": dict(resolved.origins), "places": dict(resolved.places)},
        "\n".join(_toml(values, resolved.places)),
    )


@app.command("schema", cls=HelpCommand)
@takes_console
def show_schema(*, console: Console) -> None:
    """Print the JSON Schema of a configuration file.

    Examples:
        lvm-batch config schema > lvm-batch.schema.json
    """
    console.result(schema(RunSettings), json.dumps(schema(RunSettings), indent=2))


def _toml(values: Mapping[str, object], places: Mapping[str, str]) -> Iterator[str]:
    """Yield the settings by topic, a line for each, with the flag, variable or key that it comes from."""
    topic = None
    for name in names_of(RunSettings):
        if (heading := help_mark(RunSettings, name).heading or "Common options") != topic:
            yield f"{'' if topic is None else chr(10)}# {heading}"
            topic = heading
        yield _line(name, values, places.get(name))


def _line(name: str, values: Mapping[str, object], place: str | None) -> str:
    """Return a setting as TOML, a comment if it has no value; if a time is filled in, braces are doubled."""
    value = values[name]
    if value is None:
        return f"# {name} is not set"
    origin = f"  # {_printable(place or 'default')}"
    if is_secret(RunSettings, name):
        return f"# {name} is set, but not shown{origin}"
    is_filled_in = values["as_of"] is not None and not is_table(RunSettings, name)
    return f"{name} = {_value(_with_braces(value) if is_filled_in else value)}{origin}"


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _with_braces(value: object) -> object:
    if isinstance(value, list):
        return [_with_braces(part) for part in value]
    return value.replace("{", "{{").replace("}", "}}") if isinstance(value, str) else value


def _value(value: object) -> str:
    """Return a value as TOML: texts and numbers as in JSON, except for characters that are not printable."""
    if isinstance(value, dict) and value:
        return f"{{ {', '.join(f'{_value(key)} = {_value(part)}' for key, part in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    written = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in written)
