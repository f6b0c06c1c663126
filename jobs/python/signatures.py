"""The parameters of a function that takes settings: what editors, ``help`` and type checkers show.

The rule: they follow from the declarations of the settings. Every default is None, "not given", since the environment
or a file may give the value; the documentation says what holds in the end.
"""

from __future__ import annotations

import textwrap
from datetime import datetime
from inspect import Parameter
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ByteSize, SecretStr

from lvm_batch.jobs.settings.fields import is_list, names_of
from lvm_batch.jobs.settings.paths import PathMark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lvm_batch.jobs.settings.fields import Settings

_PATH = "str | PathLike[str]"
_TYPES: dict[object, str] = {
    ByteSize: "int | str",
    SecretStr: "str",
    datetime: "str | date",  # a datetime is a date
}
_WIDTH = 100

COMMON = (
    Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=f"{_PATH} | None"),
    Parameter("progress", Parameter.KEYWORD_ONLY, default=True, annotation="bool"),
)
"""The parameters that are no settings."""

_COMMON_HELP = {
    "config": "TOML file of settings; arguments and LVM_BATCH_* variables override it.",
    "progress": "Whether notes and progress are shown on stderr, or in the notebook. Default: True",
}


def parameters(kind: type[Settings], names: Sequence[str] | None = None) -> list[Parameter]:
    """Return a parameter for each setting of ``kind``, or each of ``names``; the first, dataset, needs no name."""
    return [_parameter(kind, name) for name in names or names_of(kind)]


def documented(
    text: str,
    kind: type[Settings],
    names: Sequence[str] | None = None,
    *,
    own: Iterable[tuple[str, str]] = (),
) -> str:
    """Return a docstring: ``text``, then what each parameter means; ``own`` are those that are no settings."""
    helps = {name: _help(kind, name) for name in names or names_of(kind)} | dict(own) | _COMMON_HELP
    return "\n".join((text.strip(), "", "Parameters", "----------", *_entries(helps.items())))


def _entries(helps: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in helps:
        yield name
        yield textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _parameter(kind: type[Settings], name: str) -> Parameter:
    place = Parameter.POSITIONAL_OR_KEYWORD if name == "dataset" else Parameter.KEYWORD_ONLY
    return Parameter(name, place, default=None, annotation=f"{_annotation(kind, name)} | None")


def _annotation(kind: type[Settings], name: str) -> str:
    field = kind.model_fields[name]
    marks = tuple(field.metadata)
    written = _written(Annotated[(field.annotation, *marks)] if marks else field.annotation)
    return f"{written} | Sequence[{written}]" if is_list(kind, name) else written


def _written(annotation: Any) -> str:  # noqa: ANN401 - any annotation of a setting
    """Return what an argument may be, as the source of an annotation; of a tuple, what one of its values may be."""
    parts = get_args(annotation)
    match get_origin(annotation):
        case kind if kind is Annotated:
            return _PATH if any(isinstance(mark, PathMark) for mark in parts[1:]) else _written(parts[0])
        case kind if kind in {Union, UnionType}:
            return " | ".join(dict.fromkeys(_written(part) for part in parts if part is not type(None)))
        case kind if kind is Literal:
            return f"Literal[{', '.join(map(repr, parts))}]"
        case kind if kind is tuple:
            return _written(parts[0])
        case kind if kind is dict:
            return "Mapping[str, Any]"
    return _TYPES.get(annotation, str(annotation.__name__))


def _help(kind: type[Settings], name: str) -> str:
    field = kind.model_fields[name]
    default = field.default.human_readable() if isinstance(field.default, ByteSize) else field.default
    shown = ", ".join(default) if isinstance(default, tuple) else default
    has_default = not field.is_required() and shown not in {None, ""} and field.default_factory is None
    return f"{field.description} Default: {shown}" if has_default else str(field.description)
