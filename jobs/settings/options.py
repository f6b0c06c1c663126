"""The options that commands share, added to the signature that typer reads.

The rule: options follow from the declarations of the settings. typer takes each as plain text with the default None, so
that "not given" can be seen and ``sources`` can report all problems at once.
"""

from __future__ import annotations

import inspect
import os
from datetime import UTC, datetime
from functools import partial, wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ByteSize

from lvm_batch.jobs.console.log_format import LOG_FORMAT, LOG_FORMAT_VARIABLE, LogFormat
from lvm_batch.jobs.settings.completion import completion_of, one_of
from lvm_batch.jobs.settings.fields import (
    Settings,
    help_mark,
    is_list,
    is_secret,
    is_switch,
    is_table,
    metavar,
    names_of,
)
from lvm_batch.jobs.settings.paths import expanded_file
from lvm_batch.jobs.settings.run import RunSettings
from lvm_batch.jobs.settings.sources import REQUIRED, flag_of, resolve_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    Command = Callable[..., int | None]

_JSON = typer.Option("--json", help="Print one JSON object.")
_VERBOSE = typer.Option("--verbose", "-v", help="Show a traceback with every error.")
_LOG_FORMAT = typer.Option(
    LOG_FORMAT,
    metavar="text|json",
    envvar=LOG_FORMAT_VARIABLE,
    help="Form of the lines on stderr: text, or JSON objects.",
)
_CONFIG = typer.Option("--config", metavar="FILE", help="TOML file of settings.")


SECRET_FLAGS = tuple(flag_of(name) for name in names_of(RunSettings) if is_secret(RunSettings, name))
"""The options whose values are shown nowhere."""


def takes_console(command: Command) -> Command:
    """Give ``command`` the options --json, --verbose and --log-format after its own, and call it with ``console``.

    The console is in typer's context already: the command's main reads these options before typer parses anything, so
    that an error of the command line is reported in the right form.
    """
    return _replaced(
        command,
        "console",
        [
            _parameter("context", typer.Context),
            _parameter("json", Annotated[bool, _JSON], default=False),
            _parameter("verbose", Annotated[bool, _VERBOSE], default=False),
            _parameter("log_format", Annotated[LogFormat, _LOG_FORMAT], default="text"),
        ],
        lambda given: given["context"].obj,
    )


def takes_settings(
    required: Collection[str] = REQUIRED,
    *,
    kind: type[Settings] = RunSettings,
    names: Sequence[str] | None = None,
) -> Callable[[Command], Command]:
    """Give a command DATASET..., --config and an option for each setting of ``kind`` (or each of ``names``) that is not
    a table, and call it with ``resolved``. A file and the environment set the same names as the options, no others.
    """
    taken = [name for name in names or names_of(kind) if not is_table(kind, name)]

    def decorate(command: Command) -> Command:
        return _replaced(
            command,
            "resolved",
            [
                *(_setting(kind, name, required=name in required) for name in taken),
                _parameter("config", Annotated[str | None, _CONFIG], default=None),
            ],
            lambda given: resolve_settings(
                kind,
                {name: given[name] for name in taken},
                os.environ,
                expanded_file(given["config"], option="--config"),
                required=required,
                names=taken if names else None,
                now=datetime.now(UTC),
            ),
            first=True,
        )

    return decorate


def choice(*values: str, help: str) -> Any:  # noqa: A002, ANN401 - as typer has them
    """Return the declaration of an option that takes one of ``values``, which the command checks."""
    return typer.Option(help=help, metavar="|".join(values), autocompletion=one_of(values))


def takes_options(kind: type[object]) -> Callable[[Command], Command]:
    """Give a command an option for each field of the dataclass ``kind``, and call it with ``options``, a ``kind``."""
    fields = [
        field.replace(kind=Parameter.KEYWORD_ONLY)
        for field in inspect.signature(kind, eval_str=True).parameters.values()
    ]
    return partial(_replaced, name="options", parameters=fields, make=lambda given: kind(**given))


def _replaced(
    command: Command,
    name: str,
    parameters: Sequence[Parameter],
    make: Callable[[Mapping[str, Any]], object],
    *,
    first: bool = False,
) -> Command:
    """Replace the parameter ``name`` of ``command`` by ``parameters``; ``make`` makes its value from theirs.

    They come after the command's own options in its help, or before these if ``first`` is true.
    """
    signature = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name != name]

    @wraps(command)
    def call(**values: Any) -> int | None:  # noqa: ANN401 - whatever the options hold
        given = {parameter.name: values.pop(parameter.name) for parameter in parameters}
        return command(**values, **{name: make(given)})

    everything = [
        *(each for each in kept if each.kind is not Parameter.KEYWORD_ONLY),
        *(parameters if first else ()),
        *(each for each in kept if each.kind is Parameter.KEYWORD_ONLY),
        *(() if first else parameters),
    ]
    call.__signature__ = signature.replace(parameters=everything)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in everything}
    return call


def _parameter(name: str, annotation: object, **default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, **default)


def _setting(kind: type[Settings], name: str, *, required: bool) -> Parameter:
    if is_switch(kind, name):
        return _parameter(name, Annotated[bool | None, _switch(kind, name)], default=None)
    values = list[str] | None if is_list(kind, name) else str | None
    return _parameter(name, Annotated[values, _declared(kind, name, required=required)], default=None)


def _switch(kind: type[Settings], name: str) -> Any:  # noqa: ANN401 - as below
    """Declare a flag without a value, and its opposite, which overrules the environment and a file."""
    on = flag_of(name)
    off = on.replace("--no-", "--", 1) if on.startswith("--no-") else on.replace("--", "--no-", 1)
    text = _help(kind, name, required=False)
    return typer.Option(f"{on}/{off}", help=text, rich_help_panel=help_mark(kind, name).heading)


def _declared(kind: type[Settings], name: str, *, required: bool) -> Any:  # noqa: ANN401 - typer's declarations have no public type
    declare = typer.Argument if name == "dataset" else partial(typer.Option, flag_of(name))
    return declare(
        metavar=metavar(kind, name),
        help=_help(kind, name, required=required),
        rich_help_panel=help_mark(kind, name).heading,
        autocompletion=completion_of(kind, name),
    )


def _help(kind: type[Settings], name: str, *, required: bool) -> str:
    """Return the description with the default, which typer cannot see; "required" may be met by a file, too."""
    field = kind.model_fields[name]
    default = _in_words(field.default)
    mark = "[required]" if required else f"[default: {default}]" if default else ""
    return f"{field.description}  {mark}".rstrip()


def _in_words(default: object) -> str:
    """Return a default as it is written; an option that is off, or has no value, needs none."""
    if default is None or default is False:
        return ""
    if isinstance(default, ByteSize):
        return default.human_readable().replace(".0", "")
    return ", ".join(default) if isinstance(default, tuple) else str(default)
