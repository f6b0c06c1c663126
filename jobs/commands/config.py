"""``lvm-batch config``: which settings hold, where each comes from, and what a file of them may say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lvm_batch.jobs.console import Console
from lvm_batch.jobs.declared import is_secret, is_table, schema
from lvm_batch.jobs.options import takes_console, takes_settings
from lvm_batch.jobs.resolution import Resolved
from lvm_batch.jobs.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

app = typer.Typer(help="Show settings, and what they may be.")


@app.command()
@takes_settings(required=())
@takes_console
def show(
    resolved: Resolved[RunSettings],
    *,
    console: Console,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
) -> None:
    """Print the settings that a run with the same options would use, as a TOML file that --config takes."""
    settings = resolved.settings
    # A table may hold what is secret, and is shown without it; other settings as they were written.
    tables = {name: value for name, value in settings.told().items() if is_table(RunSettings, name)}
    values = settings.model_dump(mode="json") | tables
    console.result(
        {"settings": values} | ({"origins": dict(resolved.origins)} if origin else {}),
        "\n".join(_toml(values, resolved.origins if origin else {})),
    )


@app.command("schema")
@takes_console
def show_schema(*, console: Console) -> None:
    """Print the JSON Schema of a configuration file."""
    console.result(schema(RunSettings), json.dumps(schema(RunSettings), indent=2))


def _toml(values: Mapping[str, object], origins: Mapping[str, str]) -> Iterator[str]:
    """TOML's texts and numbers are written as JSON's; a setting without a value is a comment."""
    for name, value in values.items():
        written = _value(value)
        if value is not None and is_secret(RunSettings, name):
            line = f"# {name} is set, and not shown"
        else:
            line = f"# {name} is not set" if value is None else f"{name} = {written}"
        yield f"{line}  # {origins[name]}" if name in origins else line


def _value(value: object) -> str:
    if isinstance(value, dict) and value:
        return f"{{ {', '.join(f'{_value(key)} = {_value(part)}' for key, part in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
