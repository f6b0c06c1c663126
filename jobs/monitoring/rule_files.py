"""Files of rules: read, checked and printed as TOML.

The rule: everything follows from how the rules are declared; every problem of a file is reported at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from lvm_batch.jobs.console.text import nearest
from lvm_batch.jobs.errors import Problem, SettingsError
from lvm_batch.jobs.monitoring.rules import RULES, Rule, Rules
from lvm_batch.jobs.settings.toml_files import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic_core import ErrorDetails


def load_rules(path: Path) -> Rules:
    """Return the rules of a TOML file, defaults where it says nothing; raises SettingsError with every problem."""
    hint = "`lvm-batch monitor --print-rules` prints a file to start from"
    given = read_toml(path, option="--rules", hint=hint)
    try:
        return Rules.model_validate(given)
    except ValidationError as error:
        raise SettingsError(*(_wrong(detail, path) for detail in error.errors(include_url=False))) from error


def rules_text(rules: Rules) -> str:
    """Return rules as the TOML file that gives them, with what each threshold is and where its default comes from."""
    return "\n".join(line for name in RULES for line in _section(name, getattr(rules, name)))


def _section(name: str, rule: Rule) -> Iterator[str]:
    yield from (f"# {rule.__doc__}", f"[{name}]")
    for key, field in type(rule).model_fields.items():
        value = getattr(rule, key)
        text = str(value).lower() if isinstance(value, bool) else repr(value)
        yield f"{key} = {text}  # {field.description}"
    yield ""


def _wrong(detail: ErrorDetails, path: Path) -> Problem:
    name, *key = (str(part) for part in detail["loc"])
    place = ".".join((name, *key))
    if detail["type"] == "extra_forbidden":
        known: Iterable[str] = getattr(Rules(), name).__class__.model_fields if key else RULES
        return _unknown(
            place, (key or [name])[0], known, path, what="a key of this rule" if key else "a rule"
        )
    allowed = detail["msg"].removeprefix("Input should be ")
    if not key:
        return Problem(
            f"{place} in {path} cannot be {_brief(detail['input'])}", f"write a table with its keys: [{name}]"
        )
    return Problem(f"{place} in {path} cannot be {_brief(detail['input'])}", f"it can be {allowed}")


def _unknown(place: str, name: str, known: Iterable[str], path: Path, *, what: str) -> Problem:
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"it can be one of {', '.join(known)}"
    return Problem(f"{place} in {path} is not {what}", hint)


def _brief(value: Any) -> str:  # noqa: ANN401 - whatever TOML holds
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - characters of a line
